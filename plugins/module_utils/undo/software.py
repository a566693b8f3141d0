"""Settings of the kernel, users, and packages."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
from typing import Any, Dict, List

from ansible.module_utils.undo.account import Account, run
from ansible.module_utils.undo.packages import database

Entry = Dict[str, Any]


class Software:
    """What the manifest says beside files, units and network."""

    def __init__(self, account: Account, entries: List[Entry], proc: str = "/proc") -> None:
        self.account = account
        self.entries = entries
        self.proc = proc

    def names(self, kind: str) -> List[str]:
        """Names of one kind, in the order in which they came."""
        return [str(entry["name"]) for entry in self.entries if entry["kind"] == kind]

    def undo(self) -> None:
        """Put back settings; remove users and packages."""
        for entry in self.entries:
            if entry["kind"] == "sysctl":
                self._sysctl(str(entry["name"]), str(entry["before"]))
        for name in self.names("module"):
            self.account.keep("kernel module " + name, "unloading it could break what has come to use it")
        for name in self.names("user"):
            self._user(name)
        self._packages()

    def _sysctl(self, name: str, before: str) -> None:
        path = os.path.join(self.proc, "sys", name.replace(".", "/"))
        with contextlib.suppress(FileNotFoundError):
            now = read(path)
            if now.split() != before.split():
                self.account.undo("sysctl " + name, "put back: %s -> %s" % (now, before), lambda: write(path, before))

    def _user(self, name: str) -> None:
        with contextlib.suppress(KeyError):
            pwd.getpwnam(name)
            self.account.undo("user " + name, "removed", lambda: remove_user(name))

    def _packages(self) -> None:
        """Remove packages that came with us, but for those that something else has come to need."""
        packages = database()
        if packages is None or not self.names("package"):
            return
        going = sorted(set(self.names("package")) & packages.installed())
        while going:
            needed = packages.needed(going)
            if not needed:
                break
            for name in needed:
                self.account.keep("package " + name, "other packages have come to need it")
            going = [name for name in going if name not in needed]
        self.account.undo_all(["package " + name for name in going], "removed", lambda: packages.remove(going))


def read(path: str) -> str:
    """A setting's value."""
    with open(path, encoding="ascii") as stream:
        return stream.read().strip()


def write(path: str, value: str) -> None:
    """Give a setting a value."""
    with open(path, "w", encoding="ascii") as stream:
        stream.write(value)


def remove_user(name: str) -> None:
    """Remove a user, and the group of the same name that was made with it."""
    run(["userdel", name])
    with contextlib.suppress(KeyError):
        # Some systems' userdel leaves it.
        grp.getgrnam(name)
        run(["groupdel", name])
