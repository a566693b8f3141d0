"""What is drawn: every number becomes a place, in percent, on a scale. Templates turn places into SVG.

Each picture is a table as well, whose rows have the numbers in words: no information is in a chart alone.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from kubeproof.verify.observe.latency import BOUNDS_MS
from kubeproof.verify.report.html.words import count, day, days_left, milliseconds

WARN_DAYS = 30
_FIRST_CERTIFICATES = 8
_DAY_TICKS = ((1, "1 d"), (WARN_DAYS, "30 d"), (365, "1 y"), (3650, "10 y"))


@dataclass(frozen=True)
class Tick:
    """A mark on a scale."""

    at: float
    text: str


@dataclass(frozen=True)
class Scale:
    """Numbers to percent of a picture's width."""

    low: float
    high: float
    logarithmic: bool = False

    def at(self, value: float) -> float:
        """Where a number is."""
        low, high, number = self.low, self.high, min(max(value, self.low), self.high)
        if self.logarithmic:
            low, high, number = math.log(low), math.log(high), math.log(number)
        return round(100 * (number - low) / ((high - low) or 1), 2)


@dataclass(frozen=True)
class Density:
    """A part of a scale, and how much of all is in it, from 0 to 1."""

    x: float
    width: float
    share: float


@dataclass(frozen=True)
class Verb:
    """Times of one kind: half of them, nine of ten, and all are within the three."""

    name: str
    note: str
    count: int
    p50: float
    p90: float
    longest: float
    texts: tuple[str, str, str]
    density: tuple[Density, ...]


@dataclass(frozen=True)
class Bar:
    """An amount: from ``x`` on, ``width`` wide; ``head`` is the part of it that is highlighted."""

    name: str
    text: str
    width: float
    head: float = 0.0
    note: str = ""


@dataclass(frozen=True)
class Chart:
    """Bars on one scale."""

    bars: tuple[Bar, ...]
    ticks: tuple[Tick, ...] = ()
    said: str = ""
    band: tuple[float, float] | None = None


@dataclass(frozen=True)
class VerbChart:
    """Requests by verb on one scale."""

    verbs: tuple[Verb, ...]
    ticks: tuple[Tick, ...]
    total: int


@dataclass(frozen=True)
class PodChart:
    """Starts of pods on one scale: ``summary`` is of all of them."""

    summary: tuple[Verb, ...]
    bars: tuple[Bar, ...]
    ticks: tuple[Tick, ...]
    said: str


@dataclass(frozen=True)
class CertificateBar:
    """A certificate and how long it is good for."""

    subject: str
    issuer: str
    where: str
    names: str
    until: str
    text: str
    width: float
    state: str


@dataclass(frozen=True)
class CertificateChart:
    """Certificates, the next to expire first; those after the first ones are folded."""

    first: tuple[CertificateBar, ...]
    rest: tuple[CertificateBar, ...]
    ticks: tuple[Tick, ...]
    said: str


def verbs(entries: Sequence[Mapping[str, Any]]) -> VerbChart | None:
    """Requests to the API: the median, the nine tenths, the longest, and where the others are."""
    if not entries:
        return None
    longest = max(float(entry["max_ms"]) for entry in entries)
    scale = Scale(1, _decades_up(longest), logarithmic=True)
    return VerbChart(
        tuple(_verb(entry, scale) for entry in entries),
        _decade_ticks(scale),
        sum(int(entry["count"]) for entry in entries),
    )


def _verb(entry: Mapping[str, Any], scale: Scale) -> Verb:
    numbers = [float(entry[key]) for key in ("p50_ms", "p90_ms", "max_ms")]
    middle, most, longest = (milliseconds(number) for number in numbers)
    name = str(entry["verb"])
    return Verb(
        name=name,
        note=str(entry.get("resource") or ""),
        count=int(entry["count"]),
        p50=scale.at(numbers[0]),
        p90=scale.at(numbers[1]),
        longest=scale.at(numbers[2]),
        texts=(middle, most, longest),
        density=_density(entry.get("buckets") or [], scale),
    )


def _density(buckets: Sequence[int], scale: Scale) -> tuple[Density, ...]:
    largest = max(buckets, default=0)
    edges = pairwise((scale.low, *BOUNDS_MS, scale.high))
    return tuple(
        Density(scale.at(low), round(scale.at(high) - scale.at(low), 2), round(math.sqrt(number / largest), 3))
        for (low, high), number in zip(edges, buckets, strict=False)
        if number and scale.at(high) > scale.at(low)
    )


def pod_starts(entries: Sequence[Mapping[str, Any]]) -> PodChart | None:
    """Pods from their creation over their binding to readiness: all of them in two lines, and each."""
    ready = sorted((each for each in entries if each.get("ready_ms") is not None), key=lambda each: each["ready_ms"])
    if not ready:
        return None
    scale = Scale(1, _decades_up(float(ready[-1]["ready_ms"])), logarithmic=True)
    bound = [float(each["scheduled_ms"]) for each in ready if each.get("scheduled_ms") is not None]
    summary = [("bound", bound), ("ready", [float(each["ready_ms"]) for each in ready])]
    return PodChart(
        summary=tuple(_spread(name, numbers, scale) for name, numbers in summary if numbers),
        bars=tuple(_pod(each, scale) for each in ready),
        ticks=_decade_ticks(scale),
        said=f"{count(len(ready), 'pod')} of the verification",
    )


def _pod(entry: Mapping[str, Any], scale: Scale) -> Bar:
    ready, bound = float(entry["ready_ms"]), entry.get("scheduled_ms")
    return Bar(
        name=str(entry["pod"]),
        text=milliseconds(ready),
        width=scale.at(ready),
        head=scale.at(float(bound)) if bound is not None else 0.0,
        note=f"bound {milliseconds(float(bound))}" if bound is not None else "",
    )


def _spread(name: str, numbers: Sequence[float], scale: Scale) -> Verb:
    """Numbers as requests are drawn, which come counted already."""
    ordered = sorted(numbers)
    chosen = [ordered[min(len(ordered) - 1, int(share * len(ordered)))] for share in (0.5, 0.9)] + [ordered[-1]]
    buckets = [0] * (len(BOUNDS_MS) + 1)
    for number in numbers:
        buckets[bisect_left(BOUNDS_MS, number)] += 1
    keys = ("p50_ms", "p90_ms", "max_ms")
    entry = {"verb": name, "count": len(numbers), "buckets": buckets, **dict(zip(keys, chosen, strict=True))}
    return _verb(entry, scale)


def rules(entries: Sequence[Mapping[str, Any]]) -> Chart | None:
    """How long each node took to have a new service's rules."""
    known = [each for each in entries if each.get("ms") is not None]
    if not known:
        return None
    numbers = [float(each["ms"]) for each in known]
    scale = Scale(0, _round_up(max(numbers)))
    bars = (Bar(str(each["node"]), milliseconds(float(each["ms"])), scale.at(float(each["ms"]))) for each in known)
    said = f"{milliseconds(min(numbers))} to {milliseconds(max(numbers))} on {count(len(known), 'node')}"
    return Chart(tuple(bars), _ticks(scale), said)


def shares(evidence: Mapping[str, Any]) -> Chart | None:
    """How the requests to a service fell on its pods, and the bounds of what chance explains."""
    told, bounds = evidence.get("shares"), evidence.get("bounds")
    if not isinstance(told, Mapping) or not told or not all(isinstance(each, int) for each in told.values()):
        return None
    band = None
    limit = float(max(told.values()))
    if isinstance(bounds, list) and len(bounds) == 2:
        limit = max(limit, float(bounds[1]))
    scale = Scale(0, _round_up(limit))
    if isinstance(bounds, list) and len(bounds) == 2:
        band = (scale.at(float(bounds[0])), scale.at(float(bounds[1])))
    total = sum(told.values())
    bars = tuple(
        Bar(str(pod), str(number), scale.at(number), note=f"{100 * number / (total or 1):.0f} %")
        for pod, number in sorted(told.items())
    )
    ticks = tuple(Tick(scale.at(each), f"{each:g}") for each in (0, scale.high / 2, scale.high))
    return Chart(bars, ticks, f"{count(total, 'request')} to one address", band=band)


def certificates(entries: Sequence[Mapping[str, Any]]) -> CertificateChart | None:
    """How long each certificate is good for, on a scale that shows days as well as years."""
    if not entries:
        return None
    scale = Scale(1, max(3650, *(int(each["days_left"]) for each in entries)), logarithmic=True)
    bars = [_certificate(each, scale) for each in entries]
    late = sum(bar.state != "proven" for bar in bars)
    # Whatever there is to be warned of is seen at once.
    first = max(_FIRST_CERTIFICATES, late)
    first = len(bars) if len(bars) - first < 3 else first
    return CertificateChart(
        tuple(bars[:first]),
        tuple(bars[first:]),
        tuple(Tick(scale.at(days), text) for days, text in _DAY_TICKS),
        f"{count(len(bars), 'certificate')}; {_soonest(bars)}",
    )


def _soonest(bars: Sequence[CertificateBar]) -> str:
    over, late = (sum(bar.state == state for bar in bars) for state in ("refuted", "blocked"))
    said = [over and f"{over} expired", late and f"{late} about to expire within {WARN_DAYS} days"]
    return ", ".join(str(each) for each in said if each) or f"the next to expire is good until {bars[0].until}"


def _certificate(entry: Mapping[str, Any], scale: Scale) -> CertificateBar:
    days = int(entry["days_left"])
    return CertificateBar(
        subject=str(entry["subject"]),
        issuer=str(entry["issuer"]),
        where=f"{entry['host']}: {entry['where']}",
        names=", ".join(str(each) for each in entry.get("names") or []),
        until=day(entry["not_after"]),
        text=days_left(days),
        width=scale.at(days),
        state="refuted" if days < 0 else "blocked" if days < WARN_DAYS else "proven",
    )


def _round_up(value: float) -> float:
    """The next number that is good at the end of a scale."""
    if value <= 0:
        return 1.0
    power: float = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 1.5, 2, 3, 4, 5, 6, 8, 10) if step * power >= value)


def _ticks(scale: Scale) -> tuple[Tick, ...]:
    texts = ((0.0, "0"), (scale.high / 2, _round(scale.high / 2)), (scale.high, _round(scale.high)))
    return tuple(Tick(scale.at(each), text) for each, text in texts)


def _decades_up(value: float) -> int:
    return int(10 ** max(2, math.ceil(math.log10(max(value, 1)))))


def _decade_ticks(scale: Scale) -> tuple[Tick, ...]:
    powers = range(round(math.log10(scale.high)) + 1)
    # Where there are many, there is room for the text of every other one.
    return tuple(
        Tick(scale.at(10**power), "" if len(powers) > 5 and power % 2 else _decade(10**power)) for power in powers
    )


def _decade(value: int) -> str:
    """Units where they change: more does not fit."""
    if value < 1000:
        return "1 ms" if value == 1 else str(value)
    return f"{value // 1000} s"


def _round(value: float) -> str:
    return f"{value:g} ms" if value < 1000 else f"{value / 1000:g} s"
