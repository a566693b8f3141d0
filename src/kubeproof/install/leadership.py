"""Transfers etcd leadership while all API servers are paused, so that no write in flight is lost.

Proposals made during a leader change are dropped (go.etcd.io/raft, ErrProposalDropped): the API server fails such a
write after seven seconds, and neither it nor its client may retry it. Connection poolers in front of databases do the
same: they hold back their clients' requests during a failover. Here the API servers themselves are paused, for as long
as the transfer takes, and never longer than a limit that is set before.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Protocol

from kubeproof.core.errors import KubeproofError
from kubeproof.install.barrier import Barrier

# Until the last host has come to this task, and is ready.
_READY_SECONDS = 20.0


@dataclass(frozen=True)
class Moved:
    """Result of the transfer: ``to`` is a member's name, or else ``why`` says why leadership stays.

    ``rested``: whether all members had the same log at that moment, and nothing was on its way.
    """

    to: str = ""
    why: str = ""
    rested: bool = False


class HostOperations(Protocol):
    """What can be done on a host. Raises KubeproofError."""

    def look(self) -> str:
        """Why this host's member can't transfer leadership; empty if it can."""

    def move(self) -> Moved:
        """Transfer leadership."""

    def processes(self) -> list[int]:
        """The API server's."""

    def hold(self, processes: Sequence[int], seconds: float) -> float:
        """Pause processes, and have them resumed after this many seconds at the latest; the host's uptime."""

    def release(self, processes: Sequence[int]) -> float:
        """Resume them; the host's uptime."""


@dataclass
class Outcome:
    """The outcome on a host. ``held``: seconds for which its API server was paused."""

    to: str = ""
    why: str = ""
    held: float = 0.0
    warnings: list[str] = field(default_factory=list)


class LeadershipTransfer:
    """One host's part."""

    def __init__(
        self,
        host: str,
        operations: HostOperations,
        barrier: Barrier,
        *,
        leaders: Sequence[str],
        holders: Sequence[str],
        seconds: float,
        present: Collection[str],
        forks: int,
    ) -> None:
        """``leaders``: whose member is to lead no more. ``holders``: whose API servers are held, at most ``seconds``.

        ``present``: the hosts that this run works on, ``forks`` of them side by side.
        """
        self._host = host
        self._operations = operations
        self._barrier = barrier
        self._leaders = leaders
        self._holders = holders
        self._seconds = seconds
        self._absent = [host for host in holders if host not in present]
        self._forks = forks

    def carry_out(self) -> Outcome:
        """Do this host's part, and wait for the others' where it has to be."""
        outcome = Outcome()
        leads = self._host in self._leaders
        if leads:
            outcome.why = self._operations.look()
        processes = self._operations.processes() if self._host in self._holders else []
        together, problem = self._gather(outcome.why)
        with self._still(processes, outcome) if together else nullcontext():
            if leads and not outcome.why:
                self._move(outcome, problem, together=together)
            elif together:
                self._barrier.await_all("moved", self._leading(), self._seconds)
        return outcome

    def _gather(self, why: str) -> tuple[bool, str]:
        """Whether API servers are to be held; if not though they should be, why."""
        together = sorted({*self._leaders, *self._holders})
        if not self._seconds:
            return False, ""
        if self._absent:
            return False, f"this run leaves {', '.join(self._absent)} out, whose API servers it can't pause"
        if len(together) > self._forks:
            return False, f"it takes {len(together)} hosts side by side, and there are {self._forks} forks"
        self._barrier.say(self._host, "ready", why)
        missing = self._barrier.await_all("ready", together, _READY_SECONDS)
        if missing:
            return False, f"{', '.join(missing)} did not reach the barrier in time"
        return bool(self._leading()), ""

    def _leading(self) -> list[str]:
        return [host for host in self._leaders if self._barrier.said(host, "ready") == ""]

    @contextmanager
    def _still(self, processes: Sequence[int], outcome: Outcome) -> Iterator[None]:
        """The API servers of this host are paused."""
        # They continue by themselves after that many seconds at the earliest.
        before, since, problem = time.monotonic(), None, ""
        try:
            since = self._operations.hold(processes, self._seconds) if processes else None
        except KubeproofError as error:
            problem = str(error)
            outcome.warnings.append(f"the API server on {self._host} was not paused: {problem}")
        try:
            self._barrier.say(self._host, "held", "" if problem else str(before))
            yield
        finally:
            # Also after a failure: it may have been held all the same.
            over = self._operations.release(processes) if processes else 0.0
            outcome.held = round(over - since, 2) if since is not None else 0.0

    def _move(self, outcome: Outcome, problem: str, *, together: bool) -> None:
        if together:
            problem = self._problem_of_holding()
        moved = self._operations.move()
        if together and not problem:
            over = time.monotonic() - self._until()
            problem = f"it took {over:.1f} s longer than etcd_hold_seconds" if over > 0 else ""
        self._barrier.say(self._host, "moved")
        outcome.to, outcome.why = moved.to, moved.why
        if moved.why:
            outcome.warnings.append(f"etcd leadership stays on {self._host} until it restarts: {moved.why}")
        elif self._seconds and (problem or not moved.rested):
            reason = problem or "something else writes"
            outcome.warnings.append(
                f"etcd leadership was transferred from {self._host} to {moved.to} while writes may have been in "
                f"flight, so that a write may fail: {reason}"
            )

    def _problem_of_holding(self) -> str:
        late = self._barrier.await_all("held", self._holders, self._seconds)
        if late:
            return f"the API server on {', '.join(late)} was not paused in time"
        failed = [host for host in self._holders if not self._barrier.said(host, "held")]
        return f"the API server on {', '.join(failed)} was not paused" if failed else ""

    def _until(self) -> float:
        """Until when all API servers are paused for certain."""
        return min(float(self._barrier.said(host, "held") or 0) for host in self._holders) + self._seconds
