"""A campaign as a picture: what clients got over time, and beneath it a lane per kind, with each fault in its place.

Everything becomes a place in one drawing of fixed width, whose height is that of its lanes. All of it is in tables too.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kubeproof.verify.report.html.words import count, duration, milliseconds

WIDTH = 1100.0
_LEFT, _RIGHT = 226.0, 1088.0
_UP, _DOWN, _SLOW, _LANE = 88.0, 26.0, 64.0, 17.0
_HEAD, _SPACE = 26.0, 22.0
_AXIS = 40.0
# What is shorter could not be seen or pointed at.
_THINNEST = 3.0
_SECONDS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 28_800, 86_400)
_MOST_TICKS = 10
# By their first word that fits; what is new here has a colour as well.
COMPONENTS = (
    ("etcd-", "etcd", "etcd"),
    ("apiserver-", "api", "API server"),
    ("scheduler-", "leaders", "scheduler, controller manager"),
    ("controller-manager-", "leaders", "scheduler, controller manager"),
    ("balancer-", "balancer", "balancer"),
    ("kubelet-", "node", "kubelet, runtime"),
    ("runtime-", "node", "kubelet, runtime"),
    ("control-plane-host-", "host", "a whole host"),
    ("worker-", "host", "a whole host"),
)
OTHER = ("", "other", "other")


@dataclass(frozen=True)
class Label:
    """A text at a place."""

    x: float
    y: float
    text: str


@dataclass(frozen=True)
class Failures:
    """What failed in a step: a bar below the axis."""

    x: float
    width: float
    height: float
    said: str


@dataclass(frozen=True)
class Panel:
    """Answers of one kind over time. ``base`` is the axis: above it what went well, below it what did not."""

    title: str
    notes: tuple[str, ...]
    top: float
    base: float
    area: str
    failures: tuple[Failures, ...]
    ticks: tuple[Label, ...]


@dataclass(frozen=True)
class Mark:
    """One fault: ``x`` to ``x + width`` it lasted, then to ``x + width + recovering`` the cluster recovered."""

    x: float
    width: float
    recovering: float
    component: str
    said: str
    broken: bool


@dataclass(frozen=True)
class Lane:
    """All faults of one kind."""

    y: float
    kind: str
    component: str
    marks: tuple[Mark, ...]


@dataclass(frozen=True)
class Picture:
    """All that is drawn."""

    height: float
    bottom: float
    panels: tuple[Panel, ...]
    lanes: tuple[Lane, ...]
    times: tuple[Label, ...]
    legend: tuple[tuple[str, str], ...]
    said: str
    left: float = _LEFT
    right: float = _RIGHT
    width: float = WIDTH
    lane: float = _LANE


@dataclass(frozen=True)
class _Time:
    """Times to places."""

    start: float
    length: float

    def at(self, seconds: float) -> float:
        share = min(max((seconds - self.start) / self.length, 0.0), 1.0)
        return round(_LEFT + (_RIGHT - _LEFT) * share, 1)


def component(kind: str) -> tuple[str, str]:
    """What a kind of fault hits: a colour's name, and its title."""
    found = next((each for each in COMPONENTS if kind.startswith(each[0])), OTHER)
    return found[1], found[2]


def picture(document: Mapping[str, Any]) -> Picture | None:
    """The picture of a campaign; none if nothing was recorded."""
    line = document["timeline"]
    steps = len(line["writes"]["ok"])
    if not steps:
        return None
    ends = [line["start"] + steps * line["step"], *(each["end"] + each["recovery"] for each in document["faults"])]
    scale = _Time(line["start"], max(ends) - line["start"])
    panels = _panels(line, scale)
    lanes = tuple(_lanes(document["faults"], scale, panels[-1].base + _SPACE))
    bottom = (lanes[-1].y + _LANE if lanes else panels[-1].base) + 6
    legend = dict(component(lane.kind) for lane in lanes)
    return Picture(
        height=bottom + _AXIS,
        bottom=bottom,
        panels=panels,
        lanes=lanes,
        times=tuple(_times(scale, bottom + 16)),
        legend=tuple(legend.items()),
        said=_said(document, scale.length),
    )


def _said(document: Mapping[str, Any], seconds: float) -> str:
    ok = {name: sum(document["timeline"][name]["ok"]) for name in ("writes", "requests")}
    failed = {name: sum(document["timeline"][name]["failed"]) for name in ok}
    return (
        f"{duration(seconds)} with {count(len(document['faults']), 'fault')}: {ok['writes']} writes were acknowledged "
        f"and {failed['writes']} not, {ok['requests']} requests to the application were answered and "
        f"{failed['requests']} not. The tables below have the numbers."
    )


def _panels(line: Mapping[str, Any], scale: _Time) -> tuple[Panel, ...]:
    titles = {"writes": ("Writes", "acknowledged per second"), "requests": ("Application", "answers per second")}
    panels = []
    top = _HEAD
    for name, (title, note) in titles.items():
        panels.append(_rates(title, note, line, line[name], scale, top))
        top = panels[-1].base + _DOWN + _SPACE
    return (*panels, _slowest(line, scale, top))


def _rates(
    title: str, note: str, line: Mapping[str, Any], series: Mapping[str, Sequence[int]], scale: _Time, top: float
) -> Panel:
    step, base = line["step"], top + _UP
    rates = [number / step for number in series["ok"]]
    # A last step that was cut short would look like an outage.
    whole = rates[:-1] or rates
    high = _round_up(max(whole))
    most = max(series["failed"])
    ticks = tuple(Label(_LEFT - 8, base - _UP * share, f"{high * share:g}") for share in (0, 0.5, 1))
    return Panel(
        title=title,
        notes=(note, f"below: failed, up to {most} in {step} s" if most else "below: failed; none did"),
        top=top,
        base=base,
        area=_steps([_UP * rate / high for rate in whole], line, scale, base),
        failures=tuple(_failures(series["failed"], line, scale)),
        ticks=ticks,
    )


def _failures(failed: Sequence[int], line: Mapping[str, Any], scale: _Time) -> Iterable[Failures]:
    most = max(failed) or 1
    for number, times in enumerate(failed):
        if times:
            begin = number * line["step"]
            x = scale.at(line["start"] + begin)
            width = scale.at(line["start"] + begin + line["step"]) - x
            said = f"{times} failed, {duration(begin)} after the begin"
            yield Failures(x, round(max(width, 1.5), 1), round(4 + (_DOWN - 4) * times / most, 1), said)


def _slowest(line: Mapping[str, Any], scale: _Time, top: float) -> Panel:
    known = [each for each in line["slowest_write_ms"] if each is not None]
    low, high = 1.0, float(10 ** max(2, math.ceil(math.log10(max(known, default=1.0)))))
    base = top + _SLOW

    def height(value: float) -> float:
        return _SLOW * math.log(max(value, low) / low) / math.log(high / low)

    decades = range(round(math.log10(high)) + 1)
    return Panel(
        title="Slowest write",
        notes=("of a step; logarithmic", f"longest {milliseconds(max(known))}" if known else "none"),
        top=top,
        base=base,
        area=_steps(
            [height(each) if each is not None else 0.0 for each in line["slowest_write_ms"]], line, scale, base
        ),
        failures=(),
        ticks=tuple(
            Label(_LEFT - 8, round(base - height(10.0**power), 1), _decade(10**power))
            for power in decades
            if not power % 2 or len(decades) < 4
        ),
    )


def _steps(heights: Sequence[float], line: Mapping[str, Any], scale: _Time, base: float) -> str:
    """A path around steps that stand on an axis."""
    points = [f"M{scale.at(line['start']):g} {base:g}"]
    for number, height in enumerate(heights):
        points.append(f"V{base - height:.1f}H{scale.at(line['start'] + (number + 1) * line['step']):g}")
    return "".join((*points, f"V{base:g}Z"))


def _lanes(faults: Sequence[Mapping[str, Any]], scale: _Time, top: float) -> Iterable[Lane]:
    places = {prefix: number for number, (prefix, *_) in enumerate(COMPONENTS)}

    def order(kind: str) -> tuple[int, str]:
        return next((number for prefix, number in places.items() if kind.startswith(prefix)), len(places)), kind

    for number, kind in enumerate(sorted({str(each["kind"]) for each in faults}, key=order)):
        mine = tuple(_mark(place, each, scale) for place, each in enumerate(faults, 1) if each["kind"] == kind)
        yield Lane(top + number * _LANE, kind, component(kind)[0], mine)


def _mark(number: int, fault: Mapping[str, Any], scale: _Time) -> Mark:
    x, end = scale.at(fault["begin"]), scale.at(fault["end"])
    whole = scale.at(fault["end"] + fault["recovery"])
    ended = f"whole again {duration(fault['recovery'])} after it" if not fault["missing"] else "NOT whole again"
    outside = f", none outside for {duration(fault['outside_unavailable'])}" if "outside_unavailable" in fault else ""
    said = (
        f"{number}: {fault['kind']} on {fault['host']}, {duration(fault['end'] - fault['begin'])}; no write for "
        f"{duration(fault['writes_unavailable'])}, no answer for {duration(fault['application_unavailable'])}"
        f"{outside}, {ended}"
    )
    width = max(end - x, _THINNEST)
    return Mark(
        x=min(x, _RIGHT - _THINNEST),
        width=round(width, 1),
        recovering=round(max(whole - x - width, 0.0), 1),
        component=component(str(fault["kind"]))[0],
        said=said,
        broken=bool(fault["missing"]),
    )


def _times(scale: _Time, y: float) -> Iterable[Label]:
    step = next((each for each in _SECONDS if scale.length / each <= _MOST_TICKS), _SECONDS[-1])
    for number in range(int(scale.length // step) + 1):
        seconds = number * step
        yield Label(scale.at(scale.start + seconds), y, clock(seconds))


def clock(seconds: float) -> str:
    """Time since the begin."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _round_up(value: float) -> float:
    """The next number that is good at the end of a scale, and at its middle."""
    if value <= 0:
        return 1.0
    power: float = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 3, 4, 5, 6, 8, 10) if step * power >= value)


def _decade(value: int) -> str:
    return f"{value} ms" if value < 1000 else f"{value // 1000} s"
