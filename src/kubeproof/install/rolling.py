"""Rolling restarts: of the hosts with a component only some are restarted at a time, and none after one that failed.

The first one goes alone, whatever the number: what is wrong with new inputs shows on one host, not on a quarter.

Ansible works on each host in a process of its own, so that turns are locks on files of the controller. ``throttle``
would do the same for a whole task, but also where nothing needs a restart, and it continues after a host that failed.
"""

from __future__ import annotations

import datetime
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


class Stuck(KubeproofError):
    """Hosts that have their turn do not end it."""


@dataclass(frozen=True)
class Rolling:
    """How a unit is restarted on the hosts that share its duty.

    ``hosts``: all of them, this one too. ``at_once``: how many may be away, at least 1. ``gate``: what must be healthy
    before, ``waits`` who must not go yet, ``recovers`` what must be as before afterwards, see the module
    component_service.
    """

    hosts: tuple[str, ...]
    at_once: int
    gate: tuple[dict[str, Any], ...] = ()
    waits: dict[str, Any] = field(default_factory=dict)
    recovers: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def parse(cls, given: dict[str, Any]) -> Rolling:
        """Understand a task's argument ``rolling``."""
        unknown = set(given) - {"hosts", "at_once", "gate", "waits", "recovers"}
        if unknown or not isinstance(given.get("hosts"), Sequence):
            wrong = sorted(unknown) or given.get("hosts")
            raise KubeproofError(f"rolling takes hosts, at_once, gate, waits and recovers, not {wrong}")
        hosts = tuple(str(host) for host in given["hosts"])
        number = at_once(given.get("at_once", 1), len(hosts))
        gate, waits, recovers = given.get("gate", ()), given.get("waits", {}), given.get("recovers", {})
        return cls(hosts, number, tuple(gate), dict(waits), dict(recovers))

    @property
    def needed(self) -> bool:
        """Whether there is anybody to take turns with."""
        return len(self.hosts) > 1


class Orphaned(KubeproofError):
    """ansible-playbook has ended, and with it the run that this process works for."""


@dataclass
class Turn:
    """What a host has done with its turn. ``restarted``: whether a process was ended for it."""

    restarted: bool = True


class Turns:
    """The turns of one unit's hosts, in one run of a playbook.

    Hosts that have failed are remembered until they are well: in the next run nobody else goes before them.
    """

    def __init__(self, directory: Path, unit: str, run: str, together: Sequence[str] = (), forks: int = 0) -> None:
        """``run`` tells this run of the playbook from others: what it has halted, the next one may do.

        ``together``: the hosts that come to this task in this run, ``forks`` of them side by side, in this order.
        """
        self._directory = directory
        self._unit = unit
        self._run = run
        self._together = tuple(together)
        self._forks = forks
        self._parent = os.getppid()

    def is_alone(self, host: str) -> bool:
        """Whether a host comes to this task alone, and neither waits for its turn nor is refused it."""
        halted = self._of_this_run(self._halted)
        if self._together != (host,) or halted.get("host", host) != host:
            return False
        self._directory.mkdir(parents=True, exist_ok=True)
        # A process of a run that was killed may still have it.
        taken = self._take(host, 1)
        if taken:
            taken.close()
        return bool(taken)

    @contextmanager
    def turn(self, host: str, at_once: int, limit: float) -> Iterator[Turn]:
        """Wait for a turn and have it. Raises Halted if another host of this run failed before.

        Where a host has failed in an earlier run, and takes part in this one, it is waited for until it is well.

        ``limit``: seconds after which it is no longer waited for hosts that have their turn, none of which has ended.
        Raises Stuck then.
        """
        self._directory.mkdir(parents=True, exist_ok=True)
        seen, since = "", time.monotonic()
        while True:
            self._refuse_after_failure(host)
            first = self._before(host)
            # The first host of a run goes alone.
            slots = at_once if self._has_passed else 1
            taken = None if first else self._take(host, slots)
            if taken:
                break
            holders = self._holders(slots)
            if holders != seen:
                seen, since = holders, time.monotonic()
            if time.monotonic() - since > limit:
                if first:
                    raise Halted(self._after_earlier_failure(host, first))
                raise Stuck(
                    f"{self._unit} was not restarted on {host}, and keeps running there with its old inputs: its turn "
                    f"did not come within {limit:.0f} s, in which none of those that have theirs ended: {holders}. "
                    "Find out what their hosts, or the processes of ansible-playbook that work on them, wait for, and "
                    "run this again."
                )
            time.sleep(_POLL_SECONDS)
        with taken:
            # Its predecessor may have failed between the look and the turn.
            self._refuse_after_failure(host)
            turn = Turn()
            yield turn
            if turn.restarted and not self._has_halted and not self._has_passed:
                files.write(self._passed, json.dumps({"run": self._run, "host": host}))

    def halt(self, host: str, reason: str) -> None:
        """Let nobody else go in this run, nor in the next one before this host is well."""
        self._directory.mkdir(parents=True, exist_ok=True)
        self._failed(host).write_text(f"{reason}\n", encoding="utf-8")
        files.write(self._halted, json.dumps({"run": self._run, "host": host, "reason": reason}))

    def well(self, host: str) -> None:
        """The unit of a host is as it should be: nobody waits for it any more."""
        self._failed(host).unlink(missing_ok=True)

    def _failed(self, host: str) -> Path:
        return self._directory / f"{self._unit}.{host}.failed"

    def _before(self, host: str) -> list[str]:
        """Hosts of this run that have failed in an earlier one, and come before this one. Raises Halted."""
        if self._failed(host).exists():
            return []
        found = [each for each in self._together if self._failed(each).exists()]
        if any(each not in self._together[: self._forks] for each in found):
            # It may not come to this task before this host has ended it.
            raise Halted(self._after_earlier_failure(host, found))
        return found

    def _after_earlier_failure(self, host: str, failed: Sequence[str]) -> str:
        names = ", ".join(failed)
        return (
            f"{self._unit} was not restarted on {host}, and keeps running there with its old inputs: in an earlier run "
            f"it did not become healthy on {names}, and has not done so since. Repair that first: run this with "
            f"--limit {','.join(failed)}."
        )

    def _refuse_without_run(self) -> None:
        if os.getppid() != self._parent:
            raise Orphaned(f"{self._unit} was not restarted: ansible-playbook, which this process works for, has ended")

    @property
    def _halted(self) -> Path:
        return self._directory / f"{self._unit}.halted"

    @property
    def _passed(self) -> Path:
        return self._directory / f"{self._unit}.passed"

    @property
    def _has_passed(self) -> bool:
        """Whether a host of this run has come back from its restart."""
        return bool(self._of_this_run(self._passed))

    @property
    def _has_halted(self) -> bool:
        return bool(self._of_this_run(self._halted))

    def _of_this_run(self, path: Path) -> dict[str, Any]:
        """What a file says, if this run has written it; else nothing."""
        try:
            found: dict[str, Any] = json.loads(path.read_text())
        except (FileNotFoundError, ValueError):
            return {}
        return found if found["run"] == self._run else {}

    def _slot(self, number: int) -> Path:
        return self._directory / f"{self._unit}.{number}.lock"

    def _take(self, host: str, slots: int) -> IO[str] | None:
        for slot in range(slots):
            # Not emptied: it has the name of who has it.
            file = self._slot(slot).open("a")
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.close()
            else:
                file.truncate(0)
                file.write(f"{host} since {datetime.datetime.now(tz=datetime.UTC):%H:%M:%S} UTC")
                file.flush()
                # The kernel gives the lock up with the file, however this process ends.
                return file
        return None

    def _holders(self, slots: int) -> str:
        """Who has a turn, and since when: none of the slots was free."""
        told = (path.read_text() for path in map(self._slot, range(slots)) if path.is_file())
        return ", ".join(text for text in told if text)

    def _refuse_after_failure(self, host: str) -> None:
        self._refuse_without_run()
        halted = self._of_this_run(self._halted)
        # The one that failed may be restarted with what it had before: an upgrade puts it back.
        if halted and halted["host"] != host:
            raise Halted(
                f"{self._unit} was not restarted on {host}, and keeps running there with its old inputs: on "
                f"{halted['host']} it did not become healthy. Repair that host, and run this again."
            )


def this_run() -> str:
    """The run of ansible-playbook that this process works for: its number, and when it began."""
    process = Process.of(os.getppid())
    return f"{process.pid}-{process.started}"
