"""``kubeproof verify``: prove that a cluster is what it should be."""

from __future__ import annotations

import argparse

from rich.console import Console

from kubeproof import inventory, paths, ui
from kubeproof.commands.common import NOT_VERIFIED, SubParsers, add_inventory, environment, tool
from kubeproof.inventory import Inventory
from kubeproof.process import attend


def add_parser(subparsers: SubParsers[argparse.ArgumentParser]) -> None:
    """Add the command to kubeproof's."""
    parser = subparsers.add_parser(
        "verify",
        help="verify the architecture of a cluster",
        description="Runs tests/architecture against the inventory's hosts. Needs nothing but SSH to them.",
    )
    add_inventory(parser)
    parser.add_argument("pytest", nargs="*", help="more for pytest, after --: for example -- -k etcd")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Carry out the command."""
    cluster = inventory.load(arguments.inventory)
    return 0 if verify(ui.console(), cluster, *arguments.pytest) else NOT_VERIFIED


def verify(console: Console, cluster: Inventory, *arguments: str) -> bool:
    """Run the verification; pytest's own output is shown. Returns whether every claim holds."""
    console.print("\n[bold]Verification[/bold]")
    tests = paths.PROJECT / "tests" / "architecture"
    command = [tool("pytest"), str(tests), "--inventory", str(cluster.path), *arguments]
    return attend(command, cwd=paths.PROJECT, env=environment()) == 0
