"""``kubeproof kubectl …``: the cluster's own kubectl with the admin's kubeconfig."""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kubeproof import inventory, paths
from kubeproof.commands import common
from kubeproof.commands.common import SubParsers
from kubeproof.components.cache import Cache
from kubeproof.components.lock import Lock
from kubeproof.components.pins import MACHINES
from kubeproof.errors import KubeproofError
from kubeproof.process import attempt


def add_parser(subparsers: SubParsers[argparse.ArgumentParser]) -> None:
    """Add the command to kubeproof's list; its arguments are not argparse's to read."""
    subparsers.add_parser("kubectl", help="kubectl as the cluster's admin; all arguments are kubectl's own")


def run(arguments: Sequence[str]) -> int:
    """Become kubectl: it gets this process's terminal, input and signals."""
    path, rest = split(arguments)
    program = binary(path)
    os.execve(program, ["kubectl", *rest], {**os.environ, "KUBECONFIG": str(kubeconfig(path))})


def split(arguments: Sequence[str]) -> tuple[Path, list[str]]:
    """The inventory, and what is for kubectl, whose own options none of these are in first place."""
    path, rest = paths.DEFAULT_INVENTORY, list(arguments)
    if len(rest) > 1 and rest[0] in ("-i", "--inventory"):
        path, rest = Path(rest[1]), rest[2:]
    elif len(rest) > 1 and rest[0] == "--topology":
        try:
            path, rest = common.local_inventory(rest[1]), rest[2:]
        except argparse.ArgumentTypeError as error:
            raise KubeproofError(f"--topology: {error}") from error
    # What some put between a program's options and what it is to run.
    return path, rest[1:] if rest[:1] == ["--"] else rest


def kubeconfig(inventory_path: Path) -> Path:
    """The admin's kubeconfig of an inventory's cluster."""
    path = inventory.state_directory(inventory_path) / "admin.kubeconfig"
    if not path.is_file():
        raise KubeproofError(
            f"there is no cluster of {inventory_path} yet", hint="`kubeproof up` or playbooks/cluster.yml makes it"
        )
    return path


def binary(inventory_path: Path) -> Path:
    """The kubectl that belongs to an inventory's cluster."""
    lock = Lock(inventory.state_directory(inventory_path))
    arch = MACHINES.get(platform.machine(), platform.machine())
    entry = lock.component(arch, "kubernetes") or {}
    recorded = entry.get("binaries", {}).get("kubectl")
    with Cache() as cache:
        blob = cache.blob(recorded["sha256"]) if recorded else None
    if blob is None:
        raise KubeproofError(
            f"the kubectl of {inventory_path}'s cluster is not in this machine's cache",
            hint="`kubeproof up` fetches it; any kubectl works with the kubeconfig in the inventory's state directory",
        )
    return blob.path


def query(inventory_path: Path, *arguments: str, timeout: float = 20) -> Any:
    """What kubectl says, as data: for kubeproof's own use. None if the cluster can't be asked."""
    command = [str(binary(inventory_path)), "--kubeconfig", str(kubeconfig(inventory_path)), *arguments, "-o", "json"]
    result = attempt(command, timeout=timeout)
    return json.loads(result.stdout) if result.ok else None
