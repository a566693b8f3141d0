from __future__ import annotations

import random
import re
import shutil
import subprocess
from datetime import UTC, datetime
from itertools import pairwise

import pytest

from kubeproof.backup import calendar
from kubeproof.core.errors import KubeproofError

HOUR, DAY = 3600, 86400
RIGHT = {
    "hourly": HOUR,
    "daily": DAY,
    "weekly": 7 * DAY,
    "monthly": 31 * DAY,
    "minutely": 60,
    "yearly": 366 * DAY,
    "*-*-* 00/6:00:00": 6 * HOUR,
    "*:0/15": 15 * 60,
    "*-*-* *:30": HOUR,
    "02:30": DAY,
    "Mon..Fri 02:30": 3 * DAY,
    "Mon,Thu 12:00 UTC": 4 * DAY,
    "Sat 03:00:10": 7 * DAY,
    "*-*-1,15 04:00": 17 * DAY,
    "1..5:00": 20 * HOUR,
    "monday..friday 8..18/2:00": 3 * DAY - 10 * HOUR,
    "*-01-01 00:00": 366 * DAY,
    "*-*-31 00:00": 61 * DAY,
    "Mon *-*-*": 7 * DAY,
}
WRONG = [
    "", " ", "daily ", "never", "every day", "25:00", "*-*-* 24:00", "02:60", "*-13-01", "*-*-32", "*-02-30",
    "2027-01-01", "Mun 02:00", "Fri..Mon 02:00", "5..3:00", "0/0:00", "*/2:00", "*:*,3", "*-*~1", "02:00 Europe/Berlin",
    "02:00:00.5", "12", "1:2:3:4", "*-*-*-*", "02:00; rm -rf /", "02:00\nOnBootSec=1", "-1:00", "1,:00", "23/1:00",
]  # fmt: skip


@pytest.mark.parametrize(("text", "gap"), RIGHT.items())
def test_the_longest_time_between_two_runs(text: str, gap: int) -> None:
    assert calendar.interval(text) == gap


@pytest.mark.parametrize("text", WRONG)
def test_what_is_no_schedule_is_refused(text: str) -> None:
    with pytest.raises(KubeproofError):
        calendar.interval(text)


def moments(text: str, count: int) -> list[datetime]:
    command = ["systemd-analyze", "calendar", f"--iterations={count}", "--base-time=2026-01-01 00:00:00 UTC", text]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={"TZ": "UTC", "LC_ALL": "C"})
    found = re.findall(r"(?:Next elapse|Iter(?:\.|ation) #\d+): \w+ (\S+ \S+) UTC", done.stdout)
    return [datetime.strptime(each, "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC) for each in found]


needs_systemd = pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")


@needs_systemd
@pytest.mark.parametrize("text", RIGHT)
def test_systemd_says_the_same(text: str) -> None:
    gaps = {round((later - earlier).total_seconds()) for earlier, later in pairwise(moments(text, 120))}
    assert gaps
    assert max(gaps) <= RIGHT[text]
    # Within so many runs the longest has come, unless it comes once in years.
    assert max(gaps) == RIGHT[text] or RIGHT[text] > 300 * DAY


@needs_systemd
def test_systemd_means_the_same_by_whatever_is_accepted_here() -> None:
    chance = random.Random(7)  # noqa: S311 - no secret
    accepted = 0
    for _ in range(80):
        text = _some_schedule(chance)
        try:
            schedule = calendar.parse(text)
        except KubeproofError:
            continue
        accepted += 1
        for moment in moments(text, 8):
            assert moment.weekday() in schedule.weekdays, text
            assert moment.month in schedule.months, text
            assert moment.day in schedule.days, text
            assert moment.hour * 3600 + moment.minute * 60 + moment.second in schedule.seconds, text
    assert accepted > 30


def _some_schedule(chance: random.Random) -> str:
    def component(low: int, high: int) -> str:
        start = chance.randint(low, high)
        end = chance.randint(start, high)
        forms = [f"{start:02}", f"{start}..{end}", f"{start}..{end}/2", f"{start}/{chance.randint(1, 9)}"]
        return chance.choice(["*", ",".join(chance.sample(forms, chance.randint(1, 2)))])

    time = f"{component(0, 23)}:{component(0, 59)}" + chance.choice(["", f":{component(0, 59)}"])
    date = chance.choice(["", f"*-{component(1, 12)}-{component(1, 28)} ", "*-*-* "])
    return chance.choice(["", "Mon..Thu ", "Sat,Sun "]) + date + time


def test_a_schedule_that_many_hosts_share_is_worked_out_once(monkeypatch: pytest.MonkeyPatch) -> None:
    assert calendar.interval("Tue 01:02") == 7 * DAY
    monkeypatch.setattr(calendar, "parse", None)
    assert calendar.interval("Tue 01:02") == 7 * DAY
