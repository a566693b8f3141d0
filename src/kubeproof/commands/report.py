"""``kubeproof report``: what the last installation did, and where its time went."""

from __future__ import annotations

import argparse
import json
from typing import Any

from rich.console import Console
from rich.table import Table

from kubeproof import inventory, ui
from kubeproof.commands.common import SubParsers, add_inventory
from kubeproof.errors import KubeproofError

_SLOWEST = 10


def add_parser(subparsers: SubParsers[argparse.ArgumentParser]) -> None:
    """Add the command to kubeproof's."""
    parser = subparsers.add_parser("report", help="what the last installation did, and where its time went")
    add_inventory(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Carry out the command."""
    path = inventory.state_directory(arguments.inventory) / "reports" / "cluster-profile.json"
    if not path.is_file():
        raise KubeproofError(f"nothing was installed with {arguments.inventory} yet", hint="`kubeproof up` does")
    show(ui.console(), json.loads(path.read_text()))
    return 0


def show(console: Console, profile: dict[str, Any]) -> None:
    """Show a playbook run's profile."""
    tasks = [(phase, task) for phase in profile["phases"] for task in phase["tasks"]]
    console.print(f"The last run took {ui.duration(profile['seconds'])} for {len(tasks)} tasks.\n")
    console.print(_by_phase(profile["phases"]))
    console.print(f"\n[bold]The {_SLOWEST} tasks that took longest[/bold]")
    console.print(_slowest(tasks))


def _by_phase(phases: list[dict[str, Any]]) -> Table:
    table = Table("Play", "Role", "Tasks", "Changes", "Time", box=None, header_style="bold", padding=(0, 2, 0, 0))
    for phase in phases:
        changes = sum(task["outcomes"].get("changed", 0) for task in phase["tasks"])
        table.add_row(
            phase["play"], phase["role"], str(len(phase["tasks"])), str(changes), ui.duration(phase["seconds"])
        )
    return table


def _slowest(tasks: list[tuple[dict[str, Any], dict[str, Any]]]) -> Table:
    table = Table.grid(padding=(0, 2))
    for phase, task in sorted(tasks, key=lambda pair: pair[1]["seconds"], reverse=True)[:_SLOWEST]:
        table.add_row(ui.duration(task["seconds"]), phase["role"], task["name"])
    return table
