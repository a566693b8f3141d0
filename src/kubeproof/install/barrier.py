"""Meetings: hosts that do something together tell each other how far they are, through files of the controller.

Ansible works on each host in a process of its own, and a task's processes run side by side.
"""

from __future__ import annotations

import json
import time
from collections.abc import Collection
from pathlib import Path

from kubeproof.core import files

_POLL_SECONDS = 0.01


class Barrier:
    """What the hosts of one task in one run say to each other."""

    def __init__(self, directory: Path, name: str, run: str) -> None:
        """``run`` tells this task in this run from others: what was said in those does not count."""
        self._directory = directory
        self._name = name
        self._run = run

    def say(self, host: str, step: str, what: str = "") -> None:
        """Let the others know that ``host`` has come so far."""
        self._directory.mkdir(parents=True, exist_ok=True)
        files.write(self._path(host, step), json.dumps({"run": self._run, "what": what}))

    def said(self, host: str, step: str) -> str | None:
        """What a host said as it had come so far; None if it has not."""
        try:
            known = json.loads(self._path(host, step).read_text())
        except (FileNotFoundError, ValueError):
            return None
        return str(known["what"]) if known["run"] == self._run else None

    def await_all(self, step: str, hosts: Collection[str], timeout: float) -> list[str]:
        """Wait until all of these have come so far. Who has not after ``timeout`` seconds."""
        deadline = time.monotonic() + timeout
        while missing := [host for host in hosts if self.said(host, step) is None]:
            if time.monotonic() > deadline:
                return missing
            time.sleep(_POLL_SECONDS)
        return []

    def _path(self, host: str, step: str) -> Path:
        return self._directory / f"{self._name}.{host}.{step}.said"
