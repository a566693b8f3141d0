"""``kubeproof plan``: what a run would change, before it does."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import RenderableType
from rich.padding import Padding
from rich.text import Text

from kubeproof.cli.options import FAILED, SubParsers, add_become, add_inventory, selecting
from kubeproof.core import console as ui
from kubeproof.core.errors import KubeproofError
from kubeproof.install import plan_text, playbook
from kubeproof.install.refusals import Refusal, findings, of_run
from kubeproof.install.steps import Step
from kubeproof.local_hosts import lifecycle
from kubeproof.local_hosts.plan import has_local_hosts
from kubeproof.local_hosts.plan import plan as plan_local
from kubeproof.settings import inventory
from kubeproof.settings.inventory import Inventory

SCHEMA = 1


def add_parser(subparsers: SubParsers[argparse.ArgumentParser]) -> None:
    """Add the command to kubeproof's."""
    parser = subparsers.add_parser(
        "plan",
        help="show what a run would change, and change nothing",
        description="Compares settings and hosts as `up` does, in Ansible's check mode, and lists the steps of a run "
        "in its order: hosts, files, processes that it would start or restart, API objects, why, and what it would "
        "wait for before and after. Changes nothing. Exits with 1 if a run would be refused, with the reasons.",
    )
    add_inventory(parser)
    add_become(parser)
    parser.add_argument("--diff", action="store_true", help="show the differences of files, too")
    parser.add_argument("--json", action="store_true", help="print the plan as JSON; progress goes to standard error")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Carry out the command."""
    cluster = inventory.load(arguments.inventory)
    require_hosts(cluster)
    installed = (cluster.state / "pki").is_dir()
    given = ["--check", *(["--diff"] if arguments.diff else []), *([] if installed else ["--tags", "host"])]
    # Times of files are those of the kernel's coarse clock.
    since = time.time() - 1
    ended = playbook.run(
        "cluster", cluster.sources, cluster.state, given, quiet=True, output=sys.stderr if arguments.json else None
    )
    if arguments.json:
        found = [] if ended.ok else of_run(ended.profile.get("failures", ()), findings(ended.reports, since))
        print(json.dumps(document(ended, found, installed=installed), indent=1))
    else:
        for line in rendered(ended, cluster, installed=installed):
            ui.console().print(line)
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


def document(ended: playbook.Run, refused: Sequence[Refusal], *, installed: bool) -> dict[str, Any]:
    """The plan as data, see docs/plan.schema.json. ``refused``: why a run would be refused."""
    return {
        "schema": SCHEMA,
        "ok": ended.ok,
        "installed": installed,
        "left_behind": ended.left_behind,
        "refusals": [each.data() for each in refused],
        **{name: ended.profile.get(name, []) for name in ("steps", "changes", "warnings", "failures")},
    }


def rendered(ended: playbook.Run, cluster: Inventory, *, installed: bool) -> Iterator[RenderableType]:
    """The plan for people."""
    steps, command = planned(ended.profile), f"./kubeproof up{selecting(cluster.sources)}"
    if installed or not ended.ok:
        compared = len(cluster.members) - len(ended.left_behind)
        yield from plan_text.conclusion(steps, refused=not ended.ok, hosts=compared, command=command)
        return
    yield from plan_text.lines(steps)
    yield Text(f"Nothing of this cluster is installed yet. `{command}` then installs its components on:")
    for host in cluster.members:
        yield Padding(f"{host.name} ({', '.join(sorted(host.groups - {'all'}))})", (0, 0, 0, 2), expand=False)


def planned(profile: Mapping[str, Any]) -> list[Step]:
    """The steps that the callback left."""
    return [Step.parse(step) for step in profile.get("steps", ())]
