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
from tests.killed_run import kill_at, tasks_of

from kubeproof.install import playbook

pytestmark = [pytest.mark.local, pytest.mark.cluster]

_KILLS = 10
# How long the task that a run is killed in has run by then, at most: those that restart something take longer.
_SECONDS = 2.0
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
    whole = tasks_of(cluster.path, "cluster", **change(0))
    for number in range(1, _KILLS + 1):
        # Not the last ones, which say how it went.
        at, seconds = moments.randint(1, int(whole * 0.9)), moments.uniform(0, _SECONDS)
        task = kill_at(cluster.path, "cluster", at, seconds, **change(number))
        print(f"killed {seconds:.1f} s after the beginning of task {at} of {whole}: {task}")

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
