"""``kubeproof status``: a cluster at a glance."""

from __future__ import annotations

import argparse

from rich.console import Console
from rich.table import Table

from kubeproof.api import api_servers, kubeconfig, kubectl
from kubeproof.cli import summary
from kubeproof.cli.options import FAILED, SubParsers, add_inventory
from kubeproof.core import console as ui
from kubeproof.core.errors import KubeproofError
from kubeproof.core.process import attempt
from kubeproof.local_hosts import lifecycle
from kubeproof.local_hosts.plan import has_local_hosts, plan
from kubeproof.settings import inventory
from kubeproof.settings.inventory import Inventory


def add_parser(subparsers: SubParsers[argparse.ArgumentParser]) -> None:
    """Add the command to kubeproof's."""
    parser = subparsers.add_parser(
        "status",
        help="hosts, nodes and the API's health",
        description="Shows the hosts, the nodes and the API servers' health. Exits with 1 if anything is unhealthy.",
    )
    add_inventory(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Carry out the command."""
    console = ui.console()
    cluster = inventory.load(arguments.inventory)
    well = [part(console, cluster) for part in (_hosts, _nodes, _health)]
    return 0 if all(well) else FAILED


def _hosts(console: Console, cluster: Inventory) -> bool:
    """The local hosts; hosts of the user's own are not this machine's to look into."""
    if not has_local_hosts(cluster):
        return True
    states = lifecycle.status(plan(cluster))
    table = Table.grid(padding=(0, 3))
    for host, state in states.items():
        table.add_row(f"  {host.name}", str(host.address), state)
    console.print("[bold]Hosts[/bold]")
    console.print(table)
    return set(states.values()) == {"running"}


def _nodes(console: Console, cluster: Inventory) -> bool:
    console.print("[bold]Nodes[/bold]")
    try:
        listed = kubectl.query(cluster.state, "get", "nodes")
    except KubeproofError as error:
        console.print(f"  {error}")
        return False
    if listed is None:
        console.print("  the API server does not respond")
        return False
    console.print(summary.nodes(listed["items"]))
    conditions = [each for item in listed["items"] for each in item["status"]["conditions"]]
    return all(each["status"] == "True" for each in conditions if each["type"] == "Ready")


def _health(console: Console, cluster: Inventory) -> bool:
    """What API servers say of themselves and of etcd behind them."""
    try:
        config = kubectl.kubeconfig(cluster.state)
        accesses = kubeconfig.load_all(config)
        if accesses[1:]:
            return _servers(console, [each.server for each in accesses], accesses[0].ca)
        command = [*kubectl.command(cluster.state), "get", "--raw", "/readyz?verbose"]
    except KubeproofError:
        return False  # Said with the nodes.
    result = attempt(command, timeout=20, env=kubectl.environment(config))
    lines = (result.stdout + result.stderr).splitlines()
    bad = [line for line in lines if line.startswith("[-]")]
    console.print("[bold]API server[/bold]")
    for line in bad or ["ready" if result.ok else "not ready"]:
        console.print(f"  {line}", markup=False)
    return result.ok


def _servers(console: Console, servers: list[str], ca: str) -> bool:
    """Each of several; the virtual address or load balancer before them, if the kubeconfig names one, among them."""
    answers = api_servers.survey(servers, ca)
    console.print("[bold]API servers[/bold]")
    for answer in answers:
        console.print(f"  {answer.server}: {answer.said or 'ready'}", markup=False, soft_wrap=True)
    return all(answer.health is api_servers.Health.READY for answer in answers)
