"""``kubeproof up``: from an inventory to a verified cluster."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

from rich.console import Console

from kubeproof.cli import summary
from kubeproof.cli.options import FAILED, LEFT_BEHIND, NOT_VERIFIED, SubParsers, add_become, add_inventory
from kubeproof.components import prefetch
from kubeproof.core import active_run, controller_packages
from kubeproof.core import console as ui
from kubeproof.core.parallel import run_all
from kubeproof.install import playbook
from kubeproof.local_hosts import lifecycle, machine
from kubeproof.local_hosts.plan import Plan, has_local_hosts, plan
from kubeproof.settings import inventory, remote, state
from kubeproof.settings.inventory import Inventory
from kubeproof.settings.resolve import Settings
from kubeproof.verify.engine import run as verify


def add_parser(subparsers: SubParsers[argparse.ArgumentParser]) -> None:
    """Add the command to kubeproof's."""
    parser = subparsers.add_parser(
        "up",
        help="create the hosts, install the cluster, verify it",
        description="Creates the local hosts if the inventory has any, fetches or builds the components, installs the "
        "cluster and verifies it. Idempotent: run again, it changes only what differs.",
    )
    add_inventory(parser)
    add_become(parser)
    parser.add_argument(
        "--replace-hosts", action="store_true", help="recreate local hosts whose definition has changed"
    )
    parser.add_argument("--no-verify", dest="verify", action="store_false", help="skip the verification")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Carry out the command."""
    console = ui.console()
    started = time.monotonic()
    cluster = inventory.load(arguments.inventory)
    # Checked before anything is made: a wrong address should not cost a build.
    local = plan(cluster) if has_local_hosts(cluster) else None
    if arguments.verify and local is None:
        # What the verification cannot log in to is said before the installation, not after it.
        for host in cluster.members:
            remote.login(host)
    with active_run.held(state.prepare(cluster.state), "kubeproof up"):
        prepare(console, cluster, local, replace_hosts=arguments.replace_hosts)
        console.print("\n[bold]Cluster[/bold]")
        installed = playbook.run("cluster", cluster.sources, cluster.state)
        if not installed.ok:
            console.print("Run `kubeproof up` again to continue.")
            return FAILED
        verified = True
        own_network = Settings(cluster.representative)["pod_network_plugin"] != "none"
        if arguments.verify and not own_network:
            console.print("\nNot verified: pod_network_plugin is none. Install a pod network, then `kubeproof verify`.")
        elif arguments.verify:
            console.print("\n[bold]Verification[/bold]")
            verified = verify.verify(cluster.sources)
    summary.show(console, cluster, time.monotonic() - started)
    if installed.left_behind:
        console.print(
            f"Left behind: {', '.join(installed.left_behind)}. Run `kubeproof up` again once they can be reached."
        )
        return LEFT_BEHIND
    return 0 if verified else NOT_VERIFIED


def prepare(console: Console, cluster: Inventory, local: Plan | None, *, replace_hosts: bool = False) -> None:
    """Have what the installation needs: the machine's programs, and, side by side, components and hosts."""
    display = ui.StepDisplay(console)
    with display.showing():
        with display.step("This machine") as tell:
            _require(local, tell)
        if local is None:
            # What the hosts are is only known when they are asked: the playbook fetches for them.
            return
        run_all([lambda: _fetch(display, cluster), lambda: _make_hosts(display, local, replace=replace_hosts)])


def _require(local: Plan | None, tell: Callable[[str], None]) -> None:
    if local:
        machine.require(tell)
    else:
        controller_packages.ensure(controller_packages.SSH, tell)
    tell("has what is needed")


def _fetch(display: ui.StepDisplay, cluster: Inventory) -> None:
    with display.step("Components") as tell:
        prefetch.fetch_all(cluster, tell)


def _make_hosts(display: ui.StepDisplay, local: Plan, *, replace: bool) -> None:
    with display.step("Hosts") as tell:
        lifecycle.create(local, tell, replace=replace)
        tell(", ".join(f"{host.name} {host.address}" for host in local.hosts))
