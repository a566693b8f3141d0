"""The history of backups, drawn: each is a line as tall as it is large, and beneath it is what became of it.

Time runs to the right, and the further back, the closer together: what is kept gets rarer with age, too. Each row is
described next to its drawing, and each backup in a table below.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kubeproof.core.amounts import size
from kubeproof.verify.report.html.pictures import Tick
from kubeproof.verify.report.html.words import ago, count, moment

# As many intervals of the schedule take the right end, where time is nearly linear.
_NEAR = 6
# Space for the widest line at either end, in percent.
_MARGIN = 1.5
_LOWEST = 4.0
_AGES = (
    (600, "10 min"), (3600, "1 h"), (6 * 3600, "6 h"), (86_400, "1 d"), (7 * 86_400, "1 w"), (28 * 86_400, "4 w"),
    (182 * 86_400, "6 months"), (365 * 86_400, "1 year"),
)  # fmt: skip
# Texts of ticks that are nearer to each other than this would run into one another.
_APART = 9.0
# How wide the lines are, in pixels, by how many there are at most.
_WIDTHS = ((12, 9), (40, 6), (120, 3))
_THINNEST = 2
_MOST_ROWS = 250


@dataclass(frozen=True)
class Mark:
    """A backup, or something that happened, at a time. ``kind``: kept, gone, odd or damaged."""

    x: float
    height: float
    kind: str
    said: str


@dataclass(frozen=True)
class Lane:
    """What happened of one kind. ``state`` is a verdict, of which the row has the colour and the sign."""

    title: str
    note: str
    marks: tuple[Mark, ...]
    text: str
    more: str
    state: str


@dataclass(frozen=True)
class Row:
    """A backup in words."""

    when: str
    host: str
    revision: str
    keys: str
    size: str
    state: str
    proven: str
    copies: str
    problem: str


@dataclass(frozen=True)
class Failure:
    """Failures in words: those of one kind that came one after another are one."""

    when: str
    host: str
    what: str
    reason: str
    times: int


@dataclass(frozen=True)
class History:
    """All data of the chart. ``line``: the last success and the last proven restore."""

    sizes: Lane
    lanes: tuple[Lane, ...]
    failed: Lane
    ticks: tuple[Tick, ...]
    width: int
    said: str
    line: str
    drawn: bool
    rows: tuple[Row, ...]
    unlisted: int
    failures: tuple[Failure, ...]


@dataclass(frozen=True)
class _Time:
    """Ages to places, in percent from the left."""

    oldest: float
    near: float

    def at(self, age: float) -> float:
        share = math.log1p(max(age, 0.0) / self.near) / math.log1p(self.oldest / self.near)
        return round(100 - _MARGIN - (100 - 2 * _MARGIN) * min(share, 1.0), 2)


def history(told: Mapping[str, Any] | None) -> History | None:
    """The picture of a report's part on backups; none if it has none."""
    if not told:
        return None
    made: Sequence[Mapping[str, Any]] = told["made"]
    failures: Sequence[Mapping[str, Any]] = told["failures"]
    interval = float(told["interval_seconds"])
    ages = [float(entry["age_seconds"]) for entry in (*made, *failures)]
    time = _Time(max([2 * interval, *ages]), _NEAR * interval)
    kept = [entry for entry in made if entry["kept"]]
    shown = [entry for entry in made if entry["kept"] or entry["proven"]]
    return History(
        sizes=_sizes(told, time),
        lanes=(_proofs(told, time), *_targets(told, time)),
        failed=_failed(failures, time),
        ticks=_ticks(time),
        width=next((pixels for most, pixels in _WIDTHS if len(made) <= most), _THINNEST),
        said=_said(len(kept), len(made) - len(kept)),
        drawn=bool(made or failures),
        line=_line(told, kept),
        rows=tuple(_row(entry) for entry in shown[:_MOST_ROWS]),
        unlisted=max(len(shown) - _MOST_ROWS, 0),
        failures=_failures(failures),
    )


def _said(kept: int, removed: int) -> str:
    if not kept and not removed:
        return "There is no backup yet: the first one comes with the schedule, or with `kubeproof backup now`."
    return f"{count(kept, 'backup')} kept" + (f", {removed} removed since" if removed else "")


def _line(told: Mapping[str, Any], kept: Sequence[Mapping[str, Any]]) -> str:
    last = next((entry for entry in kept if not entry["problem"]), None)
    success = f"last {moment(last['at'])} on {last['host']}" if last else "none"
    proven = f"proven restorable {moment(told['proven']['at'])}" if told["proven"] else "none proven restorable yet"
    return f"{success}; {proven}"


def _sizes(told: Mapping[str, Any], time: _Time) -> Lane:
    made = told["made"]
    largest = max((float(entry["size"] or 0) for entry in made), default=0.0)
    # Removed ones first, so that what is there is drawn over them.
    ordered = sorted(made, key=lambda entry: bool(entry["kept"]))
    marks = tuple(
        Mark(
            time.at(float(entry["age_seconds"])),
            round(max(_LOWEST, 100 * float(entry["size"] or 0) / (largest or 1)), 1),
            _kind(entry),
            f"{moment(entry['at'])} on {entry['host']}, {_size(entry)}{', removed since' if not entry['kept'] else ''}",
        )
        for entry in ordered
    )
    last = next((entry for entry in made if entry["kept"]), None)
    if last is None:
        return Lane("Size", "", marks, "none", "", "refuted")
    late = float(last["age_seconds"]) > float(told["allowed_seconds"])
    text, more = _size(last), f"{ago(float(last['age_seconds']))}"
    return Lane(
        "Size", f"highest: {size(largest)}", marks, text, more, "refuted" if late or last["problem"] else "proven"
    )


def _kind(entry: Mapping[str, Any]) -> str:
    if entry["problem"]:
        return "damaged"
    if not entry["kept"]:
        return "gone"
    return "odd" if entry["quorum"] is False else "kept"


def _size(entry: Mapping[str, Any]) -> str:
    return size(float(entry["size"])) if entry["size"] is not None else "?"


def _proofs(told: Mapping[str, Any], time: _Time) -> Lane:
    """Backups that a drill has restored, each at its own age."""
    proven = [entry for entry in told["made"] if entry["proven"]]
    marks = tuple(_dot(entry, time, "proven", f"proven {moment(entry['proven'])}") for entry in proven)
    last, allowed = told["proven"], told["proof_allowed_seconds"]
    if not last:
        return Lane("Proven restorable", "", marks, "none yet", "", "blocked")
    note, age = count(len(marks), "backup"), float(last["age_seconds"])
    late = allowed is not None and age > float(allowed)
    return Lane("Proven restorable", note, marks, ago(age), f"on {last['host']}", "refuted" if late else "proven")


def _targets(told: Mapping[str, Any], time: _Time) -> list[Lane]:
    """A lane for each target: the backups that are there."""
    of_targets: dict[str, list[Mapping[str, Any]]] = {}
    for target in told["targets"]:
        of_targets.setdefault(str(target["name"]), []).append(target)
    for name in (name for entry in told["made"] for name in entry["copies"]):
        of_targets.setdefault(name, [])
    return [_target(name, hosts, told["made"], time) for name, hosts in of_targets.items()]


def _target(name: str, hosts: Sequence[Mapping[str, Any]], made: Sequence[Mapping[str, Any]], time: _Time) -> Lane:
    marks = tuple(_dot(entry, time, "copy", f"at {name}") for entry in made if name in entry["copies"])
    wrong = [str(target["host"]) for target in hosts if not target["ok"]]
    text, more = ("failed", f"from {', '.join(wrong)}") if wrong else ("all brought", "")
    return Lane(
        f"Copies at {name}", count(len(marks), "copy", "copies"), marks, text, more, "refuted" if wrong else "proven"
    )


def _dot(entry: Mapping[str, Any], time: _Time, kind: str, said: str) -> Mark:
    return Mark(time.at(float(entry["age_seconds"])), 0, kind, f"of {moment(entry['at'])}: {said}")


def _failed(failures: Sequence[Mapping[str, Any]], time: _Time) -> Lane:
    marks = tuple(
        Mark(time.at(float(each["age_seconds"])), 0, "failed", f"{moment(each['at'])} on {each['host']}: {_what(each)}")
        for each in failures
    )
    last = f"last {ago(float(failures[0]['age_seconds']))}" if failures else ""
    return Lane(
        "Failed", "", marks, str(len(failures)) if failures else "none", last, "blocked" if failures else "proven"
    )


def _what(failure: Mapping[str, Any]) -> str:
    target = failure.get("target")
    return {"save": "backup", "drill": "drill"}.get(str(failure["job"]), f"copy to {target}" if target else "copy")


def _ticks(time: _Time) -> tuple[Tick, ...]:
    ticks = [Tick(time.at(0), "now")]
    for age, text in _AGES:
        place = time.at(age)
        if age <= time.oldest and ticks[-1].at - place >= _APART:
            ticks.append(Tick(place, text))
    return tuple(reversed(ticks))


def _row(entry: Mapping[str, Any]) -> Row:
    figures = {name: "" if entry[name] is None else f"{entry[name]:,}" for name in ("revision", "keys")}
    return Row(
        when=moment(entry["at"]),
        host=str(entry["host"]),
        **figures,
        size=_size(entry),
        state=_kind(entry),
        proven=moment(entry["proven"]) if entry["proven"] else "",
        copies=", ".join(entry["copies"]),
        problem=str(entry["problem"]) or ("made without a majority" if entry["quorum"] is False else ""),
    )


def _failures(failures: Sequence[Mapping[str, Any]]) -> tuple[Failure, ...]:
    """Newest first. A target that is down fails every quarter of an hour for the same reason."""
    told: list[Failure] = []
    for each in failures:
        one = Failure(moment(each["at"]), str(each["host"]), _what(each), str(each["reason"]), 1)
        last = told[-1] if told else None
        if last and (last.host, last.what, last.reason) == (one.host, one.what, one.reason):
            told[-1] = Failure(last.when, last.host, last.what, last.reason, last.times + 1)
        else:
            told.append(one)
    return tuple(told)
