"""Every saboteur is caught: what it makes false is refuted, for the right reason, and proven again after its repair."""

from __future__ import annotations

import pytest
from tests.saboteurs.framework import trial as trials
from tests.saboteurs.framework.registry import Saboteur
from tests.saboteurs.framework.snapshot import Snapshot
from tests.saboteurs.framework.trial import NotAsItWas, Trial

from kubeproof.verify.engine.claims import Catalogue
from kubeproof.verify.observe.cluster import Cluster


def test_it_is_caught_and_repaired(
    cluster: Cluster,
    before: Snapshot,
    catalogue: Catalogue,
    saboteur: Saboteur,
    trial: Trial,
    request: pytest.FixtureRequest,
) -> None:
    try:
        trials.hold(cluster, saboteur, catalogue, before, trial)
    except NotAsItWas as error:
        # What the next saboteur would be blamed for is this one's doing.
        request.session.shouldfail = f"{saboteur.name} was not repaired"
        trial.complaints.append(str(error))
    if trial.left_out:
        pytest.skip(trial.left_out)
    if trial.complaints:
        pytest.fail("\n".join(trial.complaints), pytrace=False)
