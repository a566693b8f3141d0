"""Settings of the kernel, users, and packages."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
from typing import Any, Dict, List

from ansible.module_utils.transaction import switched_on, units
from ansible.module_utils.uninstall.account import Account, run
from ansible.module_utils.uninstall.packages import Database, database

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
        """Remove packages that came with us, but for those that somebody has come to use."""
        brought = {str(entry["name"]): entry for entry in self.entries if entry["kind"] == "package"}
        packages = database()
        if packages is None or not brought:
            return
        going = sorted(set(brought) & packages.installed())
        why = {name: self._used(packages, name, brought[name]) for name in going}
        for name, paths in packages.beside(going).items():
            why[name] = why[name] or "its directories have files of others: " + ", ".join(paths[:3])
        for name in filter(why.get, going):
            self.account.keep("package " + name, why[name])
        going = [name for name in going if not why[name]]
        while going:
            needed = packages.needed(going)
            if not needed:
                break
            for name in needed:
                self.account.keep("package " + name, "other packages have come to need it")
            going = [name for name in going if name not in needed]
        residue = [name for name in going if brought[name].get("residue")]
        paths = ["package " + name for name in going]
        self.account.undo_all(paths, "removed", lambda: packages.remove(going, residue))

    @staticmethod
    def _used(packages: Database, name: str, entry: Entry) -> str:
        """By what it shows that somebody uses a package; empty if nothing does."""
        if "version" not in entry:
            # Earlier, what came between two runs was all taken for ours.
            return "it is not known whether kubeproof installed it"
        changed = packages.changed(name)
        if changed:
            return "its configuration was changed: " + ", ".join(changed[:3])
        on = sorted(set(switched_on(units(packages.files(name)))) - set(entry.get("units", ())))
        return "%s has been switched on" % ", ".join(on) if on else ""


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
