"""Which hosts that cannot be reached a run leaves behind, rather than being refused for them."""

from __future__ import annotations

from collections.abc import Sequence

from kubeproof.preflight.findings import Finding
from kubeproof.preflight.model import CONTROL_PLANE, ETCD, KEEPING, Host, Run


def left_behind(hosts: Sequence[Host], run: Run) -> list[str]:
    """The names of the hosts that the run leaves behind: all that cannot be reached, or none.

    None where etcd's quorum or all API servers are at stake, and none while the run has new nodes, or some that are
    nodes again: one that is left behind may well run, and would have no routes to their pods. A restore needs etcd and
    API servers on all hosts.
    """
    away, there = [host for host in hosts if host.unreachable], [host for host in hosts if host.report is not None]
    if run.purpose == "restore":
        return [host.name for host in away if not host.within((ETCD, CONTROL_PLANE))] if there else []
    if run.purpose not in KEEPING or not there or any(host.new_node or host.node_again for host in there):
        return []
    members, servers = run.hosts(ETCD), run.hosts(CONTROL_PLANE)
    quorum = len(members) // 2 + 1
    if any(host.name in members for host in away) and sum(host.name in members for host in there) < quorum:
        return []
    if any(host.name in servers for host in away) and not any(host.name in servers for host in there):
        return []
    return [host.name for host in away]


def warning(host: Host) -> Finding:
    """What is said of a host that is left behind."""
    return Finding(
        "unreachable",
        f"unreachable, and left behind: {host.problem}",
        "Nothing changes on it. Run this again once it can be reached; or take it out of the inventory for good.",
        host=host.name,
        severity="warning",
    )
