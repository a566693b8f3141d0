"""The start of a pod on a terminal: a lane for each component, a row for each step, an arrow from lane to lane."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Any

from kubeproof.verify.pod_startup.trace import LANES

_LANE_WIDTH = 10
_MARGIN = 16
_GAP = 2


@dataclass(frozen=True)
class _Signs:
    lane: str
    start: str
    line: str
    right: str
    left: str
    not_later: str
    uncertain: str


_SIGNS = _Signs(lane="│", start="●", line="─", right="▶", left="◀", not_later="≤", uncertain="±")
_PLAIN = _Signs(lane="|", start="o", line="-", right=">", left="<", not_later="<", uncertain="+-")


def can_show(encoding: str | None) -> bool:
    """Whether a terminal has the signs of the drawing."""
    try:
        "".join(astuple(_SIGNS)).encode(encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True


def draw(way: Mapping[str, Any], *, width: int, plain: bool = False) -> list[str]:
    """The lines of a drawing: times from the first step on, on the right who did it, by its record."""
    signs = _PLAIN if plain else _SIGNS
    node = f" on {way['node']}" if way["node"] else ""
    lines = [f"Start of pod {way['pod']}{node}, since {way['started']}", _heads()]
    lines += [_row(step, signs, width) for step in way["steps"]]
    widest = max((step["uncertainty_ms"] for step in way["steps"]), default=0.0)
    lines += [
        f"{signs.not_later}: it had happened by then. Clocks are known to {signs.uncertain}{widest:.0f} ms or better."
    ]
    for problem in way["problems"]:
        lines += textwrap.wrap(problem, width, initial_indent="! ", subsequent_indent="  ")
    return lines


def _heads() -> str:
    return (" " * _MARGIN + "".join(f"{lane:^{_LANE_WIDTH}}" for lane in LANES)).rstrip()


def _row(step: Mapping[str, Any], signs: _Signs, width: int) -> str:
    sign = signs.not_later if step["inferred"] else " "
    time = f"{step['number']:>2} {sign}{step['at_ms']:>8.1f} ms "
    drawn = _arrow(LANES.index(step["lane"]), LANES.index(step["to"]), signs)
    return f"{time:<{_MARGIN}}{drawn}{' ' * _GAP}{step['by']}"[:width].rstrip()


def _arrow(start: int, end: int, signs: _Signs) -> str:
    row = list(" " * (_LANE_WIDTH * len(LANES)))
    for lane in range(len(LANES)):
        row[_column(lane)] = signs.lane
    low, high = sorted((_column(start), _column(end)))
    row[low + 1 : high] = _crossing(row[low + 1 : high], signs)
    row[_column(start)] = signs.start
    if start < end:
        row[high - 1] = signs.right
    else:
        row[low + 1] = signs.left
    return "".join(row)


def _crossing(between: Sequence[str], signs: _Signs) -> list[str]:
    """An arrow's line, behind the lanes that it crosses."""
    return [place if place == signs.lane else signs.line for place in between]


def _column(lane: int) -> int:
    return lane * _LANE_WIDTH + _LANE_WIDTH // 2
