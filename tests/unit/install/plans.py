"""A plan of three control-plane hosts and some workers: etcd, with its leader, and kubelets have another setting."""

from __future__ import annotations

from kubeproof.install.gates import Gate
from kubeproof.install.reasons import Reason
from kubeproof.install.steps import Place, Report, Step, steps

SETTINGS = Reason.of("settings")
CHANGED = Reason("outdated", "changed since its start: /etc/etcd/etcd.yaml")
ETCD = Gate(("on 2 others: :2379/health says true",), (":2379/health says true",))
KUBELET = Gate(after=(":10248/healthz says ok", "node Ready again, if it was before"))
NODES = "Install kubelets"


def place(number: int, phase: str, role: str, action: str = "install_component") -> Place:
    return Place(number, phase, role, f"Install {role}", action)


def restart(at: Place, host: str, unit: str, gate: Gate, at_once: int, reason: Reason = CHANGED) -> Report:
    return Report(at, host, (f"{unit}: restarted",), reason, (unit,), gate, at_once)


def reports(workers: int = 5) -> list[Report]:
    """In the order in which check mode's hosts answer, which is none."""
    nodes = [f"w{number}" for number in range(workers, 0, -1)]
    etcd, kubelet = place(4, "Install etcd", "etcd"), place(9, NODES, "kubelet")
    return [
        *(Report(place(3, "Install etcd", "etcd"), host, ("/etc/etcd/etcd.yaml: content",), SETTINGS)
          for host in ("cp2", "cp1", "cp3")),
        *(restart(etcd, host, "etcd.service", ETCD, 1) for host in ("cp3", "cp1")),
        Report(place(5, "Restart the etcd leader", "etcd"), "cp2", (), None, gate=Gate(after=("another leader",))),
        restart(place(6, "Restart the etcd leader", "etcd"), "cp2", "etcd.service", ETCD, 1),
        *(Report(place(8, NODES, "kubelet"), host, ("/etc/k/a: content", "/etc/k/b: created"), SETTINGS)
          for host in nodes),
        *(restart(kubelet, host, "kubelet.service", KUBELET, 2) for host in nodes),
        Report(place(12, "Wait for nodes and add-ons", "nodes"), "cp1", (), None, gate=Gate(after=("8 nodes Ready",))),
    ]  # fmt: skip


def made(workers: int = 5) -> list[Step]:
    return steps(reports(workers))
