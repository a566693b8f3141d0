"""The start of a pod, from the command that asks for it to its process: one lane per component, one row per step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from kubeproof.verify.report.html.words import milliseconds

LANES = ("kubectl", "API server", "etcd", "scheduler", "kubelet", "runtime")
_SHORT = {"API server": "API", "scheduler": "sched."}
# A gap is drawn taller the longer it is, up to a height at which it is marked as shortened.
_GAP_MS = 5.0
_LONG_GAP_MS = 250.0
_PIXELS_PER_GAP = 0.12


@dataclass(frozen=True)
class Lane:
    """A component's line; ``x`` in percent."""

    name: str
    short: str
    x: float


@dataclass(frozen=True)
class Step:
    """Something that happened: on a lane, or from one to another."""

    number: str
    title: str
    lane: str
    to: str
    x: float
    target: float | None
    at: str
    inferred: bool
    precision: str
    record: str
    by: str
    gap: str
    gap_pixels: int
    shortened: bool


@dataclass(frozen=True)
class Share:
    """The time before a step, as a part of all of it; ``place`` tells neighbours apart."""

    number: str
    x: float
    width: float
    text: str
    place: int


@dataclass(frozen=True)
class Way:
    """A pod's way."""

    pod: str
    node: str
    total: str
    lanes: tuple[Lane, ...]
    steps: tuple[Step, ...]
    shares: tuple[Share, ...]
    problems: tuple[str, ...]


def way(told: Any) -> Way | None:
    """The way as a report has it; none if it has none."""
    if not isinstance(told, Mapping) or not told.get("steps"):
        return None
    steps = list(told["steps"])
    names = tuple(dict.fromkeys((*LANES, *(_lane(step) for step in steps), *(_to(step) for step in steps))))
    known = [name for name in names if name]
    lanes = {
        name: Lane(name, _SHORT.get(name, name), round(100 * (number + 0.5) / len(known), 2))
        for number, name in enumerate(known)
    }
    start = float(steps[0]["at_ms"])
    # A record that is late may have a later time than what followed from it.
    before = list(accumulate((float(step["at_ms"]) for step in steps), max, initial=start))
    total = before[-1] - start
    return Way(
        pod=f"{told.get('namespace', '')}/{told.get('pod', '')}".strip("/"),
        node=str(told.get("node", "")),
        total=milliseconds(total),
        lanes=tuple(lanes.values()),
        steps=tuple(_step(step, lanes, start, before[number]) for number, step in enumerate(steps)),
        shares=_shares(steps, start, total),
        problems=tuple(str(problem) for problem in told.get("problems") or []),
    )


def _lane(step: Mapping[str, Any]) -> str:
    return str(step["lane"]) or "somebody"


def _to(step: Mapping[str, Any]) -> str:
    return str(step.get("to") or "")


def _step(step: Mapping[str, Any], lanes: Mapping[str, Lane], start: float, before: float) -> Step:
    at, lane, to = float(step["at_ms"]), _lane(step), _to(step)
    gap = max(0.0, at - before)
    uncertainty = float(step.get("uncertainty_ms") or 0)
    clock = str(step.get("clock") or "")
    return Step(
        number=str(step.get("number", "")),
        title=str(step.get("title", "")),
        lane=lane,
        to=to if to != lane else "",
        x=lanes[lane].x,
        target=lanes[to].x if to and to != lane else None,
        at=f"{'≤ ' if step.get('inferred') else ''}{milliseconds(at - start) if at > start else '0'}",
        inferred=bool(step.get("inferred")),
        precision=", ".join(
            part
            for part in (
                clock and f"clock of {clock}",
                uncertainty and f"± {milliseconds(uncertainty)}",
            )
            if part
        ),
        record=str(step.get("record") or ""),
        by=str(step.get("by") or ""),
        gap=milliseconds(gap) if gap >= _GAP_MS else "",
        gap_pixels=round(min(gap, _LONG_GAP_MS) * _PIXELS_PER_GAP) if gap >= _GAP_MS else 0,
        shortened=gap > _LONG_GAP_MS,
    )


def _shares(steps: Sequence[Mapping[str, Any]], start: float, total: float) -> tuple[Share, ...]:
    found = []
    last = start
    for place, step in enumerate(steps):
        at = max(last, float(step["at_ms"]))
        width = 100 * (at - last) / (total or 1)
        if width > 0:
            x = 100 * (last - start) / (total or 1)
            text = milliseconds(at - last)
            found.append(Share(str(step.get("number", "")), round(x, 2), round(width, 2), text, place))
        last = at
    return tuple(found)
