"""Filters about a host's packages."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any


def missing_packages(
    packages: Mapping[str, str], report: Mapping[str, Any], needed: Collection[str] | None = None
) -> list[str]:
    """Packages to install: those whose command the host's report lacks.

    ``packages`` is command to package; ``needed`` are the commands that this host calls, all of them if not given.
    """
    found = report["commands"]
    wanted = packages if needed is None else {name: packages[name] for name in needed if name in packages}
    return sorted({package for command, package in wanted.items() if not found.get(command)})


class FilterModule:
    """Registers the filters."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"missing_packages": missing_packages}
