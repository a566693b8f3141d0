"""Runs on a fleet that is not whole: what can be converged is, the next run catches up, and the rest is refused.

On the same cluster as the restores, before them, and left as it was; takes about a quarter of an hour.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from tests.disaster.local_cluster import LocalCluster

from kubeproof.install import playbook
from kubeproof.local_hosts import podman
from kubeproof.local_hosts.plan import plan

pytestmark = [pytest.mark.local, pytest.mark.cluster]

CONTROL_PLANE = ("cp1", "cp2", "cp3")
WORKERS = ("w1", "w2")
PODS = 90


@contextmanager
def switched_off(cluster: LocalCluster, *hosts: str) -> Iterator[None]:
    """Hosts are off; on again at the end."""
    network = plan(cluster.inventory).network.name
    try:
        for host in hosts:
            podman.stop(f"{network}-{host}")
        yield
    finally:
        cluster.make_hosts()


def changes(run: playbook.Run) -> list[tuple[str, str, tuple[str, ...]]]:
    """What a run has changed, or would; in whichever order hosts came to it."""
    return sorted((change["host"], change["role"], tuple(change["what"])) for change in run.profile["changes"])


def findings(cluster: LocalCluster) -> set[str]:
    """For what a run was refused, and on which hosts."""
    document = json.loads((cluster.inventory.state / "reports" / "preflight-hosts.json").read_text())
    return {f"{entry['id']} {entry['host']}" for entry in document["findings"] if entry["severity"] == "error"}


def most_pods(cluster: LocalCluster, host: str) -> int:
    """The maximum that a kubelet is configured with."""
    return int(cluster.on(host, "sed -n 's/^maxPods: //p' /etc/kubernetes/kubelet/config.yaml"))


def test_a_worker_is_converged_while_the_first_control_plane_host_is_off(cluster: LocalCluster) -> None:
    before, usual = cluster.processes(WORKERS), most_pods(cluster, "w2")
    with switched_off(cluster, "cp1"):
        planned = cluster.part("--check", "--limit", "w2", kubelet_max_pods=PODS)
        assert (cluster.processes(WORKERS), most_pods(cluster, "w2")) == (before, usual)
        done = cluster.part("--limit", "w2", kubelet_max_pods=PODS)
        assert changes(done)
        assert changes(planned) == changes(done)
        assert [most_pods(cluster, host) for host in WORKERS] == [usual, PODS]
        assert cluster.processes(["w1"])["w1"] == before["w1"]

        ended = cluster.play("cluster", kubelet_max_pods=PODS)
        assert ended.left_behind == ["cp1"]
        assert [most_pods(cluster, host) for host in ("cp2", "cp3", *WORKERS)] == [PODS] * 4
        assert cluster.play("cluster", kubelet_max_pods=PODS).count("changed") == 0

    assert most_pods(cluster, "cp1") == usual
    assert {host for host, _, _ in changes(cluster.play("cluster", kubelet_max_pods=PODS))} == {"cp1"}
    assert most_pods(cluster, "cp1") == PODS
    cluster.play("cluster")
    assert cluster.play("cluster").count("changed") == 0


def test_without_any_control_plane_host_it_is_refused(cluster: LocalCluster) -> None:
    before, usual = cluster.processes(WORKERS), most_pods(cluster, "w2")
    with switched_off(cluster, *CONTROL_PLANE):
        for options in (["--check"], []):
            cluster.part(*options, "--limit", "w2", fails=True, kubelet_max_pods=PODS)
            assert findings(cluster) == {"no-control-plane settings"}
        cluster.refused("cluster", kubelet_max_pods=PODS)
        assert findings(cluster) >= {f"unreachable {host}" for host in CONTROL_PLANE}
        # What needs no API is converged all the same.
        assert cluster.part("--limit", "w2", "--tags", "containerd").count("changed") == 0
        assert (cluster.processes(WORKERS), most_pods(cluster, "w2")) == (before, usual)

    cluster.play("cluster")
    assert cluster.play("cluster").count("changed") == 0
