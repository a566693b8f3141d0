"""Files copied in slices through the standard streams of commands on a host.

No file need be readable for the login user, and none is in memory as a whole.
"""

from __future__ import annotations

import base64
import os
import shlex
from pathlib import Path
from typing import Protocol

_BLOCK = 1 << 20
_SLICE_BLOCKS = 32


class Command(Protocol):
    """Runs a command on a host with ``data`` as its input; returns its output. Raises KubeproofError if it fails."""

    def __call__(self, command: str, data: bytes | None = None) -> str:
        """Run it."""


def pull(command: Command, source: str, dest: Path) -> None:
    """Copy a host's file to the controller, as 0600; it has its name once it is complete."""
    partial = dest.with_name(f".{dest.name}.partial")
    partial.unlink(missing_ok=True)
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        while data := _slice(command, source, stream.tell() // _BLOCK):
            stream.write(data)
            if len(data) < _SLICE_BLOCKS * _BLOCK:
                break
    partial.replace(dest)


def _slice(command: Command, source: str, blocks: int) -> bytes:
    count = f"bs={_BLOCK} skip={blocks} count={_SLICE_BLOCKS}"
    # Ansible takes what a command says for text.
    said = command(f"dd if={shlex.quote(source)} {count} status=none | base64 --wrap=0")
    return base64.b64decode(said.strip())


def push(command: Command, source: Path, dest: str, user: str) -> None:
    """Copy a file of the controller to a host, where ``user`` writes and owns it, as 0600."""
    # As root it would write through a link that somebody has put there.
    writer = f"setpriv --reuid={user} --regid={user} --clear-groups dd of={shlex.quote(dest)}"
    with source.open("rb") as stream:
        while data := stream.read(_SLICE_BLOCKS * _BLOCK):
            # At its place rather than appended: a connection plugin may send a slice again after it was cut off.
            seek = (stream.tell() - len(data)) // _BLOCK
            command(f"umask 077; {writer} bs={_BLOCK} seek={seek} conv=notrunc status=none", data)
