"""An upgrade where etcd is on a host of its own: the backup is brought to where it can be rehearsed."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator

import pytest
from tests.disaster.local_cluster import LocalCluster, describe, made_cluster
from tests.upgrade import older
from tests.upgrade.older import Tell

from kubeproof.upgrade.plan import NOTHING, WORK

pytestmark = [pytest.mark.local, pytest.mark.cluster]

_ETCD = "e1"
_HOSTS = ("cp1", _ETCD, "w1")
_ETCDCTL = (
    "etcdctl --endpoints=https://127.0.0.1:2379 --cacert=/etc/etcd/pki/ca.crt --cert=/etc/etcd/pki/operator.crt "
    "--key=/etc/etcd/pki/operator.key"
)
_KEY = "/registry/podtemplates/default/alien"
# Of a version that no API server has.
_ALIEN = {"apiVersion": "v9", "kind": "PodTemplate", "metadata": {"name": "alien", "namespace": "default", "uid": "1"}}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """A cluster of older versions with etcd on one host, and all else on two others."""
    described = describe("kubeproof-upgrade-241", "10.213.241.0/24", {"cp1": 11}, {"w1": 21})
    described["all"]["children"]["etcd"]["hosts"] = {_ETCD: {"ansible_host": "10.213.241.31"}}
    with made_cluster(tmp_path_factory.mktemp("apart"), described, component_versions=older.OLDER) as made:
        yield made


def _left(cluster: LocalCluster) -> list[str]:
    """What a rehearsal has left behind."""
    ask = "ls -d /var/lib/kubeproof-rehearsal /run/kubeproof-rehearsal 2>/dev/null || true"
    on_hosts = [f"{host}: {path}" for host in _HOSTS for path in cluster.on(host, ask).decode().split()]
    here = cluster.inventory.state / "rehearsal"
    return [*on_hosts, *map(str, [here] if here.exists() else [])]


def test_what_the_target_cannot_read_stops_it(cluster: LocalCluster, tell: Tell) -> None:
    cluster.on(_ETCD, f"{_ETCDCTL} put {_KEY} {shlex.quote(json.dumps(_ALIEN))}")
    told = older.stopped(cluster, upgrade_until="rehearsal")
    tell(told)
    assert "podtemplates: default/alien" in told
    assert _left(cluster) == []
    cluster.on(_ETCD, f"{_ETCDCTL} del {_KEY}")


def test_it_is_rehearsed_and_upgraded(cluster: LocalCluster, tell: Tell) -> None:
    plan = older.planned(cluster)
    tell(plan.text)
    assert plan.exit_code == WORK
    assert "rehearsal" in [step["step"] for step in plan.document["steps"]]
    cluster.play("upgrade", upgrade_verification="none")
    assert older.planned(cluster).exit_code == NOTHING
    assert _left(cluster) == []


def test_the_way_back_is_rehearsed_too(cluster: LocalCluster) -> None:
    cluster.play("upgrade", upgrade_direction="back", upgrade_verification="none")
    assert _left(cluster) == []
    cluster.play("verify")
