"""``kubeproof plan``: what a run would change, before it does."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import RenderableType
from rich.padding import Padding
from rich.text import Text

from kubeproof.cli.options import FAILED, SubParsers, add_become, add_inventory, selecting
from kubeproof.core import console as ui
from kubeproof.core.errors import KubeproofError
from kubeproof.install import playbook
from kubeproof.local_hosts import lifecycle
from kubeproof.local_hosts.plan import has_local_hosts
from kubeproof.local_hosts.plan import plan as plan_local
from kubeproof.settings import inventory
from kubeproof.settings.inventory import Inventory

SCHEMA = 1
_RESTART = ": restarted: "


def add_parser(subparsers: SubParsers[argparse.ArgumentParser]) -> None:
    """Add the command to kubeproof's."""
    parser = subparsers.add_parser(
        "plan",
        help="show what a run would change, and change nothing",
        description="Compares settings and hosts as `up` does, in Ansible's check mode, and lists what a run would "
        "change: files, processes that it would start or restart and why, API objects. Changes nothing. Exits with 1 "
        "if a run would be refused, with the reasons.",
    )
    add_inventory(parser)
    add_become(parser)
    parser.add_argument("--diff", action="store_true", help="show the differences of files, too")
    parser.add_argument("--json", action="store_true", help="print the plan as JSON; progress goes to standard error")
    parser.set_defaults(run=run)


@dataclass(frozen=True)
class Group:
    """The same changes of one task, on one or more hosts."""

    role: str
    task: str
    what: tuple[str, ...]
    hosts: tuple[str, ...]


def run(arguments: argparse.Namespace) -> int:
    """Carry out the command."""
    cluster = inventory.load(arguments.inventory)
    require_hosts(cluster)
    installed = (cluster.state / "pki").is_dir()
    given = ["--check", *(["--diff"] if arguments.diff else []), *([] if installed else ["--tags", "host"])]
    ended = playbook.run(
        "cluster", cluster.sources, cluster.state, given, quiet=True, output=sys.stderr if arguments.json else None
    )
    if arguments.json:
        print(json.dumps(document(ended.profile, ok=ended.ok, installed=installed), indent=1))
    elif ended.ok:
        for line in rendered(ended.profile, cluster, installed=installed):
            ui.console().print(line)
    else:
        ui.console().print("A run would be refused for this reason, or end here. Nothing was changed.")
    return 0 if ended.ok else FAILED


def require_hosts(cluster: Inventory) -> None:
    """Refuse a local cluster whose hosts do not run: there is nothing to compare with."""
    if not has_local_hosts(cluster):
        return
    states = lifecycle.status(plan_local(cluster))
    away = [f"{host.name} ({state})" for host, state in states.items() if state != "running"]
    if away:
        raise KubeproofError(
            f"there is nothing to compare with, since local hosts do not run: {', '.join(away)}. "
            f"`./kubeproof up{selecting(cluster.sources)}` creates and starts them"
        )


def document(profile: Mapping[str, Any], *, ok: bool, installed: bool) -> dict[str, Any]:
    """The plan as data: ``changes`` in the order in which the run would make them."""
    return {
        "schema": SCHEMA,
        "ok": ok,
        "installed": installed,
        **{name: profile.get(name, []) for name in ("changes", "warnings", "failures")},
    }


def grouped(changes: Sequence[Mapping[str, Any]]) -> list[Group]:
    """Changes in their order, those that differ in nothing but their host as one."""
    hosts: dict[tuple[str, str, tuple[str, ...]], list[str]] = {}
    for change in changes:
        hosts.setdefault((change["role"], change["task"], tuple(change["what"])), []).append(change["host"])
    return [Group(*key, tuple(sorted(names))) for key, names in hosts.items()]


def rendered(profile: Mapping[str, Any], cluster: Inventory, *, installed: bool) -> list[RenderableType]:
    """The plan for people."""
    changes, command = profile.get("changes", []), f"./kubeproof up{selecting(cluster.sources)}"
    lines: list[RenderableType] = []
    for group in grouped(changes):
        title = Text.assemble((group.role or group.task, "bold"), "  ", ", ".join(group.hosts))
        lines.append(Padding(title, (0, 0, 0, 2), expand=False))
        lines += [Padding(_emphasised(what), (0, 0, 0, 6), expand=False) for what in group.what or (group.task,)]
    if not installed:
        lines.append(Text(f"Nothing of this cluster is installed yet. `{command}` then installs its components on:"))
        hosts = [f"{host.name} ({', '.join(sorted(host.groups - {'all'}))})" for host in cluster.members]
        return [*lines, *(Padding(host, (0, 0, 0, 2), expand=False) for host in hosts)]
    if not changes:
        return [*lines, Text(f"Nothing to change on {_count(len(cluster.members), 'host')}.")]
    names = {change["host"] for change in changes}
    restarts = sum(_RESTART in what for change in changes for what in change["what"])
    total = f"{_count(len(changes), 'change')} on {_count(len(names), 'host')}, {_count(restarts, 'restart')}"
    return [*lines, Text(f"{total}. Nothing was changed; `{command}` does it.")]


def _emphasised(what: str) -> Text:
    return Text(what, style="yellow" if _RESTART in what else "")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
