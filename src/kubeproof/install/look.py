"""What the host report says is settled: tasks of which an earlier run's results are still there.

The report is made before the first change. What it says of files and images holds until this run changes something on
the same host, and what it says of units until it changes something on any: a unit may have failed since, for what
another host has lost. From then on tasks ask their host again, unless all hosts have reported again. Ansible works on
each host in a process of its own, so that files on the controller say so.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FACT = "settled"
"""In the fact ``kubeproof_host``, where a run may trust it."""


def digest(value: Any) -> str:
    """What tells plain data, as what a task asks for, from anything else that it could be."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


class Look:
    """The report of one host, as far as it still holds in this run."""

    def __init__(self, report: Mapping[str, Any], directory: Path, run: str, host: str) -> None:
        """``report``: the fact ``kubeproof_host``. ``run`` tells this run of the playbook from others."""
        self._found = report.get(FACT) or {}
        self._any = directory / "changed"
        self._this = directory / "changed-on" / host
        self._run = run

    def task(self, wanted: str) -> Any:
        """The answer to an installation task that asked for the same; None if the host has to be asked again."""
        return self._found.get("tasks", {}).get(wanted) if self._holds(self._this) else None

    def unit(self, name: str, wanted: str) -> bool:
        """Whether a unit needs nothing, for a task that asks for the same as the one before."""
        return self._found.get("units", {}).get(name) == wanted and self._holds(self._any)

    def outdate(self) -> None:
        """From now on, no task of this run trusts the report of this host, nor what any report says of units."""
        for marker in (self._this, self._any):
            marker.parent.mkdir(parents=True, exist_ok=True)
            # Hosts that change at the same time do this at the same time.
            fresh = marker.with_name(f"{marker.name}.{os.getpid()}.new")
            fresh.write_text(self._run)
            fresh.replace(marker)

    def renew(self) -> None:
        """The report that is about to be made holds. Only where all hosts are about to report, and none changes."""
        for marker in (self._this, self._any):
            marker.unlink(missing_ok=True)

    def _holds(self, marker: Path) -> bool:
        try:
            return marker.read_text() != self._run
        except FileNotFoundError:
            return True
