"""``kubeproof ssh HOST``: a shell, or one command, on a host."""

from __future__ import annotations

import argparse
import os

from kubeproof.cli.options import SubParsers, add_inventory
from kubeproof.core.errors import KubeproofError
from kubeproof.settings import inventory
from kubeproof.settings.remote import ssh_command


def add_parser(subparsers: SubParsers[argparse.ArgumentParser]) -> None:
    """Add the command to kubeproof's."""
    parser = subparsers.add_parser("ssh", help="open a shell on a host, or run a command there")
    add_inventory(parser)
    parser.add_argument("host", help="name of the host in the inventory")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="command to run instead of a shell")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Become ssh."""
    first = next(iter(arguments.command), "")
    if first.startswith("-") and first != "--":
        raise KubeproofError(
            f"{first} comes after the host, where the command to run there begins",
            hint="options come before the host: kubeproof ssh -i INVENTORY HOST COMMAND",
        )
    host = inventory.load(arguments.inventory).host(arguments.host)
    command = [*ssh_command(host), *arguments.command]
    os.execvp(command[0], command)
