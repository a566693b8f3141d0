"""How faults are put into a cluster: which, how many, against which cluster, and what is kept of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing

import pytest
from tests import disposable_cluster, observed

from kubeproof.core import paths
from kubeproof.core.process import interrupt_when_ended
from kubeproof.verify.act.pods import Manifests
from kubeproof.verify.act.workspace import Workspace
from kubeproof.verify.faults.campaign import Campaign
from kubeproof.verify.faults.kinds import KINDS, Kind
from kubeproof.verify.observe.cluster import Cluster, recorded_image

DEFAULT = paths.PROJECT / "inventory" / "ha" / "hosts.yml"

described = disposable_cluster.described
cluster = disposable_cluster.cluster
tell = observed.tell


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("kubeproof", "faults")
    disposable_cluster.add_options(group, DEFAULT, "inventory/ha/hosts.yml")
    group.addoption("--count", type=int, default=len(KINDS), help="how many faults (default: one of each kind)")
    group.addoption("--minutes", type=float, default=60, help="after which no further one begins (default: 60)")
    group.addoption("--seed", type=int, default=1, help="decides their order and whom they hit (default: 1)")
    group.addoption("--kind", action="append", default=[], help="only faults of this kind; may be repeated")


def pytest_configure(config: pytest.Config) -> None:
    interrupt_when_ended()
    config.option.verbose = config.option.verbose or -1


@pytest.fixture
def campaign(cluster: Cluster, tell: Callable[[str], None]) -> Iterator[Campaign]:
    """Faults into this cluster; what they need there is each test's own, and removed at its end."""
    with Workspace(cluster.api) as workspace:
        image = recorded_image(cluster.inventory, cluster.nodes)
        manifests = Manifests(workspace.namespace(), image, nodes=tuple(node.name for node in cluster.nodes))
        with closing(Campaign(cluster, workspace, manifests, tell)) as campaign:
            yield campaign


@pytest.fixture(scope="session")
def kinds(pytestconfig: pytest.Config) -> tuple[Kind, ...]:
    """The kinds that are asked for."""
    wanted = pytestconfig.getoption("kind")
    unknown = set(wanted) - {kind.name for kind in KINDS}
    if unknown:
        pytest.exit(
            f"there is no kind {', '.join(sorted(unknown))}; there are {', '.join(each.name for each in KINDS)}"
        )
    return tuple(kind for kind in KINDS if not wanted or kind.name in wanted)
