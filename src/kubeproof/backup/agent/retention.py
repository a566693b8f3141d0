"""Which backups go, and why: a pure function of what is there, the settings and the time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, Iterable, Sequence

from kubeproof.backup.agent.configuration import Keep

# A clock that is this far ahead of another is set as well as clocks are.
SKEW_SECONDS = 300


@dataclass(frozen=True)
class Entry:
    """One backup of this cluster. ``time`` is the one in its name: that of a clock, which may have been wrong."""

    name: str
    time: float
    bytes: int
    good: bool


@dataclass(frozen=True)
class Removal:
    """One that goes."""

    name: str
    reason: str


def plan(entries: Iterable[Entry], keep: Keep, now: float, untouchable: Iterable[str] = ()) -> list[Removal]:
    """What is removed, in this order.

    Never the newest good one, nor what is ``untouchable``: the one that was just made (whatever the clock said then)
    and the one that was last proven restorable.

    - Good ones stay that are among the newest ``last``, or the newest of one of the last so many hours, days or weeks
      that have any (by UTC; weeks begin on Monday).
    - Those from the future were made while a clock was wrong, and nobody knows how old they are: they count for none
      of that, so that they push out nothing, and stay until space is wanted.
    - Damaged ones count for none of it either. They stay for whoever looks into it until ``last`` good ones are newer.
    - If all that would stay takes more than ``bytes``, more goes: damaged ones, those from the future, then the oldest.
    """
    known = sorted(entries, key=lambda entry: (entry.time, entry.name), reverse=True)
    future = [entry for entry in known if entry.time > now + SKEW_SECONDS]
    past = [entry for entry in known if entry.time <= now + SKEW_SECONDS]
    good = [entry for entry in past if entry.good] or [entry for entry in future if entry.good]
    safe = {*untouchable, *(entry.name for entry in good[:1])}
    wanted = safe | _wanted(good, keep) | {entry.name for entry in future} | _fresh_damage(past, keep)
    removals = [Removal(entry.name, _reason(entry)) for entry in reversed(past) if entry.name not in wanted]
    staying = [entry for entry in known if entry.name in wanted]
    return removals + _for_space(staying, keep, now, safe)


def _wanted(good: Sequence[Entry], keep: Keep) -> set[str]:
    """The good ones that the settings keep; ``good`` is newest first."""
    wanted = {entry.name for entry in good[: keep.last]}
    for count, period in ((keep.hourly, _hour), (keep.daily, _day), (keep.weekly, _week)):
        wanted |= _newest_of_each(good, count, period)
    return wanted


def _newest_of_each(good: Sequence[Entry], count: int, period: Callable[[float], int]) -> set[str]:
    newest: dict[int, str] = {}
    for entry in good:
        number = period(entry.time)
        if number not in newest:
            if len(newest) == count:
                break
            newest[number] = entry.name
    return set(newest.values())


def _hour(when: float) -> int:
    return int(when // 3600)


def _day(when: float) -> int:
    return int(when // 86400)


def _week(when: float) -> int:
    # The epoch was a Thursday.
    return (_day(when) + 3) // 7


def _fresh_damage(past: Sequence[Entry], keep: Keep) -> set[str]:
    """The damaged ones with fewer than ``last`` good ones that are newer."""
    fresh: set[str] = set()
    newer = 0
    for entry in past:
        if entry.good:
            newer += 1
        elif newer < keep.last:
            fresh.add(entry.name)
    return fresh


def _reason(entry: Entry) -> str:
    return "older than what is kept" if entry.good else "damaged, and enough newer ones are good"


def _for_space(staying: Sequence[Entry], keep: Keep, now: float, safe: set[str]) -> list[Removal]:
    """What has to go besides, for all to fit into ``bytes``."""
    if not keep.bytes:
        return []
    ahead = now + SKEW_SECONDS
    # Those that go first come first.
    order = sorted(staying, key=lambda entry: (entry.good, entry.time <= ahead, entry.time, entry.name))
    total = sum(entry.bytes for entry in staying)
    removals = []
    for entry in order:
        if total <= keep.bytes:
            break
        if entry.name not in safe:
            removals.append(Removal(entry.name, "all together take more than %d bytes" % keep.bytes))
            total -= entry.bytes
    return removals
