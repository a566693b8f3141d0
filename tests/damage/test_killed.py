"""Runs that change a running cluster, killed at any moment: the next one finishes, and it is the same cluster.

Prints the seed of the moments, and the task in which each run was killed.
"""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Iterator

import pytest
from tests.disaster.local_cluster import LocalCluster, small_cluster
from tests.killed_run import kill_after

from kubeproof.install import playbook

pytestmark = [pytest.mark.local, pytest.mark.cluster]

_KILLS = 10
# A part of a run's time that passes before the first host is asked anything.
_BEGIN = 0.1
_SEED = "KUBEPROOF_KILLS_SEED"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """A cluster of one control-plane host and a worker."""
    with small_cluster(tmp_path_factory.mktemp("killed"), "kubeproof-kills", "10.213.245.0/24") as made:
        yield made


def test_a_change_that_is_killed_is_finished_by_the_next_run(cluster: LocalCluster) -> None:
    seed = int(os.environ.get(_SEED, str(time.time_ns() % 2**32)))
    moments = random.Random(seed)  # noqa: S311  (no secret)
    print(f"{_SEED}={seed}")
    before = identity(cluster)
    uids = cluster.uids()
    begun = time.monotonic()
    assert cluster.part("--extra-vars", json.dumps(change(0))).count("changed")
    whole = time.monotonic() - begun
    for number in range(1, _KILLS + 1):
        seconds = whole * moments.uniform(_BEGIN, 0.9)
        task = kill_after(cluster.path, "cluster", seconds, **change(number))
        print(f"killed after {seconds:.1f} s of {whole:.1f}: {task}")

    finished = cluster.part("--extra-vars", json.dumps(change(_KILLS)))
    assert finished.ok
    again = cluster.part("--extra-vars", json.dumps(change(_KILLS)))
    assert again.count("changed") == 0
    assert identity(cluster) == before
    kept = cluster.uids()
    assert {name: uid for name, uid in uids.items() if kept.get(name) != uid} == {}
    assert playbook.run("verify", cluster.path, cluster.inventory.state).ok


def change(number: int) -> dict[str, object]:
    """Settings of several components, of a value that no run before had."""
    return {
        "etcd_extra_config": {"snapshot-count": 10000 + number},
        "apiserver_audit_log_files": 5 + number,
        "scheduler_extra_config": {"parallelism": 16 + number},
        "kubelet_max_pods": 100 + number,
        "kube_proxy_extra_config": {"configSyncPeriod": f"{900 + number}s"},
    }


def identity(cluster: LocalCluster) -> dict[str, str]:
    """What makes it this cluster, and not another one of its name."""
    pki = "/etc/etcd/pki"
    etcdctl = f"etcdctl --cacert {pki}/ca.crt --cert {pki}/operator.crt --key {pki}/operator.key --write-out json"
    # The answer's header has the revision, too.
    members = json.loads(cluster.on("cp1", f"{etcdctl} member list"))
    kept = "/etc/kubernetes/pki/*.crt /etc/kubernetes/apiserver/encryption.yaml"
    return {
        "etcd": f"{members['header']['cluster_id']}: {members['members']}",
        "CAs": cluster.on("cp1", f"sha256sum {kept}").decode(),
        "namespace": cluster.kubectl("get", "namespace", "kube-system", "--output=jsonpath={.metadata.uid}"),
    }
