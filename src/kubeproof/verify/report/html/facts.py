"""Evidence, which is whatever a test has observed, as few kinds of facts that a page can show."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_SHORT = 180
_LONGEST = 20_000
_SHOWN = 40
_COLUMNS = 8
_DEPTH = 6
# Numbers that may be compared by length; a status or a revision may not.
_AMOUNTS = re.compile(r"seconds|_ms$|\bms\b|shares", re.IGNORECASE)
# Words of machines rather than of people: paths, addresses, names with digits.
_RAW = re.compile(r"[^\s]*[\d/:_=@][^\s]*")


@dataclass(frozen=True)
class Text:
    """A value in a line. ``style`` is none, flag, number, raw or words."""

    value: str
    style: str
    kind: str = "text"


@dataclass(frozen=True)
class Long:
    """A value that is folded: what it begins with, and all of it, or as much as a page can bear."""

    summary: str
    value: str
    size: int
    cut: bool
    kind: str = "long"


@dataclass(frozen=True)
class Pairs:
    """Names with their facts."""

    rows: tuple[tuple[str, Fact], ...]
    more: int = 0
    kind: str = "pairs"


@dataclass(frozen=True)
class Items:
    """Facts in an order; ``inline`` if they fit on a line."""

    items: tuple[Fact, ...]
    inline: bool
    more: int = 0
    kind: str = "items"


@dataclass(frozen=True)
class Table:
    """Facts of the same shape. The first column names its row if ``headed``."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Fact, ...], ...]
    headed: bool
    more: int = 0
    kind: str = "table"


@dataclass(frozen=True)
class Bars:
    """Amounts of one kind: label, value, and the share of the largest in percent."""

    rows: tuple[tuple[str, str, float], ...]
    kind: str = "bars"


Fact = Text | Long | Pairs | Items | Table | Bars


def fact(value: Any, name: str = "", depth: int = 0) -> Fact:
    """The fact that shows a value best. ``name`` is what the evidence calls it."""
    if depth > _DEPTH:
        return _text(json.dumps(value, ensure_ascii=False, default=str))
    if isinstance(value, Mapping):
        return _mapping(value, name, depth)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return _sequence(value, name, depth)
    return _scalar(value)


def number(value: float) -> str:
    """A number as people write it."""
    if isinstance(value, float):
        return f"{value:.3f}".rstrip("0").rstrip(".") if abs(value) < 1e15 else f"{value:g}"
    return str(value)


def _scalar(value: Any) -> Fact:
    if value is None:
        return Text("none", "none")
    if isinstance(value, bool):
        return Text("yes" if value else "no", "flag")
    if isinstance(value, int | float):
        return Text(number(value), "number")
    return _text(str(value))


def _text(value: str) -> Fact:
    text = _unpacked(value)
    if text is value and len(text) <= _SHORT and "\n" not in text.strip():
        stripped = text.strip()
        style = "raw" if " " not in stripped and _RAW.fullmatch(stripped) else "words"
        return Text(stripped or "empty", style if stripped else "none")
    return Long(" ".join(value[:_SHORT].split())[:100], text[:_LONGEST], len(text), len(text) > _LONGEST)


def _unpacked(value: str) -> str:
    """JSON that came as text, as people can read it; anything else as it is."""
    if value[:1] in {"{", "["} and len(value) <= _LONGEST:
        try:
            return json.dumps(json.loads(value), indent=2, ensure_ascii=False)
        except ValueError:
            pass
    return value


def _mapping(value: Mapping[Any, Any], name: str, depth: int) -> Fact:
    if not value:
        return Text("nothing", "none")
    entries = [(str(key), each) for key, each in value.items()]
    if _AMOUNTS.search(name) and len(entries) > 1 and all(_amount(each) for _, each in entries):
        return _bars(entries)
    columns = _columns([each for _, each in entries])
    if columns and len(entries) > 1:
        rows = [{"": key, **each} for key, each in entries]
        return _table(("", *columns), rows, depth, headed=True)
    shown = tuple((key, fact(each, key, depth + 1)) for key, each in entries[:_SHOWN])
    return Pairs(shown, len(entries) - len(shown))


def _sequence(value: Sequence[Any], name: str, depth: int) -> Fact:
    if not value:
        return Text("nothing", "none")
    columns = _columns(value)
    if columns:
        return _table(columns, value, depth, headed=False)
    shown = tuple(fact(each, name, depth + 1) for each in value[:_SHOWN])
    inline = all(isinstance(each, Text) and len(each.value) <= 40 for each in shown)
    return Items(shown, inline, len(value) - len(shown))


def _columns(values: Sequence[Any]) -> tuple[str, ...]:
    """The columns of values that have the same shape; none if they have not."""
    if not all(isinstance(each, Mapping) and each for each in values):
        return ()
    names = tuple(dict.fromkeys(str(key) for each in values for key in each))
    filled = sum(len(each) for each in values)
    flat = all(not isinstance(cell, Mapping) or not cell for each in values for cell in each.values())
    even = len(names) <= _COLUMNS and filled >= 0.7 * len(names) * len(values)
    return names if flat and even else ()


def _table(columns: tuple[str, ...], values: Sequence[Mapping[Any, Any]], depth: int, *, headed: bool) -> Table:
    rows = tuple(
        tuple(fact(each[column], column, depth + 1) if column in each else Text("", "none") for column in columns)
        for each in ({str(key): cell for key, cell in row.items()} for row in values[:_SHOWN])
    )
    return Table(columns, rows, headed, len(values) - len(rows))


def _amount(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= 0


def _bars(entries: Sequence[tuple[str, Any]]) -> Bars:
    largest = max(value for _, value in entries) or 1
    return Bars(tuple((key, number(value), round(100 * value / largest, 2)) for key, value in entries[:_SHOWN]))
