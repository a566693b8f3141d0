"""Copy a backup from an etcd host to the controller, or its snapshot from the controller to an etcd host.

In slices through the standard streams of commands, so that no file need be readable for the login user, and none is in
memory as a whole.
"""

from __future__ import annotations

import base64
import os
import shlex
from pathlib import Path
from typing import Any

from kubeproof.install.action import Action

_BLOCK = 1 << 20
_SLICE_BLOCKS = 32


class ActionModule(Action):
    """Sends and gets files."""

    _VALID_ARGS = frozenset(("pull", "push"))

    def act(self) -> dict[str, Any]:
        """Raises KubeproofError if a file can't be read or written."""
        arguments = self._arguments
        if "pull" in arguments:
            wanted = arguments["pull"]
            for name in self._command(f"ls -1A -- {shlex.quote(str(wanted['source']))}").splitlines():
                self._pull(f"{wanted['source']}/{name}", Path(str(wanted["dest"])) / Path(name).name)
        elif arguments["push"]["dest"]:
            wanted = arguments["push"]
            self._push(Path(str(wanted["source"])), str(wanted["dest"]), str(wanted["user"]))
        return {"changed": False}

    def _pull(self, source: str, dest: Path) -> None:
        partial = dest.with_name(f".{dest.name}.partial")
        partial.unlink(missing_ok=True)
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            while data := self._slice(source, stream.tell() // _BLOCK):
                stream.write(data)
                if len(data) < _SLICE_BLOCKS * _BLOCK:
                    break
        partial.replace(dest)

    def _slice(self, source: str, blocks: int) -> bytes:
        count = f"bs={_BLOCK} skip={blocks} count={_SLICE_BLOCKS}"
        # Ansible takes what a command says for text.
        said = self._command(f"dd if={shlex.quote(source)} {count} status=none | base64 --wrap=0")
        return base64.b64decode(said.strip())

    def _push(self, source: Path, dest: str, user: str) -> None:
        # As root it would write through a link that somebody has put there.
        writer = f"setpriv --reuid={user} --regid={user} --clear-groups dd of={shlex.quote(dest)}"
        with source.open("rb") as stream:
            while data := stream.read(_SLICE_BLOCKS * _BLOCK):
                # At its place rather than appended: a connection plugin may send a slice again after it was cut off.
                seek = (stream.tell() - len(data)) // _BLOCK
                self._command(f"umask 077; {writer} bs={_BLOCK} seek={seek} conv=notrunc status=none", data)
