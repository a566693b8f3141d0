"""What there is after ``kubeproof up``, and what to do with it."""

from __future__ import annotations

import json
from typing import Any

from rich.console import Console
from rich.table import Table

from kubeproof.api import kubectl
from kubeproof.cli.options import selecting
from kubeproof.core.console import duration
from kubeproof.local_hosts.plan import has_local_hosts
from kubeproof.settings.inventory import Inventory

_ROLE_LABEL = "node-role.kubernetes.io/"


def show(console: Console, cluster: Inventory, seconds: float) -> None:
    """Show how long all of it took, the nodes, and the commands that are next."""
    console.print(f"\nTook {duration(seconds)} in total; `./kubeproof report` shows the time of each part.")
    listed = kubectl.query(cluster.state, "get", "nodes")
    if listed:
        console.print("\n[bold]Nodes[/bold]")
        console.print(nodes(listed["items"]))
    adapted = adaptations(cluster)
    if adapted:
        console.print("\n[bold]Adapted to the hosts[/bold]")
        for reason, hosts in adapted.items():
            console.print(f"  {', '.join(hosts)}: {reason}", markup=False, soft_wrap=True)
    selected = selecting(cluster.sources)
    console.print("\n[bold]Next[/bold]")
    commands = ("kubectl{} get pods --all-namespaces", "status{}", "verify{}")
    for command in (*commands, *(["down{}"] if has_local_hosts(cluster) else [])):
        console.print(f"  ./kubeproof {command.format(selected)}", soft_wrap=True)


def adaptations(cluster: Inventory) -> dict[str, list[str]]:
    """Settings that follow from what hosts can't do: the reason, and its hosts, as the last preflight left them."""
    path = cluster.state / "reports" / "preflight-hosts.json"
    return dict(json.loads(path.read_text()).get("adaptations", {})) if path.is_file() else {}


def nodes(items: list[dict[str, Any]]) -> Table:
    """A table of nodes, from the API's answer."""
    table = Table.grid(padding=(0, 3))
    for item in items:
        info, conditions = item["status"]["nodeInfo"], item["status"]["conditions"]
        ready = any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)
        roles = [name.removeprefix(_ROLE_LABEL) for name in item["metadata"].get("labels", {}) if _ROLE_LABEL in name]
        table.add_row(
            f"  {item['metadata']['name']}",
            "[green]Ready[/green]" if ready else "[bold red]not ready[/bold red]",
            ", ".join(sorted(roles)) or "worker",
            info["kubeletVersion"],
            info["containerRuntimeVersion"],
            info["osImage"],
            f"Linux {info['kernelVersion']}",
        )
    return table
