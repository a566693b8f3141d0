"""Two minor versions in one command, with a worker that is off: left behind, and caught up with by the next run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests import observed
from tests.disaster.local_cluster import LocalCluster
from tests.upgrade import older
from tests.upgrade.older import Tell

from kubeproof.local_hosts import podman
from kubeproof.local_hosts.plan import plan as local_plan
from kubeproof.upgrade.plan import NOTHING, WORK
from kubeproof.upgrade.world import APISERVER, KUBELET, KUBERNETES

pytestmark = [pytest.mark.local, pytest.mark.cluster]

_OLDEST = "1.35.4"
_OFF = "w2"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """A cluster of which Kubernetes is two minor versions behind."""
    versions = {**older.OLDER, KUBERNETES: _OLDEST}
    with older.older_cluster(tmp_path_factory.mktemp("two-minors"), 242, {"component_versions": versions}) as made:
        yield made


def test_the_plan_passes_the_version_between(cluster: LocalCluster, tell: Tell) -> None:
    plan = older.planned(cluster)
    tell(plan.text)
    assert plan.exit_code == WORK
    through = [step for step in plan.document["steps"] if step["step"] == "api-servers"]
    assert len(through) == 2


def test_a_worker_that_is_off_is_left_behind(cluster: LocalCluster, tell: Tell) -> None:
    podman.stop(f"{local_plan(cluster.inventory).network.name}-{_OFF}")
    ended = cluster.play("upgrade", upgrade_verification="none")
    assert ended.left_behind == [_OFF]
    plan = older.planned(cluster)
    tell(plan.text)
    assert {plan.runs(host)[APISERVER] for host in older.CONTROL_PLANE} == {older.pinned(KUBERNETES)}
    assert plan.runs("w1")[KUBELET] == older.pinned(KUBERNETES)
    assert plan.runs(_OFF)[KUBELET] == _OLDEST


def test_it_is_caught_up_with_without_a_failed_request(cluster: LocalCluster, tell: Tell) -> None:
    cluster.make_hosts()
    seen = older.watched(cluster, tell, "upgrade of one worker", lambda campaign: older.upgraded(cluster, campaign))
    plan = older.planned(cluster)
    assert older.other_than(plan, older.moved(older.pinned)) == []
    assert plan.exit_code == NOTHING
    assert observed.wrong(seen) == []
    cluster.play("verify")
