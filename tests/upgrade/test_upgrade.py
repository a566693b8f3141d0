"""An upgrade and the way back under clients, in each form of the control plane and of kube-proxy.

The tests of a form share a cluster, in this order. One form alone: ``pytest tests/upgrade/test_upgrade.py`` with
``-k services``, ``-k static-pods`` or ``-k daemonset``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from tests import observed
from tests.disaster.local_cluster import LocalCluster
from tests.upgrade import older
from tests.upgrade.older import Tell

from kubeproof.upgrade.plan import NOTHING, WORK

pytestmark = [pytest.mark.local, pytest.mark.cluster]

FORMS: Mapping[str, Mapping[str, Any]] = {
    "services": {},
    "static-pods": {"cluster_control_plane_form": "static-pods"},
    "daemonset": {"kube_proxy_form": "daemonset"},
}


@pytest.fixture(scope="module", params=FORMS)
def cluster(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """A cluster of older versions in one of the forms."""
    with older.older_cluster(tmp_path_factory.mktemp(request.param), 243, **FORMS[request.param]) as made:
        yield made


def test_a_plan_of_it(cluster: LocalCluster, tell: Tell) -> None:
    plan = older.planned(cluster)
    tell(plan.text)
    assert plan.exit_code == WORK
    assert older.other_than(plan, older.OLDER) == []


def test_an_upgrade_fails_no_request(cluster: LocalCluster, tell: Tell) -> None:
    seen = older.watched(cluster, tell, "upgrade", lambda campaign: older.upgraded(cluster, campaign))
    assert observed.wrong(seen) == []


def test_all_of_it_is_upgraded(cluster: LocalCluster) -> None:
    plan = older.planned(cluster)
    assert older.other_than(plan, older.moved(older.pinned)) == []
    assert plan.exit_code == NOTHING


def test_what_was_upgraded_is_proven(cluster: LocalCluster) -> None:
    cluster.play("verify")


def test_the_way_back_fails_no_request(cluster: LocalCluster, tell: Tell) -> None:
    plan = older.planned(cluster, upgrade_direction="back")
    tell(plan.text)
    assert plan.exit_code == WORK
    seen = older.watched(cluster, tell, "back", lambda campaign: older.upgraded(cluster, campaign, "back"))
    assert observed.wrong(seen) == []


def test_all_of_it_is_as_it_was(cluster: LocalCluster) -> None:
    plan = older.planned(cluster)
    assert older.other_than(plan, older.OLDER) == []
    assert plan.exit_code == WORK


def test_what_went_back_is_proven(cluster: LocalCluster) -> None:
    cluster.play("verify")
