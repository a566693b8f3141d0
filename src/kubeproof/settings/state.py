"""The state directory: what an installation leaves on the controller, the cluster's root of trust among it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

from kubeproof.core.errors import KubeproofError

NAME = ".kubeproof"
"""Beside the inventory. Ansible, given an inventory's directory, reads all files below it except for what begins with a
dot, whatever ansible.cfg says; it would take the encryption key for the name of a host."""
FORMER = "state"
"""What it was called before. A cluster that has one keeps it."""
IGNORED = f"^{FORMER}$"
"""What ansible.cfg has Ansible leave out of an inventory's directory, for those clusters."""
UPGRADE = "upgrade.json"
"""What an upgrade that has begun is about, in the state directory until it has ended."""
REHEARSED = "rehearsed.json"
"""What an upgrade was rehearsed with lately, in the state directory: also if none has begun."""
REHEARSAL = "rehearsal"
"""A backup on its way to where it is rehearsed, in the state directory while it is."""
# What tells a state directory from one of that name that somebody has for something else.
_MARKS = ("pki", "admin.kubeconfig", "backup-identity.txt", "components.lock.json")
_MODE = 0o700


def directory(base: Path) -> Path:
    """The state directory of inventories in a directory. Raises KubeproofError if there are two."""
    ours, former = base / NAME, base / FORMER
    if not any((former / mark).exists() for mark in _MARKS):
        return ours
    if not (ours / "pki").exists():
        return former
    if not (former / "pki").exists():
        return ours
    raise KubeproofError(
        f"{ours} and {former} both have the CAs of a cluster",
        hint="find out which one belongs to the cluster, and keep the other one elsewhere",
    )


def prepare(path: Path) -> Path:
    """Make a state directory, private and out of git, wherever it is; one that is there is made so."""
    path.mkdir(mode=_MODE, parents=True, exist_ok=True)
    found = path.stat()
    if found.st_mode & 0o077 and found.st_uid == os.geteuid():
        path.chmod(_MODE)
    ignore = path / ".gitignore"
    if not ignore.exists():
        ignore.write_text("# The cluster's root of trust: keep a copy of it, but not in git.\n*\n", encoding="utf-8")
    return path


def refuse_elsewhere(path: Path, sources: Iterable[Path]) -> None:
    """Raise KubeproofError if a cluster's state is not here, but where a link that is its inventory leads to."""
    for source in sources:
        there = directory(source.resolve().parent)
        if source.is_symlink() and source.is_file() and (there / "pki").exists() and not (path / "pki").exists():
            raise KubeproofError(
                f"{source} is a symbolic link, and next to its target is the state directory of a cluster, {there}",
                hint=f"if it belongs to this cluster, move it to {path}, or set cluster_state_directory",
            )


def refuse_within(path: Path, sources: Iterable[Path], ignored: re.Pattern[bytes]) -> None:
    """Raise KubeproofError if Ansible reads a state directory as a part of an inventory's directory.

    ``ignored`` is what Ansible leaves out, by names. Nothing of what was read may be said: keys are among it.
    """
    for source in sources:
        if not source.is_dir():
            if path.resolve() == source.parent.resolve():
                raise KubeproofError(
                    f"{path}, the state directory of a cluster, is the directory of the inventory {source}",
                    hint=_remediation(path, source),
                )
            continue
        for place in (path, source / FORMER / "pki"):
            if (place == path or place.exists()) and _is_read(place, source, ignored):
                found = path if place == path else place.parent
                raise KubeproofError(
                    f"{found}, the state directory of a cluster, is within the inventory {source}: Ansible reads its "
                    "files, including keys, as inventories",
                    hint=_remediation(found, source),
                )


def _is_read(path: Path, source: Path, ignored: re.Pattern[bytes]) -> bool:
    try:
        parts = path.resolve().relative_to(source.resolve()).parts
    except ValueError:
        return False
    return not any(ignored.search(os.fsencode(part)) for part in parts)


def _remediation(found: Path, source: Path) -> str:
    if found.name == FORMER:
        return (
            f"give the inventory's file instead of {source}; or rename the directory, `mv {found} "
            f"{found.with_name(NAME)}`, and update references to it; or exclude it in ansible.cfg: under [defaults], "
            f"inventory_ignore_patterns = {IGNORED}"
        )
    return "set cluster_state_directory to a directory outside the inventory, or whose name starts with a dot"
