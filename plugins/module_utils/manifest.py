"""What kubeproof made on a host, remembered so that a reset can undo exactly that. Standard library only."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import stat
from typing import Any, Dict, List

from ansible.module_utils import places

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
        places.make_directories(self.directory)
        document = json.dumps({"version": 1, "entries": self.entries}, indent=1).encode()
        places.write(self.path, document, os.geteuid(), os.getegid(), 0o644)

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
