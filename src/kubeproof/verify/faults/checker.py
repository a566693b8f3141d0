"""The checker: decides from a history what was lost or stale, who led, and the longest time without success."""

from __future__ import annotations

import datetime
import json
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate, pairwise
from typing import Any

# Lease times are those of several hosts' clocks, and are written with microseconds.
_LEASE_SLACK_SECONDS = 1.0

Entry = Mapping[str, Any]


@dataclass(frozen=True)
class Violation:
    """Something that must not have happened. ``kind``: lost, stale, future, backwards, split-leader."""

    kind: str
    at: float
    what: str


@dataclass(frozen=True)
class Gap:
    """The longest time without a success; ``seconds`` is from one success to the next."""

    start: float
    seconds: float


@dataclass
class History:
    """All entries of one recording, in order of their ends."""

    entries: list[Entry] = field(default_factory=list)

    @classmethod
    def parse(cls, lines: Iterable[str]) -> History:
        """Read a recording. Its last line may be half a one, if the recorder was killed."""
        entries = []
        for line in lines:
            try:
                entries.append(json.loads(line))
            except ValueError:
                continue
        return cls(sorted(entries, key=lambda entry: float(entry["end"])))

    def of(self, operation: str, outcome: str | None = None) -> Iterator[Entry]:
        """The entries of one kind."""
        for entry in self.entries:
            if entry["op"] == operation and outcome in {None, entry.get("outcome")}:
                yield entry

    def successes(self, operation: str) -> list[float]:
        """When questions of one kind were answered well."""
        return [float(entry["end"]) for entry in self.of(operation, "ok")]

    def slowest(self, operation: str, outcome: str, begin: float, end: float) -> float:
        """Seconds that the slowest question took, of those with this outcome that were asked in a window."""
        asked = (entry for entry in self.of(operation, outcome) if begin <= entry["start"] <= end)
        return max((float(entry["end"]) - float(entry["start"]) for entry in asked), default=0.0)

    @property
    def retries(self) -> int:
        """How often something was sent once more: what was turned away, and reads whose kept connection had ended."""
        return sum(int(entry.get("retries", 0)) for entry in self.entries)

    def counts(self) -> dict[str, dict[str, int]]:
        """How many questions of each kind had which outcome."""
        found: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
        for entry in self.entries:
            if "outcome" in entry:
                found[entry["op"]][entry["outcome"]] += 1
        return {operation: dict(outcomes) for operation, outcomes in found.items()}


def violations(history: History, final: Mapping[int, int], unread: Collection[int] = ()) -> list[Violation]:
    """All that must not have happened. ``final``: each register's value at the end, read when all was well.

    ``unread``: the registers that could not be read then; of the others that are not in ``final`` nothing is left.
    """
    found: list[Violation] = []
    for register in sorted({int(entry["register"]) for entry in history.of("write")}):
        judged = _Register(history, register)
        found += judged.violations()
        if register not in unread:
            found += judged.lost(final.get(register))
    found += _leaders(history)
    return sorted(found, key=lambda violation: violation.at)


class _Register:
    """One register: one writer that counts upwards, and any number of readers.

    For such a register a history is linearizable if no read returns less than what was acknowledged before it began, or
    than what a read that was over by then returned, and none returns what nobody had begun to write before its end.
    """

    def __init__(self, history: History, number: int) -> None:
        self.number = number
        mine = [entry for entry in history.entries if entry.get("register") == number]
        self.writes = [entry for entry in mine if entry["op"] == "write"]
        self.acknowledged = [entry for entry in self.writes if entry["outcome"] == "ok"]
        self.reads = [entry for entry in mine if entry["op"] == "read" and entry["outcome"] == "ok"]

    def violations(self) -> list[Violation]:
        return [violation for read in self.reads for violation in self._judge(read)]

    def lost(self, final: int | None) -> Iterator[Violation]:
        last = self.acknowledged[-1] if self.acknowledged else None
        if last and (final is None or final < last["value"]):
            what = f"register {self.number}: {last['value']} was acknowledged, at the end it has {final}"
            yield Violation("lost", last["end"], what)

    def _judge(self, read: Entry) -> Iterator[Violation]:
        value, place = read["value"], f"register {self.number}: a read returned {read['value']}"
        known = _newest(self._acknowledged_ends, self._acknowledged_values, read["start"])
        if value < known:
            yield Violation("stale", read["end"], f"{place} after {known} had been acknowledged")
        seen = _newest(self._read_ends, self._read_values, read["start"])
        if value < seen:
            yield Violation("backwards", read["end"], f"{place} after another had returned {seen}")
        begun = bisect_right(self._begun, read["end"])
        written = self._begun_values[begun - 1] if begun else 0
        # The recorder was ended in the middle of one more write, which it had no time to write down.
        cut_off = begun == len(self.writes) and value == written + 1 and self.writes[-1]["end"] <= read["end"]
        if value > written and not cut_off:
            yield Violation("future", read["end"], f"{place}, which nobody had written")

    @cached_property
    def _begun(self) -> list[float]:
        return [write["start"] for write in self.writes]

    @cached_property
    def _begun_values(self) -> list[int]:
        return list(accumulate((write["value"] for write in self.writes), max))

    @cached_property
    def _acknowledged_ends(self) -> list[float]:
        return [write["end"] for write in self.acknowledged]

    @cached_property
    def _acknowledged_values(self) -> list[int]:
        return list(accumulate((write["value"] for write in self.acknowledged), max))

    @cached_property
    def _read_ends(self) -> list[float]:
        return [read["end"] for read in self.reads]

    @cached_property
    def _read_values(self) -> list[int]:
        return list(accumulate((read["value"] for read in self.reads), max))


def _newest(ends: Sequence[float], values: Sequence[int], before: float) -> int:
    """The greatest value of what was over before a time; 0 if nothing was."""
    index = bisect_left(ends, before)
    return values[index - 1] if index else 0


def _leaders(history: History) -> Iterator[Violation]:
    """Changes of a lease's holder before the lease had run out or been given up."""
    last: dict[str, Entry] = {}
    for entry in history.of("lease"):
        before = last.get(entry["name"])
        last[entry["name"]] = entry
        if not before or entry["missed"] or "" in {before["holder"], entry["holder"]}:
            # A lease that was given up has no holder.
            continue
        free = _seconds(before["renewed"]) + before["duration"]
        taken = _seconds(entry["acquired"])
        if entry["holder"] != before["holder"] and taken + _LEASE_SLACK_SECONDS < free:
            yield Violation(
                "split-leader",
                entry["end"],
                f"{entry['name']}: {entry['holder']} took the lease {free - taken:.1f} s before that of "
                f"{before['holder']} had run out",
            )


def _seconds(timestamp: str) -> float:
    return datetime.datetime.fromisoformat(timestamp).timestamp()


def longest_gap(successes: Sequence[float], start: float, end: float) -> Gap:
    """The longest time between two successes, of those times that overlap one from ``start`` to ``end``.

    ``successes`` are in order. Where there is none before or after, the window's edge counts as one.
    """
    first, last = bisect_left(successes, start), bisect_right(successes, end)
    before = successes[first - 1] if first else start
    after = successes[last] if last < len(successes) else end
    points = [before, *successes[first:last], after]
    pairs = pairwise(points)
    begin, seconds = max(((one, other - one) for one, other in pairs), key=lambda pair: pair[1])
    return Gap(begin, seconds)
