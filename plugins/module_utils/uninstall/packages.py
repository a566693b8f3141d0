"""The host's package database: dpkg's or rpm's own, which need no network and never take other packages along."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import time
from typing import Dict, Iterator, List, Optional, Sequence, Set

from ansible.module_utils.commands import CommandFailed
from ansible.module_utils.transaction import directories_kept
from ansible.module_utils.uninstall.account import run

# How long another program may be at work on packages, in seconds.
PATIENCE = 120.0
POLL_SECONDS = 2.0
# What Python makes beside a package's modules when they are first used.
COMPILED = "__pycache__"
# Where packages leave things for others: logrotate, init, cron … whether or not these are there.
SHARED = re.compile(r"/etc/([^/]+\.d|default)")


class Database:
    """What both have. ``root`` is for tests, which have a system of their own there."""

    def __init__(self, root: str = "") -> None:
        self.root = root

    def installed(self) -> Set[str]:
        """Names of installed packages."""
        raise NotImplementedError

    def files(self, name: str) -> List[str]:
        """What a package has put on the host, directories among it."""
        raise NotImplementedError

    def changed(self, name: str) -> List[str]:
        """Configuration files of a package that aren't as it brought them."""
        raise NotImplementedError

    def owners(self, paths: Sequence[str]) -> Dict[str, Set[str]]:
        """Packages that have each of these paths."""
        raise NotImplementedError

    def needed(self, names: List[str]) -> List[str]:
        """Those of these packages that others, which are not among them, depend on."""
        raise NotImplementedError

    def remove(self, names: List[str], residue: Sequence[str] = ()) -> None:
        """Remove packages, with the configuration that they brought but for that of ``residue``, which was here."""
        raise NotImplementedError

    def beside(self, names: Sequence[str]) -> Dict[str, List[str]]:
        """By package, files that somebody put into directories that only these packages have."""
        found: Dict[str, List[str]] = {}
        known = {name: set(self.files(name)) for name in names}
        theirs = set().union(*known.values()) if known else set()
        places = {path: self.root + path for path in theirs}
        directories = {path for path, there in places.items() if os.path.isdir(there) and not os.path.islink(there)}
        owners = self.owners(sorted(directories))
        alone = {path for path in directories if owners.get(path) and owners[path] <= set(names)}
        alone = {path for path in alone if not SHARED.fullmatch(path)}
        for name in names:
            for directory in sorted(known[name] & alone):
                strange = [path for path in self._below(directory, directories) if path not in theirs]
                found.setdefault(name, []).extend(strange)
        return {name: paths for name, paths in found.items() if paths}

    def _below(self, directory: str, others: Set[str]) -> Iterator[str]:
        """Files in a directory and below, but for directories that are others'. Sockets are nobody's."""
        with os.scandir(self.root + directory) as entries:
            for entry in entries:
                path = os.path.join(directory, entry.name)
                if entry.is_dir(follow_symlinks=False):
                    if path not in others and entry.name != COMPILED:
                        yield from self._below(path, others)
                elif entry.is_file(follow_symlinks=False) or entry.is_symlink():
                    yield path


class Dpkg(Database):
    """Debian and what is derived from it."""

    @property
    def _options(self) -> List[str]:
        return ["--root=" + self.root] if self.root else []

    def _query(self, *arguments: str) -> str:
        said: str = run(["dpkg-query", *self._options, *arguments])
        return said

    def installed(self) -> Set[str]:
        """Names of installed packages, with architecture where there may be several."""
        layout = "${db:Status-Status} ${binary:Package}\n"
        rows = [line.split() for line in self._query("--show", "--showformat", layout).splitlines()]
        return {row[1] for row in rows if row[0] == "installed"}

    def files(self, name: str) -> List[str]:
        """What a package has put on the host, its configuration files too."""
        return [line for line in self._query("--listfiles", name).splitlines() if line != "/."]

    def changed(self, name: str) -> List[str]:
        """Configuration files that have another content than the package's, or none any more."""
        rows = [line.split() for line in self._query("--show", "--showformat", "${Conffiles}\n", name).splitlines()]
        return [
            row[0] for row in rows if len(row) == 2 and row[1] != "newconffile" and md5(self.root + row[0]) != row[1]
        ]

    def owners(self, paths: Sequence[str]) -> Dict[str, Set[str]]:
        """Packages that have each of these paths."""
        found: Dict[str, Set[str]] = {}
        for line in self._query("--search", *paths).splitlines() if paths else ():
            names, _, path = line.rpartition(": ")
            if not names.startswith("diversion "):
                found.setdefault(path, set()).update(names.split(", "))
        return found

    def needed(self, names: List[str]) -> List[str]:
        """Those of these packages that others, which are not among them, depend on."""
        try:
            run(["dpkg", *self._options, "--simulate", "--remove", *names])
        except CommandFailed as error:
            listed = re.split(r"Errors were encountered while processing:", str(error))[-1].split()
            return [name for name in names if name in listed] or names
        return []

    def remove(self, names: List[str], residue: Sequence[str] = ()) -> None:
        """Remove packages. Their configuration, which nobody has changed, goes with them if it came with them."""
        whole = [name for name in names if name not in residue]
        rest = [name for name in names if name in residue]
        for action, chosen in (("--remove", rest), ("--purge", whole)):
            if chosen:
                # Their scripts disable their units.
                with directories_kept():
                    unlocked(["dpkg", *self._options, action, *chosen])


def md5(path: str) -> str:
    """A file's MD5, by which dpkg knows configuration files; empty if there is none."""
    try:
        with open(path, "rb") as stream:
            return hashlib.md5(stream.read()).hexdigest()  # noqa: S324 - dpkg's choice
    except OSError:
        return ""


class Rpm(Database):
    """Red Hat, SUSE and what is derived from them."""

    def installed(self) -> Set[str]:
        """Names of installed packages."""
        return set(run(["rpm", "--query", "--all", "--queryformat", "%{NAME}\n"]).split())

    def files(self, name: str) -> List[str]:
        """What a package has put on the host."""
        return [line for line in run(["rpm", "--query", "--list", name]).splitlines() if line.startswith("/")]

    def changed(self, name: str) -> List[str]:
        """Configuration files that have another content than the package's, or none any more."""
        try:
            run(["rpm", "--verify", "--nodeps", "--noscripts", name])
        except CommandFailed as error:
            return re.findall(r"^(?:.*: )?(?:..5\S*|missing)\s+c (/.*)$", str(error), re.MULTILINE)
        return []

    def owners(self, paths: Sequence[str]) -> Dict[str, Set[str]]:
        """Packages that have each of these paths."""
        found: Dict[str, Set[str]] = {}
        for path in paths:
            found[path] = set(run(["rpm", "--query", "--file", "--queryformat", "%{NAME}\n", path]).split())
        return found

    def needed(self, names: List[str]) -> List[str]:
        """Those of these packages that others depend on: rpm says on what they depend, and whose that is."""
        try:
            run(["rpm", "--erase", "--test", *names])
        except CommandFailed as error:
            wanted = sorted(set(re.findall(r"^\s*(?:.*: )?(\S.*?) is needed by ", str(error), re.MULTILINE)))
            layout = ["--queryformat", "%{NAME}\n"]
            owners = {
                name for each in wanted for name in run(["rpm", "--query", *layout, "--whatprovides", each]).split()
            }
            return [name for name in names if name in owners] or names
        return []

    def remove(self, names: List[str], residue: Sequence[str] = ()) -> None:  # noqa: ARG002 - rpm does it by itself
        """Remove packages, with configuration that is as they brought it."""
        unlocked(["rpm", "--erase", *names])


def unlocked(command: Sequence[str]) -> None:
    """Run it as soon as no other program is at work on packages, which unattended upgrades may be for minutes."""
    deadline = time.monotonic() + PATIENCE
    while not tried(command, last=time.monotonic() > deadline):
        time.sleep(POLL_SECONDS)


def tried(command: Sequence[str], last: bool) -> bool:
    """Run it; false if another program is at work, and this is not the last attempt."""
    try:
        run(command, environment={"DEBIAN_FRONTEND": "noninteractive"})
    except CommandFailed as error:
        if last or "lock" not in str(error):
            raise
        return False
    return True


def database() -> Optional[Database]:
    """The host's; none on systems that have neither."""
    if shutil.which("dpkg-query"):
        return Dpkg()
    return Rpm() if shutil.which("rpm") else None
