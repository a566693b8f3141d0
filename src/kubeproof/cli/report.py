"""``kubeproof report``: what the last verification proved, what the last installation did, where its time went."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from kubeproof.cli.options import SubParsers, add_inventory, shown
from kubeproof.core import console as ui
from kubeproof.core.errors import KubeproofError
from kubeproof.settings import inventory
from kubeproof.verify.engine import results as verification
from kubeproof.verify.report.html import FAMILY

_SLOWEST = 10
_NOT_WELL = ("refuted", "blocked")


def add_parser(subparsers: SubParsers[argparse.ArgumentParser]) -> None:
    """Add the command to kubeproof's."""
    parser = subparsers.add_parser(
        "report", help="results of the last verification, and the time that each part of the last run took"
    )
    add_inventory(parser)
    parser.add_argument(
        "file", nargs="?", type=Path, metavar="FILE.json", help="a verification's report (default: the last one)"
    )
    parser.add_argument("--html", type=Path, metavar="OUT", help="write the report's HTML page to OUT")
    parser.add_argument("--junit", type=Path, metavar="OUT", help="write the report as JUnit XML to OUT")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Carry out the command."""
    console = ui.console()
    if arguments.file or arguments.html or arguments.junit:
        return _one(console, arguments)
    reports = inventory.find_state(arguments.inventory) / "reports"
    parts = {reports / "verification.json": show_verification, reports / "cluster-profile.json": show_installation}
    present = [path for path in parts if path.is_file()]
    if not present:
        raise KubeproofError(
            f"nothing was installed with {shown(arguments.inventory)} yet", hint="`kubeproof up` installs a cluster"
        )
    for path in present:
        parts[path](console, json.loads(path.read_text()))
    return 0


def _one(console: Console, arguments: argparse.Namespace) -> int:
    """Show one verification, or write it in other forms."""
    path = arguments.file or inventory.find_state(arguments.inventory) / verification.DEFAULT_PATH
    try:
        report = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise KubeproofError(f"the report {path} cannot be read: {error}") from None
    if not isinstance(report, dict) or not str(report.get("schema", "")).startswith(FAMILY):
        raise KubeproofError(f"{path} is not the report of a verification", hint="`kubeproof verify` writes one")
    forms = ((arguments.html, verification.write_page), (arguments.junit, verification.write_junit))
    wanted = [(out, write) for out, write in forms if out]
    for out, write in wanted:
        write(report, out)
        console.print(f"Written: {out}", soft_wrap=True, markup=False)
    if not wanted:
        show_verification(console, report)
    return 0


def show_verification(console: Console, report: dict[str, Any]) -> None:
    """Show what a verification came to: in numbers, and each claim that did not hold."""
    counts = ", ".join(f"{number} {verdict}" for verdict, number in report["counts"].items() if number)
    console.print(
        f"[bold]Verification[/bold] of {report['started'][:19]}: {report['verdict']} ({counts})", soft_wrap=True
    )
    for component in report["components"]:
        for claim in component["claims"]:
            if claim["verdict"] in _NOT_WELL:
                console.print(f"  {claim['verdict']}: {component['title']}, {claim['statement']}", markup=False)
                console.print(f"    {claim['reason']}", markup=False)
    console.print()


def show_installation(console: Console, profile: dict[str, Any]) -> None:
    """Show a playbook run's profile."""
    tasks = [(phase, task) for phase in profile["phases"] for task in phase["tasks"]]
    console.print(
        f"[bold]Installation[/bold]: {ui.duration(profile['seconds'])} for {len(tasks)} tasks, the last time\n"
    )
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
