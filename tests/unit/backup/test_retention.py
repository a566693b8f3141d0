from __future__ import annotations

import random
from dataclasses import replace

import pytest

from kubeproof.backup.agent import backups
from kubeproof.backup.agent.configuration import Keep
from kubeproof.backup.agent.retention import SKEW_SECONDS, Entry, plan

HOUR, DAY, WEEK = 3600.0, 86400.0, 7 * 86400.0
# A Wednesday, half past eleven.
NOW = 1_795_000_000.0 // WEEK * WEEK + 11.5 * HOUR
NOTHING = Keep(last=1, hourly=0, daily=0, weekly=0, bytes=0, free=0)


def entry(time: float, *, good: bool = True, size: int = 100, host: str = "cp1") -> Entry:
    return Entry(backups.name(time, host), time, size, good)


def hourly(count: int, start: float = NOW) -> list[Entry]:
    """One each hour, newest first."""
    return [entry(start - number * HOUR) for number in range(count)]


def gone(entries: list[Entry], keep: Keep, now: float = NOW, untouchable: tuple[str, ...] = ()) -> set[str]:
    return {removal.name for removal in plan(entries, keep, now, untouchable)}


def kept(entries: list[Entry], keep: Keep, now: float = NOW, untouchable: tuple[str, ...] = ()) -> list[Entry]:
    names = gone(entries, keep, now, untouchable)
    return [each for each in entries if each.name not in names]


def test_nothing_goes_of_nothing() -> None:
    assert plan([], NOTHING, NOW) == []


def test_the_last_ones_stay() -> None:
    entries = hourly(10)
    assert kept(entries, replace(NOTHING, last=3)) == entries[:3]
    assert kept(entries, replace(NOTHING, last=10)) == entries
    assert kept(entries, replace(NOTHING, last=99)) == entries


def test_the_order_in_which_they_are_given_makes_no_difference() -> None:
    entries, keep = hourly(50), replace(NOTHING, last=3, hourly=5, daily=2)
    wanted = plan(entries, keep, NOW)
    for seed in range(5):
        mixed = entries[:]
        random.Random(seed).shuffle(mixed)  # noqa: S311 - no secret
        assert plan(mixed, keep, NOW) == wanted


def test_the_newest_of_each_hour_stays() -> None:
    quarters = [entry(NOW - number * HOUR / 4) for number in range(12)]
    # 11:30 is the newest of its hour, then 10:45, 9:45.
    assert kept(quarters, replace(NOTHING, hourly=3)) == [quarters[0], quarters[3], quarters[7]]


def test_the_newest_of_each_day_and_week_stays() -> None:
    entries = hourly(24 * 30)
    days = kept(entries, replace(NOTHING, daily=7))
    assert len(days) == 7
    assert [int(each.time // DAY) for each in days] == [int(NOW // DAY) - number for number in range(7)]
    weeks = kept(entries, replace(NOTHING, weekly=4))
    assert len(weeks) == 4
    # The last of a week is Sunday's last one.
    assert [int((each.time // DAY + 3) % 7) for each in weeks[1:]] == [6, 6, 6]


def test_hours_without_a_backup_count_for_nothing() -> None:
    entries = [entry(NOW), entry(NOW - 20 * HOUR), entry(NOW - 90 * HOUR), entry(NOW - 500 * HOUR)]
    assert kept(entries, replace(NOTHING, hourly=3)) == entries[:3]


def test_what_several_rules_keep_is_kept_once() -> None:
    entries = hourly(24 * 14)
    names = {
        each.name
        for keep in ({"last": 6}, {"hourly": 12}, {"daily": 7}, {"weekly": 2})
        for each in kept(entries, replace(NOTHING, **keep))
    }
    assert {each.name for each in kept(entries, Keep(6, 12, 7, 2, 0, 0))} == names


def test_equal_times_are_told_apart_by_their_names() -> None:
    same = [entry(NOW, host=host) for host in ("cp1", "cp2", "cp3")]
    assert [each.name for each in kept(same, NOTHING)] == [same[2].name]


def test_the_newest_good_one_stays_whatever_is_newer() -> None:
    entries = [entry(NOW, good=False), entry(NOW - HOUR, good=False), entry(NOW - 3000 * DAY), entry(NOW - 4000 * DAY)]
    assert entries[2] in kept(entries, NOTHING)
    assert entries[2] in kept(entries, replace(NOTHING, bytes=1))
    assert entries[3] not in kept(entries, NOTHING)


def test_what_was_just_made_stays_though_its_clock_was_behind() -> None:
    entries = hourly(5)
    made = entry(NOW - 400 * DAY)
    keep = replace(NOTHING, last=2)
    assert made not in kept([*entries, made], keep)
    assert made in kept([*entries, made], keep, untouchable=(made.name,))
    assert made in kept([*entries, made], replace(keep, bytes=1), untouchable=(made.name,))


def test_what_was_proven_stays() -> None:
    entries = hourly(50)
    proven = entries[40]
    assert kept(entries, replace(NOTHING, last=2), untouchable=(proven.name,)) == [*entries[:2], proven]
    assert kept(entries, replace(NOTHING, last=2, bytes=150), untouchable=(proven.name,)) == [entries[0], proven]


class TestClocks:
    def test_a_clock_that_was_ahead_does_not_push_out_what_is_right(self) -> None:
        # It was four years ahead for a day; today it is right again.
        wrong = [entry(NOW + 1461 * DAY + number * HOUR) for number in range(24)]
        right = hourly(8)
        keep = replace(NOTHING, last=3, hourly=3)
        assert set(kept([*wrong, *right], keep)) == {*wrong, *right[:3]}

    def test_what_is_from_the_future_goes_first_when_space_is_wanted(self) -> None:
        wrong = [entry(NOW + 1461 * DAY + number * HOUR) for number in range(3)]
        right = hourly(8)
        keep = replace(NOTHING, last=3, bytes=450)
        assert kept([*wrong, *right], keep) == [wrong[2], *right[:3]]

    def test_a_clock_that_is_behind_takes_none_of_the_old_ones(self) -> None:
        # The battery is empty: it is 2000, and every backup that there is comes from the future.
        old = hourly(20)
        year_2000 = 946_684_800.0
        keep = replace(NOTHING, last=3)
        entries = old[:]
        for run in range(10):
            made = entry(year_2000 + run * HOUR)
            entries = kept([*entries, made], keep, now=made.time, untouchable=(made.name,))
            assert made in entries
            assert set(old) <= set(entries)
        # Set right again, it keeps what is newest, and those of 2000 are simply old.
        made = entry(NOW + HOUR)
        assert kept([*entries, made], keep, now=made.time) == [*old[:2], made]

    def test_clocks_of_good_hosts_differ_a_little(self) -> None:
        ahead = entry(NOW + SKEW_SECONDS - 1)
        entries = [ahead, *hourly(5)]
        assert kept(entries, replace(NOTHING, last=2)) == entries[:2]

    def test_only_backups_from_the_future_the_newest_stays(self) -> None:
        wrong = [entry(NOW + DAY), entry(NOW + 2 * DAY)]
        assert kept(wrong, replace(NOTHING, bytes=1)) == [wrong[1]]

    def test_the_same_second_twice(self) -> None:
        one, other = entry(NOW), Entry(backups.name(NOW + 1, "cp1"), NOW + 1, 100, good=True)
        assert kept([one, other], NOTHING) == [other]


class TestDamage:
    def test_damaged_ones_count_for_nothing(self) -> None:
        entries = [entry(NOW - number * HOUR, good=number % 2 == 1) for number in range(10)]
        good = [each for each in entries if each.good]
        assert [each for each in kept(entries, replace(NOTHING, last=3)) if each.good] == good[:3]

    def test_they_stay_to_be_looked_into_and_go_in_the_end(self) -> None:
        damaged = entry(NOW - 3.2 * HOUR, good=False)
        keep = replace(NOTHING, last=4)
        assert damaged not in kept([*hourly(20), damaged], keep)
        assert damaged in kept([*hourly(20, start=NOW - HOUR), damaged], keep)

    def test_nothing_but_damage_stays(self) -> None:
        entries = [entry(NOW - number * HOUR, good=False) for number in range(5)]
        assert kept(entries, NOTHING) == entries

    def test_damage_goes_first_when_space_is_wanted(self) -> None:
        entries = [entry(NOW), entry(NOW - HOUR, good=False), entry(NOW - 2 * HOUR)]
        assert kept(entries, replace(NOTHING, last=3, bytes=200)) == [entries[0], entries[2]]


class TestSpace:
    def test_the_oldest_go(self) -> None:
        entries = hourly(10)
        assert kept(entries, replace(NOTHING, last=10, bytes=450)) == entries[:4]
        assert kept(entries, replace(NOTHING, last=10, bytes=400)) == entries[:4]
        assert kept(entries, replace(NOTHING, last=10, bytes=1000)) == entries

    def test_one_that_is_too_large_by_itself_stays(self) -> None:
        entries = [entry(NOW, size=5000), entry(NOW - HOUR)]
        assert kept(entries, replace(NOTHING, last=10, bytes=1000)) == entries[:1]

    def test_no_more_goes_than_must(self) -> None:
        entries = [entry(NOW, size=300), entry(NOW - HOUR, size=300), entry(NOW - 2 * HOUR, size=500)]
        assert kept(entries, replace(NOTHING, last=3, bytes=700)) == entries[:2]


def test_each_removal_says_why() -> None:
    entries = [*hourly(3), entry(NOW - 9 * HOUR, good=False), entry(NOW + 9 * DAY)]
    reasons = {removal.name: removal.reason for removal in plan(entries, replace(NOTHING, bytes=100), NOW)}
    assert reasons[entries[1].name] == "older than what is kept"
    assert "damaged" in reasons[entries[3].name]
    assert "more than 100 bytes" in reasons[entries[4].name]


@pytest.mark.parametrize("seed", range(300))
def test_what_must_hold_whatever_there_is(seed: int) -> None:
    """Random backups, settings and clocks."""
    chance = random.Random(seed)  # noqa: S311 - no secret
    span = chance.choice([HOUR, DAY, WEEK, 60 * WEEK])
    entries = list(
        {
            made.name: made
            for made in (
                entry(
                    NOW + chance.choice([-1, -1, -1, 1]) * float(chance.randrange(int(span))),
                    good=chance.random() > 0.2,
                    size=chance.randrange(1, 1000),
                    host=chance.choice(["cp1", "cp2"]),
                )
                for _ in range(chance.randrange(1, 60))
            )
        }.values()
    )
    per_hour, per_day, per_week = (chance.choice([0, 0, 1, 2, 5, 24]) for _ in range(3))
    allowed = chance.choice([0, 0, chance.randrange(20_000)])
    keep = Keep(chance.randint(1, 9), per_hour, per_day, per_week, bytes=allowed, free=0)
    untouchable = tuple(each.name for each in chance.sample(entries, min(2, len(entries))))
    removals = plan(entries, keep, NOW, untouchable)
    names = [removal.name for removal in removals]
    stay = [each for each in entries if each.name not in names]

    # Each goes once, and is one of those that are there.
    assert len(names) == len(set(names))
    assert set(names) <= {each.name for each in entries}
    # What was made last or proven stays, and the newest good one.
    assert set(untouchable) <= {each.name for each in stay}
    past = [each for each in entries if each.time <= NOW + SKEW_SECONDS]
    good = [each for each in past if each.good] or [each for each in entries if each.good]
    if good:
        assert max(good, key=lambda each: (each.time, each.name)) in stay
    # The newest ones stay unless they take too much.
    if not keep.bytes:
        newest = sorted((each for each in past if each.good), key=lambda each: (each.time, each.name))[-keep.last :]
        assert set(newest) <= set(stay)
        assert all(each in stay for each in entries if each.time > NOW + SKEW_SECONDS)
    # Not more stay than the settings name.
    counted = [each for each in stay if each.good and each in past and each.name not in untouchable]
    assert len(counted) <= keep.last + per_hour + per_day + per_week + 1
    if keep.bytes and sum(each.bytes for each in stay) > keep.bytes:
        assert len(stay) <= len(untouchable) + 1
    # Once is enough; and an hour later, with nothing new, all that is left is still wanted.
    assert plan(stay, keep, NOW, untouchable) == []
    if not any(each.time > NOW for each in stay):
        assert plan(stay, replace(keep, bytes=0), NOW + HOUR, untouchable) == []
