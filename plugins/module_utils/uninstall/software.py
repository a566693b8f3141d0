"""Settings of the kernel, users, and packages."""

from __future__ import annotations

import contextlib
import fnmatch
import glob
import grp
import pwd
from typing import Any, Dict, Iterator, List, Optional, Tuple

from ansible.module_utils import settled
from ansible.module_utils.transaction import switched_on, units
from ansible.module_utils.uninstall.account import Account, run
from ansible.module_utils.uninstall.packages import Database, database

Entry = Dict[str, Any]
# Where settings of the kernel are configured; the links of some systems between these lead to the same files.
SYSCTL_FILES = (
    "/etc/sysctl.conf", "/etc/sysctl.d/*.conf", "/run/sysctl.d/*.conf", "/usr/local/lib/sysctl.d/*.conf",
    "/usr/lib/sysctl.d/*.conf",
)  # fmt: skip
SWAPPED = str.maketrans("./", "/.")


class Software:
    """What the manifest says beside files, units and network."""

    def __init__(self, account: Account, entries: List[Entry], proc: str = "/proc", root: str = "") -> None:
        self.account = account
        self.entries = entries
        self.proc = proc
        self.root = root

    def names(self, kind: str) -> List[str]:
        """Names of one kind, in the order in which they came."""
        return [str(entry["name"]) for entry in self.entries if entry["kind"] == kind]

    def undo(self) -> None:
        """Put back settings; remove users and packages."""
        for entry in self.entries:
            if entry["kind"] == "sysctl":
                self._sysctl(str(entry["name"]), str(entry["before"]), entry.get("set"))
        for name in self.names("module"):
            self.account.keep("kernel module " + name, "unloading it could break what has come to use it")
        for name in self.names("user"):
            self._user(name)
        self._packages()

    def _sysctl(self, name: str, before: str, ours: Optional[str]) -> None:
        """Put back a setting, unless others want it as it is. ``ours``: what it was set to; components set others."""
        path = settled.sysctl_path(name, self.proc)
        with contextlib.suppress(FileNotFoundError):
            now = read(path)
            if now.split() == before.split():
                return
            elsewhere = [file for file, value in self._configured(name) if value.split() != before.split()]
            if ours is not None and now.split() != ours.split():
                self.account.keep("sysctl " + name, "it is %s, and was set to %s: others have changed it" % (now, ours))
            elif elsewhere:
                self.account.keep("sysctl " + name, "others set it as well: " + ", ".join(elsewhere[:3]))
            else:
                self.account.undo("sysctl " + name, "put back: %s -> %s" % (now, before), lambda: write(path, before))

    def _configured(self, name: str) -> Iterator[Tuple[str, str]]:
        """Files of others that set a parameter at boot (sysctl.d(5)), and to what."""
        ours = (
            {entry["path"] for entry in self.entries if entry["kind"] == "file"} if self.account.check_mode else set()
        )
        for pattern in SYSCTL_FILES:
            for file in sorted(glob.glob(self.root + pattern)):
                path = file[len(self.root) :]
                if path not in ours:
                    yield from ((path, value) for value in assigned(file, name))

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


def assigned(file: str, name: str) -> List[str]:
    """The values that a file of sysctl.d gives to a parameter."""
    found = []
    with contextlib.suppress(OSError), open(file, encoding="utf-8", errors="replace") as stream:
        for line in stream:
            left, separator, right = line.strip().partition("=")
            if separator:
                # A dash has errors ignored; slashes may separate the parts, and the name may be a pattern. That of a
                # comment matches none.
                pattern = left.strip().lstrip("-")
                first = next((character for character in pattern if character in "./"), ".")
                if fnmatch.fnmatchcase(name, pattern.translate(SWAPPED) if first == "/" else pattern):
                    found.append(right.strip())
    return found


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
