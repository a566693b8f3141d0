"""What kubeproof made on a host, remembered so that a reset can undo exactly that. Standard library only."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import stat
from typing import Any, Dict, Iterator, List, Set, Tuple

from ansible.module_utils import places

STATE_DIRECTORY = "/var/lib/kubeproof"
# Kinds of things that have a name rather than a path.
NAMED = ("user", "unit", "module", "sysctl", "package", "firewall", "setting")


class ManifestError(RuntimeError):
    """The manifest can't be trusted; the message is for the operator."""


@contextlib.contextmanager
def locked(directory: str) -> Iterator[None]:
    """Hold the lock of a state directory, waiting for the process that holds it. The kernel releases it with that."""
    places.make_directories(directory)
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


class Manifest:
    """The entries of ``manifest.json``, unique by kind and path or name.

    An entry is written before the thing is made: a run that is killed in between leaves an entry too many, which a
    reset passes over, and never a thing that nobody remembers. It is added to what the file has then, under a lock:
    a module whose run was killed on the controller may still be at work.
    """

    def __init__(self, directory: str = STATE_DIRECTORY) -> None:
        self.directory = directory
        self.path = os.path.join(directory, "manifest.json")
        self.entries: List[Dict[str, Any]] = []
        self._known: Set[Tuple[str, str]] = set()
        self._version: Tuple[int, ...] = ()
        self._load()

    def _load(self) -> None:
        """Read the file, if it is another one than at the last time: each is written once, and then replaced."""
        try:
            with open(self.path, encoding="utf-8") as stream:
                found = os.fstat(stream.fileno())
                if version(found) != self._version:
                    self._keep(json.load(stream)["entries"], found)
        except FileNotFoundError:
            self.entries, self._known, self._version = [], set(), ()
        except (ValueError, KeyError, TypeError):
            # To begin a new one would forget all that was made before.
            raise ManifestError("%s is damaged: restore it from a backup of this host" % self.path) from None

    def _keep(self, entries: List[Dict[str, Any]], found: os.stat_result) -> None:
        self._known = {_identity(entry) for entry in entries}
        self.entries, self._version = entries, version(found)

    def add(self, kind: str, identity: str, **details: Any) -> None:
        """Remember a thing once; what is known already keeps its first record."""
        if (kind, identity) in self._known:
            return
        with locked(self.directory):
            self._load()
            if (kind, identity) not in self._known:
                self._save([*self.entries, {"kind": kind, "name" if kind in NAMED else "path": identity, **details}])

    def update(self, kind: str, identity: str, **details: Any) -> None:
        """Add to the record of a thing, or change what was added; nothing if it is not remembered."""
        with locked(self.directory):
            self._load()
            entries = [
                {**entry, **details} if _identity(entry) == (kind, identity) else entry for entry in self.entries
            ]
            if entries != self.entries:
                self._save(entries)

    def forget(self, kind: str, identity: str) -> None:
        """Remember a thing no more, once it is gone."""
        with locked(self.directory):
            self._load()
            left = [entry for entry in self.entries if _identity(entry) != (kind, identity)]
            if left != self.entries:
                self._save(left)

    def settle(self, name: str, value: str) -> None:
        """Remember a setting that the host is installed with from now on, whatever it was before."""
        entry = {"kind": "setting", "name": name, "value": value}
        if entry in self.entries:
            return
        with locked(self.directory):
            self._load()
            others = [other for other in self.entries if (other["kind"], other.get("name")) != ("setting", name)]
            self._save([*others, entry])

    def _save(self, entries: List[Dict[str, Any]]) -> None:
        document = json.dumps({"version": 1, "entries": entries}, indent=1).encode()
        places.write(self.path, document, os.geteuid(), os.getegid(), 0o644)
        self._keep(entries, os.stat(self.path))

    def knows(self, kind: str, identity: str) -> bool:
        """Whether it is remembered."""
        return (kind, identity) in self._known

    def backup(self, path: str) -> str:
        """Keep a file that was here before us, as it is; returns where."""
        target = self.directory + "/backup" + path
        places.make_directories(os.path.dirname(target), 0o700)
        found = places.status(path)
        if found is None:
            raise FileNotFoundError(path)
        with contextlib.suppress(FileNotFoundError):
            places.unlink(target)
        if stat.S_ISLNK(found.st_mode):
            with places.parent(path) as there:
                os.symlink(os.readlink(places.name_of(path), dir_fd=there), target)
        else:
            with places.opened(path) as descriptor:
                # By what is open: nothing is exchanged for it meanwhile.
                shutil.copy2("/proc/self/fd/%d" % descriptor, target)
        with contextlib.suppress(PermissionError):
            os.chown(target, found.st_uid, found.st_gid, follow_symlinks=False)
        return target


def version(found: os.stat_result) -> Tuple[int, ...]:
    """What differs from one file of a name to the next, each of which is written once."""
    return found.st_ino, found.st_mtime_ns, found.st_size


def _identity(entry: Dict[str, Any]) -> Tuple[str, str]:
    """What tells a thing from others: its kind, and its path or else its name."""
    return entry["kind"], entry.get("path") or entry["name"]
