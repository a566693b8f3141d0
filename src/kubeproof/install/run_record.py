"""What a playbook run did and how long each part of it took, reported while it runs and kept afterwards.

The callback plugin ``kubeproof`` feeds this with Ansible's events; nothing here knows Ansible.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from rich.text import Text

from kubeproof.core import files
from kubeproof.install import steps

# The outcomes of a task on a host, and which of them mean that the run can't continue there. A host that is left behind
# has no part in the rest of it, and the run is complete without.
OUTCOMES = ("ok", "changed", "skipped", "ignored", "failed", "unreachable", "left")
_FATAL = ("failed", "unreachable")

# How much of what a failed program said is repeated.
_LAST_LINES = 10


@dataclass(frozen=True)
class Failure:
    """A task that failed on a host, in words."""

    host: str
    task: str
    role: str
    message: str
    hint: str
    path: str


@dataclass(frozen=True)
class Change:
    """What a task changed on a host, or would in check mode, in words: a line each."""

    host: str
    role: str
    task: str
    what: tuple[str, ...]


@dataclass
class Task:
    """A task of a play on all its hosts."""

    name: str
    role: str
    path: str
    action: str
    started: float
    ended: float
    outcomes: dict[str, str] = field(default_factory=dict)
    # In a plan, where the run comes to it.
    place: steps.Place = steps.NOWHERE


@dataclass
class Phase:
    """Consecutive tasks of one role, or of a play outside of roles: reported as one line."""

    play: str
    role: str
    started: float
    ended: float
    tasks: list[Task] = field(default_factory=list)

    @property
    def title(self) -> str:
        """What the line is called."""
        return self.role or self.play

    @property
    def hosts(self) -> tuple[str, ...]:
        """The hosts that had something to do, in the order in which they came to it."""
        worked = (host for task in self.tasks for host, outcome in task.outcomes.items() if outcome != "skipped")
        return tuple(dict.fromkeys(worked))

    @property
    def changed(self) -> int:
        """How many times a task changed a host."""
        return sum(Counter(task.outcomes.values())["changed"] for task in self.tasks)

    @property
    def failed(self) -> bool:
        """Whether a host failed."""
        return any(outcome in _FATAL for task in self.tasks for outcome in task.outcomes.values())

    @property
    def idle(self) -> bool:
        """Whether no host had anything to do but check arguments: nothing to tell, unless those are wrong.

        Nor does it tell anything that a play was left out.
        """
        return all(
            task.action.endswith(("validate_argument_spec", ".meta")) or {*task.outcomes.values()} == {"skipped"}
            for task in self.tasks
        )

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.ended - self.started


class Listener(Protocol):
    """Receives the progress of a run."""

    def task(self, phase: Phase, task: Task) -> None:
        """A task began, or was done on one more host."""

    def diff(self, task: Task, host: str, text: str) -> None:
        """A task changed files on a host, or would, and the user asked to see how. Colours are ANSI's."""

    def phase(self, phase: Phase) -> None:
        """A phase is over."""

    def end(self, recorder: Recorder) -> None:
        """The run is over."""


class Recorder:
    """The events of one run."""

    def __init__(
        self,
        listener: Listener,
        log: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
        *,
        planning: bool = False,
        date: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """``planning``: this is check mode, whose results say what the steps of the run would be."""
        self._listener = listener
        self._log = log
        self._clock = clock
        self._planning = planning
        self._date = date
        self._play = ""
        self._as_one = False
        self._tasks: dict[str, Task] = {}
        self._number = 0
        self._reports: list[steps.Report] = []
        self._open = False
        self.started = clock()
        self.phases: list[Phase] = []
        self.failures: list[Failure] = []
        self.changes: list[Change] = []
        # By host, what it was warned of.
        self.warnings: list[tuple[str, str]] = []
        # By host, what it may lack.
        self.left_behind: dict[str, str] = {}
        self.hosts: dict[str, Counter[str]] = {}

    def play(self, name: str, *, as_one: bool = False) -> None:
        """A play begins. ``as_one``: it is one phase, whatever roles it has."""
        self._finish_phase()
        self._play = name
        self._as_one = as_one
        self._log(f"PLAY {name}")

    def task(self, identity: str, name: str, role: str, path: str, action: str = "") -> None:
        """A task begins."""
        of_phase = "" if self._as_one else role
        if not self._open or self.phases[-1].role != of_phase:
            self._finish_phase()
            self._open = True
            self.phases.append(Phase(self._play, of_phase, self._clock(), self._clock()))
        self._number += 1
        place = steps.Place(self._number, self._play, role, name, action)
        task = Task(name, role, path, action, self._clock(), self._clock(), place=place)
        self._tasks[identity] = task
        self.phases[-1].tasks.append(task)
        self._log(f"TASK {f'{role} : ' if role else ''}{name}  ({path})  {self._date():%FT%TZ}")
        self._listener.task(self.phases[-1], task)

    def outcome(self, identity: str, host: str, outcome: str, result: Mapping[str, Any]) -> None:
        """A task is done on a host."""
        task = self._tasks[identity]
        task.outcomes[host] = outcome
        task.ended = self.phases[-1].ended = self._clock()
        self.hosts.setdefault(host, Counter())[outcome] += 1
        self._log(f"  {host}: {outcome} {_as_json(result)}")
        self.warnings += [(host, text) for text in warned_of(result)]
        if outcome == "changed":
            self.changes.append(Change(host, task.role, task.name, tuple(changes_of(result))))
        if self._planning and outcome in ("ok", "changed"):
            self._reports += steps.reports(task.place, host, result)
        if outcome == "left":
            self.left_behind[host] = message(result)
        if outcome in _FATAL:
            self.failures.append(Failure(host, task.name, task.role, message(result), hint(result), task.path))
        self._listener.task(self.phases[-1], task)

    def diff(self, identity: str, host: str, text: str) -> None:
        """A task changed files on a host, or would in check mode. ``text`` may have colours, as ANSI writes them."""
        task = self._tasks[identity]
        for line in Text.from_ansi(text).plain.splitlines():
            self._log(f"  {host}: {line}")
        self._listener.diff(task, host, text)

    def end(self) -> None:
        """The run is over."""
        self._finish_phase()
        self._listener.end(self)

    @property
    def seconds(self) -> float:
        """How long the run has taken."""
        return self._clock() - self.started

    def profile(self) -> dict[str, Any]:
        """The run as data: what each host did, and the time by phase and task."""
        return {
            "seconds": round(self.seconds, 3),
            "hosts": {host: {each: counts[each] for each in OUTCOMES} for host, counts in sorted(self.hosts.items())},
            "phases": [_phase_profile(phase) for phase in self.phases],
            "changes": [dataclasses.asdict(change) for change in self.changes],
            "warnings": [{"host": host, "text": text} for host, text in self.warnings],
            "left_behind": self.left_behind,
            "failures": [dataclasses.asdict(failure) for failure in self.failures],
            **({"steps": steps.data(self.steps)} if self._planning else {}),
        }

    @property
    def steps(self) -> list[steps.Step]:
        """In check mode: what the run would do, in its order."""
        return steps.steps(self._reports)

    def _finish_phase(self) -> None:
        if self._open:
            self._open = False
            self._listener.phase(self.phases[-1])


def _phase_profile(phase: Phase) -> dict[str, Any]:
    tasks = [
        {
            "name": task.name,
            "path": task.path,
            "seconds": round(task.ended - task.started, 3),
            "outcomes": dict(Counter(task.outcomes.values())),
        }
        for task in phase.tasks
    ]
    return {"play": phase.play, "role": phase.role, "seconds": round(phase.seconds, 3), "tasks": tasks}


def message(result: Mapping[str, Any]) -> str:
    """Why a task failed, from whatever its module returned."""
    failed = [item for item in result.get("results") or () if isinstance(item, Mapping) and item.get("failed")]
    if failed:
        return "\n".join(message(item) for item in failed)
    parts = [str(result.get("msg") or "").strip()]
    for stream in ("stderr", "stdout", "module_stderr", "module_stdout"):
        said = str(result.get(stream) or "").strip().splitlines()[-_LAST_LINES:]
        parts += ["\n".join(said)] if said and "\n".join(said) not in parts[0] else []
    return "\n".join(part for part in parts if part) or "it failed without saying why"


def hint(result: Mapping[str, Any]) -> str:
    """What to do about it, where a module of ours says so."""
    return str(result.get("hint") or "")


def changes_of(result: Mapping[str, Any]) -> list[str]:
    """What a result says that was changed; of a loop, by all its items. Empty if its module does not tell."""
    items = [item for item in result.get("results") or () if isinstance(item, Mapping) and item.get("changed")]
    unit = f"{result['unit']}: " if result.get("unit") else ""
    done = [f"{unit}{what}" for what in result.get("done") or ()]
    return [*(text for item in items for text in changes_of(item)), *steps.changes_of(result), *done]


def warned_of(result: Mapping[str, Any]) -> list[str]:
    """What a result warns of: its warnings, and what a later version of Ansible will not take any more."""
    deprecated = [f"deprecated: {entry['msg']}" for entry in result.get("deprecations") or ()]
    return [*map(str, result.get("warnings") or ()), *deprecated]


def _as_json(result: Mapping[str, Any]) -> str:
    return json.dumps(result, default=str, sort_keys=True)


def write_profile(recorder: Recorder, path: Path) -> None:
    """Keep the run's profile, whole or not at all."""
    # A reset that lets the controller forget the cluster takes its reports away.
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write(path, json.dumps(recorder.profile(), indent=1) + "\n")
