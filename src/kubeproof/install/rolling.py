"""Rolling restarts: of the hosts with a component only some are restarted at a time, and none after one that failed.

Ansible works on each host in a process of its own, so that turns are locks on files of the controller. ``throttle``
would do the same for a whole task, but also where nothing needs a restart, and it continues after a host that failed.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from kubeproof.core import files
from kubeproof.core.active_run import Process
from kubeproof.core.amounts import at_once
from kubeproof.core.errors import KubeproofError

_POLL_SECONDS = 0.1


class Halted(KubeproofError):
    """Another host did not come back from its restart, so that this one must not go."""


@dataclass(frozen=True)
class Rolling:
    """How a unit is restarted on the hosts that share its duty.

    ``hosts``: all of them, this one too. ``at_once``: how many may be away, at least 1. ``gate``: what must be healthy
    before, ``waits`` who must not go yet, see the module component_service.
    """

    hosts: tuple[str, ...]
    at_once: int
    gate: tuple[dict[str, Any], ...] = ()
    waits: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def parse(cls, given: dict[str, Any]) -> Rolling:
        """Understand a task's argument ``rolling``."""
        unknown = set(given) - {"hosts", "at_once", "gate", "waits"}
        if unknown or not isinstance(given.get("hosts"), Sequence):
            wrong = sorted(unknown) or given.get("hosts")
            raise KubeproofError(f"rolling takes hosts, at_once, gate and waits, not {wrong}")
        hosts = tuple(str(host) for host in given["hosts"])
        number = at_once(given.get("at_once", 1), len(hosts))
        return cls(hosts, number, tuple(given.get("gate", ())), dict(given.get("waits", {})))

    @property
    def needed(self) -> bool:
        """Whether there is anybody to take turns with."""
        return len(self.hosts) > 1


class Turns:
    """The turns of one unit's hosts, in one run of a playbook."""

    def __init__(self, directory: Path, unit: str, run: str) -> None:
        """``run`` tells this run of the playbook from others: what failed in an earlier one does not count."""
        self._directory = directory
        self._unit = unit
        self._run = run

    @contextmanager
    def turn(self, host: str, at_once: int) -> Iterator[None]:
        """Wait for a turn and have it. Raises Halted if a host of this run failed before."""
        self._directory.mkdir(parents=True, exist_ok=True)
        while True:
            self._refuse_after_failure(host)
            taken = self._take(at_once)
            if taken:
                break
            time.sleep(_POLL_SECONDS)
        with taken:
            # Its predecessor may have failed between the look and the turn.
            self._refuse_after_failure(host)
            yield

    def halt(self, host: str, reason: str) -> None:
        """Let nobody else go in this run."""
        files.write(self._halted, json.dumps({"run": self._run, "host": host, "reason": reason}))

    @property
    def _halted(self) -> Path:
        return self._directory / f"{self._unit}.halted"

    def _take(self, slots: int) -> IO[str] | None:
        for slot in range(slots):
            file = (self._directory / f"{self._unit}.{slot}.lock").open("w")
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.close()
            else:
                # The kernel gives the lock up with the file, however this process ends.
                return file
        return None

    def _refuse_after_failure(self, host: str) -> None:
        try:
            halted = json.loads(self._halted.read_text())
        except (FileNotFoundError, ValueError):
            return
        if halted["run"] == self._run:
            raise Halted(
                f"{self._unit} was not restarted on {host}, and keeps running there with its old inputs: on "
                f"{halted['host']} it did not become healthy. Repair that host, and run this again."
            )


def this_run() -> str:
    """The run of ansible-playbook that this process works for: its number, and when it began."""
    process = Process.of(os.getppid())
    return f"{process.pid}-{process.started}"
