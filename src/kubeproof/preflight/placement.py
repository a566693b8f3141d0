"""Whether hosts run only components of their groups: a run installs what a group needs, and removes nothing.

A host that has left a group keeps what it had there: an API server with old settings, an etcd member that still votes.
"""

from __future__ import annotations

import posixpath
import shlex
from collections.abc import Iterator, Sequence

from kubeproof.preflight.findings import Finding
from kubeproof.preflight.identity import Kept
from kubeproof.preflight.model import CONTROL_PLANE, ETCD, NODES, Host

# By the groups whose hosts have them: how the names of units begin.
COMPONENTS = {
    (ETCD,): ("etcd.service", "etcd-backup", "etcd-defragment"),
    (CONTROL_PLANE,): ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-virtual-address"),
    NODES: (
        "kube-balancer",
        "containerd",
        "crio",
        "cri-docker",
        "docker",
        "kubelet",
        "kube-flannel",
        "kube-network-policy",
        "kube-pod-network",
        "kube-proxy",
    ),
}


def check_placement(hosts: Sequence[Host], ungrouped: Sequence[Host], kept: Kept) -> Iterator[Finding]:
    """Hosts that have left a group, or all: ``ungrouped`` are the inventory's hosts that are in none of ours."""
    for host in hosts:
        for groups, names in COMPONENTS.items():
            found = [name for name in _active(host) if posixpath.basename(name).startswith(names)]
            if found and not host.within(groups):
                yield _left(host, groups, found, kept)
    for host in ungrouped:
        if _active(host) and _of(host, kept):
            yield _ungrouped(host, kept)


def _active(host: Host) -> list[str]:
    """Units that are enabled or running, and paths of static pods' manifests."""
    return host.report["installed"]["active"] if host.report is not None else []


def _of(host: Host, kept: Kept) -> bool:
    """Whether a host has a CA or key of this cluster. An inventory may have hosts of another one."""
    carried = host.report["identity"] if host.report is not None else {}
    return any(kept.digests.get(name) in digests for name, digests in carried.items())


def _left(host: Host, groups: Sequence[str], found: Sequence[str], kept: Kept) -> Finding:
    where = f"the group `{groups[0]}`" if len(groups) == 1 else f"any of the groups {', '.join(groups)}"
    problem = f"it is not in {where}, and still has {', '.join(found)} enabled or running"
    back = f"Put it back into `{groups[-1]}`."
    if host.within([ETCD]):
        # A reset would take its data as well.
        pods = ", while its kubelet runs" if any(name.startswith("/") for name in found) else ""
        away = f"Or stop them, on {host.name}{pods}: {_stop(found)}."
    else:
        first = "remove its etcd member, if etcd lists it (finding etcd-outsider), then " if ETCD in groups else ""
        away = (
            f"Or {first}uninstall everything from it: {_reset(host, kept)}; the next run installs what its groups need."
        )
    return Finding("left-group", problem, f"{back} {away}", groups[-1], host.name)


def _ungrouped(host: Host, kept: Kept) -> Finding:
    problem = f"it is in none of the cluster's groups, and still has {', '.join(_active(host))} enabled or running"
    remediation = (
        f"Put it back into its groups. Or, to uninstall everything from it: put it into `{NODES[-1]}`, run "
        f"{_reset(host, kept)}, and take it out again (if it was an etcd member, remove that first: finding "
        "etcd-outsider)."
    )
    return Finding("left-group", problem, remediation, host=host.name)


def _reset(host: Host, kept: Kept) -> str:
    return f"ansible-playbook -i {kept.inventory} playbooks/reset.yml --limit {host.name}"


def _stop(found: Sequence[str]) -> str:
    """Commands on the host. A static pod is stopped by the kubelet, and so before that."""
    manifests = [name for name in found if name.startswith("/")]
    units = [name for name in found if not name.startswith("/")]
    commands = [["rm", *manifests]] if manifests else []
    commands += [["systemctl", "disable", "--now", *units]] if units else []
    return "; ".join(map(shlex.join, commands))
