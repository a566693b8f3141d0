"""The host's package database: dpkg's or rpm's own, which need no network and never take other packages along."""

from __future__ import annotations

import re
import shutil
from typing import List, Optional, Set

from ansible.module_utils.undo.account import CommandFailed, run


class Dpkg:
    """Debian and what is derived from it."""

    QUERY = ("dpkg-query", "--show", "--showformat", "${db:Status-Status} ${binary:Package}\n")

    def installed(self) -> Set[str]:
        """Names of installed packages, with architecture where there may be several."""
        rows = [line.split() for line in run(self.QUERY).splitlines()]
        return {row[1] for row in rows if row[0] == "installed"}

    def needed(self, names: List[str]) -> List[str]:
        """Those of these packages that others, which are not among them, depend on."""
        try:
            run(["dpkg", "--simulate", "--purge", *names])
        except CommandFailed as error:
            listed = re.split(r"Errors were encountered while processing:", str(error))[-1].split()
            return [name for name in names if name in listed] or names
        return []

    def remove(self, names: List[str]) -> None:
        """Remove packages with their configuration files."""
        run(["dpkg", "--purge", *names], environment={"DEBIAN_FRONTEND": "noninteractive"})


class Rpm:
    """Red Hat, SUSE and what is derived from them."""

    def installed(self) -> Set[str]:
        """Names of installed packages."""
        return set(run(["rpm", "--query", "--all", "--queryformat", "%{NAME}\n"]).split())

    def needed(self, names: List[str]) -> List[str]:
        """All of these packages if others depend on any: rpm says on what they depend, but not whose it is."""
        try:
            run(["rpm", "--erase", "--test", *names])
        except CommandFailed:
            return names
        return []

    def remove(self, names: List[str]) -> None:
        """Remove packages."""
        run(["rpm", "--erase", *names])


def database() -> Optional[Dpkg | Rpm]:
    """The host's; none on systems that have neither."""
    if shutil.which("dpkg-query"):
        return Dpkg()
    return Rpm() if shutil.which("rpm") else None
