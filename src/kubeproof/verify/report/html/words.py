"""Times, durations and verdicts in words."""

from __future__ import annotations

import datetime
from typing import Any

SIGNS = {"proven": "✓", "refuted": "✕", "blocked": "!", "not-proven": "·", "incomplete": "!"}
VERDICTS = {"proven": "proven", "refuted": "refuted", "blocked": "blocked", "not-proven": "not proven"}
OUTCOMES = {
    "passed": ("proven", "passed"),
    "failed": ("refuted", "failed"),
    "blocked": ("blocked", "blocked"),
    "not-observable": ("not-proven", "not observable"),
}


def moment(text: Any) -> str:
    """A time of the report as people write it; as it is, if it is none."""
    try:
        at = datetime.datetime.fromisoformat(str(text))
    except ValueError:
        return str(text)
    if at.tzinfo:
        at = at.astimezone(datetime.UTC)
    return f"{at.day} {at:%B %Y, %H:%M:%S} UTC"


def day(text: Any) -> str:
    """The day of a time."""
    return moment(text).partition(",")[0]


def duration(seconds: float) -> str:
    """How long something took, in what is easy to imagine."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def milliseconds(value: float) -> str:
    """The same for what is short, with as many digits as mean something."""
    if value < 10:
        return f"{value:.1f} ms"
    if value < 1000:
        return f"{value:.0f} ms"
    return f"{value / 1000:.2f} s" if value < 10_000 else f"{value / 1000:.1f} s"


def count(number: int, one: str, many: str = "") -> str:
    """A number of things."""
    return f"{number} {one if number == 1 else many or one + 's'}"


def days_left(days: int) -> str:
    """How long a certificate is still good for."""
    if days < 0:
        return f"{count(-days, 'day')} over"
    return count(days, "day") if days < 730 else f"{days / 365.25:.0f} years"


def ago(seconds: float) -> str:
    """How long something is ago, roughly."""
    for unit, length in (("day", 86_400), ("hour", 3600), ("minute", 60)):
        if seconds >= 2 * length or (unit == "minute" and seconds >= length):
            return f"{count(int(seconds // length), unit)} ago"
    return "just now" if seconds >= 0 else "in the future"
