"""``kubeproof backup restore``: the cluster's state, brought back."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from kubeproof.cli.options import FAILED, LEFT_BEHIND, SubParsers, add_become, add_inventory
from kubeproof.core import active_run
from kubeproof.install import playbook
from kubeproof.settings import inventory, state


def add_parser(subparsers: SubParsers[argparse.ArgumentParser]) -> None:
    """Add the command to ``kubeproof backup``."""
    parser = subparsers.add_parser(
        "restore",
        help="restore the cluster's state from a backup",
        description="Shows what will be lost, asks for confirmation, and restores (playbooks/restore.yml). Run it "
        "again if it was interrupted.",
    )
    parser.add_argument(
        "source",
        nargs="?",
        default="latest",
        help="latest (default), HOST:NAME, a directory, TARGET/NAME, or member:HOST, if its data is all that is left",
    )
    add_inventory(parser)
    add_become(parser)
    parser.add_argument("--yes", action="store_true", help="do not ask for confirmation")
    parser.add_argument(
        "--no-resume", action="store_true", help="start a new restore, also if one of the same backup is unfinished"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Carry out the command."""
    cluster = inventory.load(arguments.inventory)
    # Ansible need not run in this directory.
    source = str(Path(arguments.source).resolve()) if Path(arguments.source).is_dir() else arguments.source
    settings = {"restore_from": source, "restore_confirmed": arguments.yes}
    # Otherwise the inventory decides.
    if arguments.no_resume:
        settings["restore_resume"] = False
    with active_run.held(state.prepare(cluster.state), "kubeproof backup restore"):
        ended = playbook.run("restore", cluster.sources, cluster.state, ["--extra-vars", json.dumps(settings)])
    if not ended.ok:
        return FAILED
    return LEFT_BEHIND if ended.left_behind else 0
