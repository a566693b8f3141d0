"""Hosts that have left a group, and still have its components."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.preflight.builders import host

from kubeproof.preflight.findings import Finding
from kubeproof.preflight.identity import Kept
from kubeproof.preflight.model import Host
from kubeproof.preflight.placement import check_placement

KEPT = Kept(Path("state"), "hosts.yml", {"kubernetes": "ours"})
NODE = [
    "containerd.service",
    "kube-balancer.service",
    "kube-flannel.service",
    "kube-network-policy.service",
    "kube-pod-network.service",
    "kube-proxy.service",
    "kubelet.service",
]
CONTROL = ["kube-apiserver.service", "kube-controller-manager.service", "kube-scheduler-mine.service"]
PODS = ["/etc/kubernetes/manifests/kube-apiserver.yaml", "/etc/kubernetes/manifests/kube-scheduler.yaml"]
ETCD = ["etcd-backup.timer", "etcd.service"]
RESET = "ansible-playbook -i hosts.yml playbooks/reset.yml --limit host1"


def findings(groups: tuple[str, ...], active: list[str]) -> list[Finding]:
    return list(check_placement([host(1, groups, installed={"active": active})], [], KEPT))


@pytest.mark.parametrize(
    ("groups", "active"),
    [
        (("etcd", "control_plane", "workers"), ETCD + CONTROL + NODE),
        (("etcd",), [*ETCD, "etcd-defragment.timer"]),
        (("control_plane",), PODS + NODE),
        (("workers",), NODE),
        (("workers",), []),
        (("etcd",), ["something.service"]),
    ],
)
def test_what_a_group_has_is_in_its_place(groups: tuple[str, ...], active: list[str]) -> None:
    assert findings(groups, active) == []


def test_a_worker_that_was_an_etcd_host() -> None:
    (finding,) = findings(("workers",), ETCD + NODE)
    assert (finding.id, finding.subject, finding.host, finding.severity) == ("left-group", "etcd", "host1", "error")
    assert finding.problem == (
        "it is not in the group `etcd`, and still has etcd-backup.timer, etcd.service enabled or running"
    )
    assert finding.remediation == (
        "Put it back into `etcd`. Or remove its etcd member, if etcd lists it (finding etcd-outsider), then uninstall "
        f"everything from it: {RESET}; the next run installs what its groups need."
    )


def test_a_timer_alone_shows_that_a_worker_was_an_etcd_host() -> None:
    (finding,) = findings(("workers",), ["etcd-defragment.timer", *NODE])
    assert "still has etcd-defragment.timer enabled" in finding.problem


def test_a_worker_that_was_a_control_plane_host() -> None:
    (finding,) = findings(("workers",), CONTROL + NODE)
    assert finding.subject == "control_plane"
    assert finding.problem.endswith(
        "has kube-apiserver.service, kube-controller-manager.service, kube-scheduler-mine.service enabled or running"
    )
    assert "etcd-outsider" not in finding.remediation
    assert RESET in finding.remediation


def test_every_component_of_a_node_is_noticed_alone() -> None:
    for unit in NODE:
        (finding,) = findings(("etcd",), [unit])
        assert (finding.subject, unit in finding.problem) == ("workers", True)


def test_an_etcd_host_keeps_its_data() -> None:
    """A reset would take it."""
    services, nodes = findings(("etcd",), ETCD + CONTROL + NODE[:1])
    assert (services.subject, nodes.subject) == ("control_plane", "workers")
    assert services.remediation == (
        f"Put it back into `control_plane`. Or stop them, on host1: systemctl disable --now {' '.join(CONTROL)}."
    )
    assert nodes.problem == (
        "it is not in any of the groups control_plane, workers, and still has containerd.service enabled or running"
    )
    assert nodes.remediation.startswith("Put it back into `workers`. Or stop them, on host1: systemctl disable --now")
    (pods,) = findings(("etcd",), PODS)
    assert pods.remediation.endswith(f"on host1, while its kubelet runs: rm {' '.join(PODS)}.")


class TestInNoGroup:
    def findings(self, active: list[str], identity: dict[str, list[str]]) -> list[Finding]:
        return list(check_placement([], [host(1, (), installed={"active": active}, identity=identity)], KEPT))

    def test_is_one_of_this_cluster(self) -> None:
        (finding,) = self.findings(NODE[:2], {"kubernetes": ["ours"]})
        assert (finding.id, finding.host) == ("left-group", "host1")
        assert finding.problem == (
            "it is in none of the cluster's groups, and still has containerd.service, kube-balancer.service enabled or "
            "running"
        )
        assert f"put it into `workers`, run {RESET}, and take it out again" in finding.remediation

    @pytest.mark.parametrize("identity", [{"kubernetes": ["theirs"]}, {}, {"etcd": ["ours"]}])
    def test_is_none_of_ours_if_it_is_another_cluster_s(self, identity: dict[str, list[str]]) -> None:
        assert self.findings(NODE, identity) == []

    def test_has_nothing_that_runs(self) -> None:
        assert self.findings([], {"kubernetes": ["ours"]}) == []


def test_hosts_without_a_report() -> None:
    away = Host("host1", frozenset(["etcd"]), "", None, "down", True)
    assert list(check_placement([away], [away], KEPT)) == []
