"""Whether a run that adds a node includes all nodes: each gets its routes to the others' pods from its own run.

A node that others have no route to becomes ready and takes pods, which then cannot be reached from there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from kubeproof.preflight.findings import Finding
from kubeproof.preflight.model import CONTROL_PLANE, NODES, Host, Run


def check_joining(hosts: Sequence[Host], run: Run) -> Iterator[Finding]:
    """A finding for each new node of a run that leaves out others, once there is a cluster for it to join.

    A node is new as well if it is one again: its Node object was deleted, and with it its pod network.
    """
    asked = {host.name for host in hosts}
    left_out = [name for name in run.hosts(*NODES) if name not in asked]
    nodes = [host for host in hosts if host.node and host.report is not None]
    new = [(host, host.node_again or "it is a new node") for host in nodes if host.new_node or host.node_again]
    # In a first installation nobody is there to lack a route: a run without --limit later has all of them.
    begun = (
        len(new) < len(nodes)
        or any(host.node_again for host in nodes)
        or any(name not in asked for name in run.hosts(CONTROL_PLANE))
    )
    for host, why in new if left_out and begun else ():
        problem = f"{why}, and the run leaves out {', '.join(left_out)}, which would have no route to its pods"
        remediation = (
            "Run without --limit. If one of them is switched off for good, remove it from the inventory; if it will "
            """return, add -e '{"preflight_ignore": ["node-left-out"]}', and run without --limit once it has."""
        )
        yield Finding("node-left-out", problem, remediation, host=host.name)
