"""What a run of upstream's tests has shown: from its JUnit XML to a judgement, and a table for people."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path

import yaml

from kubeproof.core.errors import KubeproofError

_EXCEPTIONS = Path(__file__).with_name("exceptions.yml")
# How Ginkgo marks a test's name. Everything else in a report is a step before or after all tests.
_TEST = "[It] "
# Ginkgo's reason for a test that is not selected, and for one that it did not get to. A test that skips itself has
# another one behind it.
_NO_REASON = "skipped"
_LINES_OF_A_FAILURE = 12


class State(Enum):
    """How a test ended."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"
    NOT_RUN = "not run"


@dataclass(frozen=True)
class Outcome:
    """One test, or step of the suite. ``message``: why it failed or skipped itself."""

    name: str
    state: State
    seconds: float = 0.0
    message: str = ""


@dataclass(frozen=True)
class Excuse:
    """Tests that cannot pass on some hosts, by the beginning of their names, and why."""

    names: str
    reason: str

    def covers(self, outcome: Outcome) -> bool:
        """Whether it is about this test."""
        return outcome.name.startswith(self.names)


@dataclass(frozen=True)
class Judgement:
    """A run. ``steps``: what failed before or after all tests."""

    outcomes: tuple[Outcome, ...]
    steps: tuple[Outcome, ...]
    exceptions: tuple[Excuse, ...]

    def of(self, state: State) -> list[Outcome]:
        """The tests that ended like that."""
        return [outcome for outcome in self.outcomes if outcome.state is state]

    def exception(self, outcome: Outcome) -> Excuse | None:
        """The exception that covers a test."""
        return next((each for each in self.exceptions if each.covers(outcome)), None)

    @property
    def failures(self) -> list[Outcome]:
        """What failed and had no reason to: steps, and tests that no exception covers."""
        return [*self.steps, *(each for each in self.of(State.FAILED) if not self.exception(each))]

    @property
    def excused(self) -> list[Outcome]:
        """What failed as an exception says."""
        return [each for each in self.of(State.FAILED) if self.exception(each)]

    @property
    def surprises(self) -> list[Outcome]:
        """What passed, although an exception says that it cannot."""
        return [each for each in self.of(State.PASSED) if self.exception(each)]

    @property
    def stale(self) -> list[Excuse]:
        """Exceptions of which there is no test."""
        return [each for each in self.exceptions if not any(map(each.covers, self.outcomes))]

    @property
    def problems(self) -> list[str]:
        """Why the run proves nothing, or the opposite; empty if upstream's suite passes."""
        found = [f"failed: {outcome.name}" for outcome in self.failures]
        found += [f"not run: {outcome.name}" for outcome in self.of(State.NOT_RUN)]
        found += [f"exceptions.yml names tests that there are not: {each.names}" for each in self.stale]
        if not self.of(State.PASSED):
            found.append("no test passed")
        return found


def judge(report: Path, selected: Iterable[str], excuses: tuple[Excuse, ...]) -> Judgement:
    """The judgement on a run that has selected these tests. Raises KubeproofError as ``parse`` does."""
    return weigh(*parse(report), selected, excuses)


def weigh(
    tests: Iterable[Outcome], steps: tuple[Outcome, ...], selected: Iterable[str], excuses: tuple[Excuse, ...]
) -> Judgement:
    """The judgement on what tests and failed steps have shown, of those that were selected."""
    # Ginkgo leaves out what it has not come to if the first step of all fails.
    ended = {each.name: each for each in tests}
    outcomes = tuple(ended.get(name, Outcome(name, State.NOT_RUN)) for name in selected)
    return Judgement(outcomes, steps, excuses)


def selected(rehearsal: Path) -> list[str]:
    """The names of the tests that a rehearsal has selected: in its report they have passed, and no other."""
    return [each.name for each in parse(rehearsal)[0] if each.state is State.PASSED]


def parse(report: Path) -> tuple[tuple[Outcome, ...], tuple[Outcome, ...]]:
    """All tests of a JUnit report of Ginkgo's, also those that were not selected, and the steps that failed.

    Raises KubeproofError if there is no such report, as after a run that was killed.
    """
    try:
        root = ET.parse(report).getroot()  # noqa: S314 - of the program that was started here
    except (OSError, ET.ParseError) as error:
        raise KubeproofError(f"the run left no report: {report}: {error}") from error
    found = [_outcome(case) for case in root.iter("testcase")]
    tests = (replace(each, name=each.name.removeprefix(_TEST)) for each in found if each.name.startswith(_TEST))
    steps = (each for each in found if not each.name.startswith(_TEST) and each.state is State.FAILED)
    return tuple(tests), tuple(steps)


def exceptions(suite: str, path: Path = _EXCEPTIONS) -> tuple[Excuse, ...]:
    """The exceptions of a suite."""
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    return tuple(Excuse(entry["names"], entry["reason"]) for entry in document.get(suite) or ())


def table(judgement: Judgement) -> str:
    """The result for people: numbers, then names with what belongs to them, the least expected first."""
    numbers = ", ".join(f"{len(judgement.of(state))} {state.value}" for state in State)
    lines = [f"{len(judgement.outcomes)} tests: {numbers}; {len(judgement.excused)} of those that failed as listed"]
    lines += _part("FAILED", judgement.failures, [_last_words(each.message) for each in judgement.failures])
    lines += _part("NOT RUN", judgement.of(State.NOT_RUN))
    lines += _part("PASSED, and exceptions.yml says that it cannot", judgement.surprises)
    reasons = [each.reason for outcome in judgement.excused if (each := judgement.exception(outcome))]
    lines += _part("FAILED as listed in exceptions.yml", judgement.excused, reasons)
    skipped = judgement.of(State.SKIPPED)
    lines += _part("SKIPPED by the test itself", skipped, [each.message for each in skipped])
    lines += _part("PASSED", [each for each in judgement.of(State.PASSED) if each not in judgement.surprises])
    return "\n".join(lines)


def _outcome(case: ET.Element) -> Outcome:
    name, seconds = case.get("name", ""), float(case.get("time") or 0)
    skipped, failure = case.find("skipped"), case.find("failure")
    if failure is None:
        failure = case.find("error")
    if skipped is not None:
        message = skipped.get("message", "").removeprefix(_NO_REASON).removeprefix(" - ")
        return Outcome(name, State.SKIPPED if message else State.NOT_RUN, seconds, message)
    if failure is not None:
        return Outcome(name, State.FAILED, seconds, (failure.get("message") or failure.text or "").strip())
    # Whatever else may come: only what says that it passed has.
    return Outcome(name, State.PASSED if case.get("status") == "passed" else State.FAILED, seconds)


def _part(title: str, outcomes: Sequence[Outcome], notes: Sequence[str] = ()) -> list[str]:
    if not outcomes:
        return []
    lines = ["", f"{title} ({len(outcomes)})"]
    for number, outcome in enumerate(outcomes):
        lines.append(f"  {outcome.seconds:6.0f} s  {outcome.name}")
        if number < len(notes):
            lines += [f"            {line}" for line in notes[number].splitlines()]
    return lines


def _last_words(message: str) -> str:
    return "\n".join(message.splitlines()[:_LINES_OF_A_FAILURE])
