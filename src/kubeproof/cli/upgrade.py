"""``kubeproof upgrade``: the plan of an upgrade, the upgrade, and the way back."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kubeproof.cli.options import FAILED, SubParsers, add_become, add_inventory
from kubeproof.cli.plan import require_hosts
from kubeproof.install import playbook
from kubeproof.settings import inventory
from kubeproof.upgrade.goal import ORDER, SCOPES, Kind
from kubeproof.upgrade.plan import REFUSED

PLAN, REHEARSE, FORWARD, BACK = ACTIONS = ("plan", "rehearse", "run", "back")


def add_parser(subparsers: SubParsers[argparse.ArgumentParser]) -> None:
    """Add the command to kubeproof's."""
    parser = subparsers.add_parser(
        "upgrade",
        help="upgrade the cluster, or go back",
        description="Compares the versions that run with those that are wanted, and upgrades in order, host by host, "
        "with a check after each. What fails is put back, and the run stops; run it again to continue, or go back. "
        "Before that the target reads a restored backup. "
        "`plan` shows the steps and everything in the way, and changes nothing. It exits with 0 if there is nothing to "
        "do, with 1 if the upgrade would be refused, and with 2 if there is work.",
    )
    parser.add_argument(
        "action",
        nargs="?",
        choices=ACTIONS,
        default=FORWARD,
        help="plan: show the plan; rehearse: stage, back up, and have the target read the backup, nothing else; "
        "run (default): upgrade; back: to the versions that the cluster had before",
    )
    add_inventory(parser)
    add_become(parser)
    parser.add_argument(
        "--to", metavar="VERSION", help="version of Kubernetes (default: the inventory's, or the pinned)"
    )
    parser.add_argument("--only", action="append", choices=sorted(SCOPES), help="only this part of the cluster")
    parser.add_argument(
        "--hosts", metavar="HOSTS", help="hosts that may have a turn, with *; with ! before it, not these"
    )
    steps = dict.fromkeys(str(kind) for order in ORDER.values() for kind in order)
    parser.add_argument("--until", choices=list(steps), help="last step of this run")
    parser.add_argument("--back", action="store_true", help="with plan and rehearse: of the way back")
    parser.add_argument("--json", action="store_true", help="with plan: as JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Carry out the command."""
    cluster = inventory.load(arguments.inventory)
    require_hosts(cluster)
    planning = arguments.action == PLAN
    given = ["--extra-vars", json.dumps(settings(arguments)), *(["--check"] if planning else [])]
    report = cluster.state / "reports" / "upgrade-plan.json"
    report.unlink(missing_ok=True)
    output = sys.stderr if arguments.json else None
    ended = playbook.run("upgrade", cluster.sources, cluster.state, given, quiet=planning, output=output)
    if not planning:
        return 0 if ended.ok else FAILED
    return planned(report, as_json=arguments.json)


def settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """Settings of the role ``upgrade`` for what was asked."""
    found = {
        "upgrade_to": arguments.to,
        "upgrade_only": arguments.only,
        "upgrade_hosts": arguments.hosts,
        "upgrade_until": arguments.until,
        "upgrade_direction": "back" if arguments.back or arguments.action == BACK else "",
    }
    if arguments.action == REHEARSE:
        found |= {"upgrade_until": str(Kind.REHEARSAL), "upgrade_rehearsal": True}
    return {name: value for name, value in found.items() if value}


def planned(report: Path, *, as_json: bool) -> int:
    """The exit status of a plan, which the run has shown; without one it has said why. ``as_json``: print it."""
    if not report.is_file():
        return REFUSED
    document = json.loads(report.read_text(encoding="utf-8"))
    if as_json:
        print(json.dumps({name: value for name, value in document.items() if name not in _INTERNAL}, indent=1))
    return int(document["exit_code"])


# For the playbook, and for people.
_INTERNAL: Sequence[str] = ("acts", "text")
