"""Schedules as systemd's timers have them (``OnCalendar``): which are right, and the longest time between two runs.

https://www.freedesktop.org/software/systemd/man/latest/systemd.time.html#Calendar%20Events. A part of that language:
weekdays, month, day, hour, minute, second with lists, ranges and steps, and the words like ``hourly``. Not in it are
years, days from a month's end (``~``), fractions of a second and time zones other than UTC; they are refused, so that
whatever is accepted here systemd takes too, and means the same.
"""

from __future__ import annotations

import datetime
import functools
import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass

from kubeproof.core.errors import KubeproofError

_WORDS = {
    "minutely": "*-*-* *:*:00",
    "hourly": "*-*-* *:00:00",
    "daily": "*-*-* 00:00:00",
    "weekly": "Mon *-*-* 00:00:00",
    "monthly": "*-*-01 00:00:00",
    "quarterly": "*-01,04,07,10-01 00:00:00",
    "semiannually": "*-01,07-01 00:00:00",
    "yearly": "*-01-01 00:00:00",
    "annually": "*-01-01 00:00:00",
}
_WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_DAY = 86400
# Two turns of the calendar, leap years and weekdays, with a 29th of February on each weekday.
_YEARS = 57
_HINT = "for example hourly, *-*-* 00/6:00:00 or Mon..Fri 02:30; `systemd-analyze calendar` explains it"


@dataclass(frozen=True)
class Schedule:
    """The moments that a schedule names."""

    weekdays: frozenset[int]
    months: frozenset[int]
    days: frozenset[int]
    seconds: Sequence[int]
    """Of a day, in order."""

    def longest_gap(self) -> int:
        """The longest time between two of its moments, in seconds. Raises KubeproofError if there are no two."""
        first = datetime.date(2000, 1, 1)
        days = [number for number in range(_YEARS * 366) if self._has(first + datetime.timedelta(days=number))]
        if len(days) < 2:
            raise KubeproofError("there is no such day", hint=_HINT)
        within = max((later - earlier for earlier, later in itertools.pairwise(self.seconds)), default=0)
        nights = max(later - earlier for earlier, later in itertools.pairwise(days))
        return max(within, nights * _DAY - self.seconds[-1] + self.seconds[0])

    def _has(self, day: datetime.date) -> bool:
        return day.weekday() in self.weekdays and day.month in self.months and day.day in self.days


def parse(text: str) -> Schedule:
    """Understand a schedule. Raises KubeproofError."""
    whole = _WORDS.get(text.lower(), text)
    words = whole.removesuffix(" UTC").split()
    weekdays = _weekdays(words.pop(0)) if words and words[0][:1].isalpha() else frozenset(range(7))
    date = words.pop(0) if words and "-" in words[0] else "*-*-*"
    time = words.pop(0) if words and ":" in words[0] else "00:00:00"
    if words or whole != whole.strip() or not whole:
        raise KubeproofError(f"{text!r} is not a supported schedule", hint=_HINT)
    months, days = _date(date)
    return Schedule(weekdays, months, days, _times(time))


# Each host is asked for its schedules, which nearly always are those of all.
@functools.cache
def interval(text: str) -> int:
    """The longest time between two runs, in seconds. Raises KubeproofError."""
    return parse(text).longest_gap()


def _weekdays(text: str) -> frozenset[int]:
    found: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("..")
        start, end = _weekday(first), _weekday(last or first)
        if end < start:
            raise KubeproofError(f"{part!r} ends before it starts", hint=_HINT)
        found.update(range(start, end + 1))
    return frozenset(found)


def _weekday(text: str) -> int:
    for number, name in enumerate(_WEEKDAYS):
        if text.lower() in (name, name[:3]):
            return number
    raise KubeproofError(f"{text!r} is not a day of the week", hint=_HINT)


def _date(text: str) -> tuple[frozenset[int], frozenset[int]]:
    parts = text.split("-")
    if len(parts) == 3 and parts.pop(0) != "*":
        raise KubeproofError(f"{text!r} is limited to one year; a schedule must not end", hint=_HINT)
    if len(parts) != 2:
        raise KubeproofError(f"{text!r} is not a date", hint=_HINT)
    return frozenset(_numbers(parts[0], 1, 12)), frozenset(_numbers(parts[1], 1, 31))


def _times(text: str) -> list[int]:
    parts = text.split(":")
    if not 2 <= len(parts) <= 3:
        raise KubeproofError(f"{text!r} is not a time of day", hint=_HINT)
    hours, minutes, seconds = (*(_numbers(part, 0, top) for part, top in zip(parts, (23, 59, 59), strict=False)), [0])[
        :3
    ]
    return sorted(hour * 3600 + minute * 60 + second for hour in hours for minute in minutes for second in seconds)


_PART = re.compile(r"(\d{1,2})(?:\.\.(\d{1,2}))?(?:/(\d{1,2}))?")


def _numbers(text: str, low: int, high: int) -> list[int]:
    """The numbers that one component names: ``*``, or a list of numbers and ranges, each with a step if need be."""
    if text == "*":
        return list(range(low, high + 1))
    found: set[int] = set()
    for part in text.split(","):
        match = _PART.fullmatch(part)
        if not match:
            raise KubeproofError(f"{part!r} is not a number from {low} to {high}", hint=_HINT)
        first, last, step = match.groups()
        start = int(first)
        # `3/4` is every fourth from the third on; `3` alone is the third.
        end = int(last) if last else (high if step else start)
        # systemd refuses a step that leads nowhere.
        if not low <= start <= end <= high or (step and not 0 < int(step) <= end - start):
            raise KubeproofError(f"{part!r} is not a number from {low} to {high}", hint=_HINT)
        found.update(range(start, end + 1, int(step or 1)))
    return sorted(found)
