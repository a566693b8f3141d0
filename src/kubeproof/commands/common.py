"""What several commands share."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kubeproof import inventory, paths
from kubeproof.inventory import Host

SubParsers = argparse._SubParsersAction  # noqa: SLF001 - argparse has no public name for it

# Exit statuses besides 0 and argparse's 2.
FAILED = 1
NOT_VERIFIED = 3
INTERRUPTED = 130

_DEFAULT = (paths.DEFAULT_INVENTORY,)
LOCAL_TOPOLOGIES = {"single": "local", "ha": "ha"}
"""Shapes of local clusters, and the directories of their inventories."""

_SSH_VARIABLES = (
    "ansible_host",
    "ansible_port",
    "ansible_user",
    "ansible_ssh_private_key_file",
    "ansible_ssh_common_args",
    "ansible_ssh_extra_args",
)


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
        help=f"whose cluster: a file or a directory; may be given several times (default: {default})",
    )
    which.add_argument(
        "--topology",
        dest="inventory",
        default=_DEFAULT,
        # Names for people, paths for the commands.
        action=AppendSource,
        type=local_inventory,
        metavar="|".join(LOCAL_TOPOLOGIES),
        help="a local cluster: one control-plane host, two workers (inventory/local), or three and two (inventory/ha)",
    )


class AppendSource(argparse.Action):
    """Collects the files and directories that an inventory is made of."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,  # noqa: ARG002
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,  # noqa: ARG002
    ) -> None:
        """Put one more behind those that were given; the default goes."""
        given = getattr(namespace, self.dest)
        setattr(namespace, self.dest, (*(() if given is self.default else given), values))


def shown(sources: inventory.Sources) -> str:
    """An inventory as whoever gave it writes it on a command line."""
    return " ".join(f"-i {shlex.quote(os.path.relpath(path))}" for path in inventory.sources_of(sources))


def local_inventory(topology: str) -> Path:
    """The inventory of a local cluster, by the name of its shape. Raises argparse.ArgumentTypeError if it has none."""
    try:
        return paths.PROJECT / "inventory" / LOCAL_TOPOLOGIES[topology] / "hosts.yml"
    except KeyError:
        raise argparse.ArgumentTypeError(f"{topology!r} is none of {', '.join(LOCAL_TOPOLOGIES)}") from None


def tool(name: str) -> str:
    """A program of the virtual environment that this runs in."""
    return str(Path(sys.executable).parent / name)


def environment(**more: str) -> dict[str, str]:
    """The environment for Ansible and the checks: the project's settings, whatever directory the user is in."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    return {**os.environ, "PATH": path, "ANSIBLE_CONFIG": str(paths.PROJECT / "ansible.cfg"), **more}


def ssh_command(host: Host, options: Sequence[str] = ()) -> list[str]:
    """The ssh command that reaches a host the way Ansible does."""
    settings = inventory.rendered(host, _SSH_VARIABLES)
    command = ["ssh", *options]
    if "ansible_ssh_private_key_file" in settings:
        command += ["-i", settings["ansible_ssh_private_key_file"]]
    if "ansible_port" in settings:
        command += ["-p", str(settings["ansible_port"])]
    if "ansible_user" in settings:
        command += ["-l", settings["ansible_user"]]
    for name in ("ansible_ssh_common_args", "ansible_ssh_extra_args"):
        command += shlex.split(settings.get(name, ""))
    return [*command, settings.get("ansible_host", host.name)]
