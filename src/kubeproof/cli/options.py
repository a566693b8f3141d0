"""What several commands share."""

from __future__ import annotations

import argparse
import getpass
import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kubeproof.core import paths
from kubeproof.core.arguments import AppendSource
from kubeproof.settings import inventory, remote

SubParsers = argparse._SubParsersAction  # noqa: SLF001 - argparse has no public name for it

# Exit statuses besides 0 and argparse's 2.
FAILED = 1
NOT_VERIFIED = 3
LEFT_BEHIND = 4
INTERRUPTED = 130

_DEFAULT = (paths.DEFAULT_INVENTORY,)
LOCAL_TOPOLOGIES = {"single": "local", "ha": "ha"}
"""Shapes of local clusters, and the directories of their inventories."""


def add_become(parser: argparse.ArgumentParser) -> None:
    """Add the option of commands that do something on hosts as root."""
    parser.add_argument(
        "-K",
        "--ask-become-pass",
        action="store_true",
        help="ask for the sudo password of hosts without ansible_become_password",
    )


@contextmanager
def become_password(arguments: argparse.Namespace) -> Iterator[None]:
    """Ask for the password of sudo if that is wanted, for this process and all that it starts."""
    if not getattr(arguments, "ask_become_pass", False):
        yield
        return
    before = os.environ.get(remote.PASSWORD_FILE)
    with remote.password_file(getpass.getpass("BECOME password: ")) as path:
        os.environ[remote.PASSWORD_FILE] = path
        try:
            yield
        finally:
            os.environ.pop(remote.PASSWORD_FILE)
            os.environ.update({remote.PASSWORD_FILE: before} if before else {})


def add_inventory(parser: argparse.ArgumentParser) -> None:
    """Add the option that nearly every command has."""
    default = paths.DEFAULT_INVENTORY.relative_to(paths.PROJECT)
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "-i",
        "--inventory",
        action=AppendSource,
        type=Path,
        default=_DEFAULT,
        help=f"inventory: a file or a directory; may be given several times (default: {default})",
    )
    which.add_argument(
        "--topology",
        dest="inventory",
        default=_DEFAULT,
        # Names for people, paths for the commands.
        action=AppendSource,
        type=local_inventory,
        metavar="|".join(LOCAL_TOPOLOGIES),
        help=(
            "local cluster: single (inventory/local) has one control-plane host, ha (inventory/ha) three; both two "
            "workers"
        ),
    )


def shown(sources: inventory.Sources) -> str:
    """An inventory as whoever gave it writes it on a command line."""
    return " ".join(f"-i {shlex.quote(os.path.relpath(path))}" for path in inventory.sources_of(sources))


def selecting(sources: inventory.Sources) -> str:
    """What a command has to be given for an inventory, with a space before it; empty for the default one."""
    return "" if inventory.sources_of(sources) == _DEFAULT else f" {shown(sources)}"


def local_inventory(topology: str) -> Path:
    """The inventory of a local cluster, by the name of its shape. Raises argparse.ArgumentTypeError if it has none."""
    try:
        return paths.PROJECT / "inventory" / LOCAL_TOPOLOGIES[topology] / "hosts.yml"
    except KeyError:
        raise argparse.ArgumentTypeError(f"{topology!r} is none of {', '.join(LOCAL_TOPOLOGIES)}") from None
