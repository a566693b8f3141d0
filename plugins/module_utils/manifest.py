"""What kubeproof made on a host, remembered so that a reset can undo exactly that. Standard library only."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from typing import Any, Dict, List

STATE_DIRECTORY = "/var/lib/kubeproof"
# Kinds of things that have a name rather than a path.
NAMED = ("user", "unit", "module", "sysctl", "package", "firewall", "setting")


class ManifestError(RuntimeError):
    """The manifest can't be trusted; the message is for the operator."""


class Manifest:
    """The entries of ``manifest.json``, unique by kind and path or name.

    An entry is written before the thing is made: a run that is killed in between leaves an entry too many, which a
    reset passes over, and never a thing that nobody remembers.
    """

    def __init__(self, directory: str = STATE_DIRECTORY) -> None:
        self.directory = directory
        self.path = os.path.join(directory, "manifest.json")
        self.entries: List[Dict[str, Any]] = self._load()
        self._known = {(entry["kind"], entry.get("path") or entry.get("name")) for entry in self.entries}

    def _load(self) -> List[Dict[str, Any]]:
        try:
            with open(self.path, encoding="utf-8") as stream:
                entries: List[Dict[str, Any]] = json.load(stream)["entries"]
        except FileNotFoundError:
            return []
        except (ValueError, KeyError, TypeError):
            # To begin a new one would forget all that was made before.
            raise ManifestError("%s is damaged: restore it from a backup of this host" % self.path) from None
        return entries

    def add(self, kind: str, identity: str, **details: Any) -> None:
        """Remember a thing once; what is known already keeps its first record."""
        if (kind, identity) in self._known:
            return
        self.entries.append({"kind": kind, "name" if kind in NAMED else "path": identity, **details})
        self._known.add((kind, identity))
        self._save()

    def settle(self, name: str, value: str) -> None:
        """Remember a setting that the host is installed with from now on, whatever it was before."""
        entry = {"kind": "setting", "name": name, "value": value}
        if entry in self.entries:
            return
        self.entries = [other for other in self.entries if (other["kind"], other.get("name")) != ("setting", name)]
        self.entries.append(entry)
        self._known.add(("setting", name))
        self._save()

    def _save(self) -> None:
        os.makedirs(self.directory, mode=0o755, exist_ok=True)
        document = json.dumps({"version": 1, "entries": self.entries}, indent=1).encode()
        write_atomically(self.path, document, os.geteuid(), os.getegid(), 0o644)

    def knows(self, kind: str, identity: str) -> bool:
        """Whether it is remembered."""
        return (kind, identity) in self._known

    def backup(self, path: str) -> str:
        """Keep a file that was here before us, as it is; returns where."""
        target = self.directory + "/backup" + path
        os.makedirs(os.path.dirname(target), mode=0o700, exist_ok=True)
        shutil.copy2(path, target, follow_symlinks=False)
        with contextlib.suppress(PermissionError):
            status = os.lstat(path)
            os.chown(target, status.st_uid, status.st_gid, follow_symlinks=False)
        return target


def write_atomically(path: str, content: bytes, uid: int, gid: int, mode: int) -> None:
    """Replace ``path`` in one step, so that a reader or a crash never sees half a file."""
    descriptor, temporary = tempfile.mkstemp(prefix=".kubeproof-", dir=os.path.dirname(path))
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            os.fchown(stream.fileno(), uid, gid)
            os.fchmod(stream.fileno(), mode)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
