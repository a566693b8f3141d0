"""What follows from what is found of backups on hosts."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from kubeproof.verify.etcd_backups import survey
from kubeproof.verify.etcd_backups.survey import Survey

# 2026-11-21 18:00:00 UTC
SIX = 1795284000.0
NAME = "20261121T180000Z-cp1"
MANIFEST = {
    "revision": 700,
    "hash": 5,
    "keys": 300,
    "size": 4096,
    "files": {"snapshot.db": {"bytes": 4128, "sha256": "aa"}, "keys.tar.age": {"bytes": 9, "sha256": "bb"}},
}
FOUND: dict[str, Any] = {
    "now": SIX + 600,
    "configuration": {"overdue": 4500, "drill": {"overdue": 90000}},
    "backups": {NAME: MANIFEST},
    "newest": NAME,
    "read": {
        "files": {"snapshot.db": "aa", "keys.tar.age": "bb", "manifest.json": "cc"},
        "status": {"revision": 700, "hash": 5, "totalKey": 300, "totalSize": 4096},
        "refusal": "",
    },
    "timers": {
        unit: {"active": "active", "enabled": "enabled", "next": "", "seconds": 1000.0}
        for unit in (survey.TIMER, survey.DRILL_TIMER)
    },
    "records": {"proven": {"name": NAME, "at": "2026-11-21T18:05:00Z"}},
}


def surveys(**changes: Any) -> dict[str, Survey]:
    """One host, with entries of what was found on it replaced, by ``__`` deeper down."""
    found = copy.deepcopy(FOUND)
    for path, value in changes.items():
        *way, last = path.split("__")
        place = found
        for step in way:
            place = place[step]
        place[last] = value
    return {"cp1": Survey("cp1", found)}


def timers(unit: str, **changes: Any) -> dict[str, Any]:
    return {**FOUND["timers"], unit: {**FOUND["timers"][unit], **changes}}


def test_nothing_is_wrong_with_what_is_right() -> None:
    right = surveys()
    assert list(survey.timer_problems(right)) == []
    assert survey.overdue(right) == ""
    assert survey.unproven(right) == ""
    assert survey.damage(right["cp1"]) == ""
    assert survey.lost(right, {"host": "cp1", "name": NAME}) == ""
    told = f"last backup {NAME}, 600 s old, revision 700, 300 keys, 4096 bytes; {NAME} proven restorable"
    assert survey.summary(right["cp1"], right) == f"{told} 2026-11-21T18:05:00Z"


def test_a_proof_from_the_future_is_none() -> None:
    late = {"records": {"proven": {"name": NAME, "at": "2026-12-21T18:05:00Z"}}}
    assert survey.unproven(surveys(**late)) == ""
    waits = survey.unproven(surveys(**late, timers=timers(survey.DRILL_TIMER, seconds=90001.0)))
    assert "no backup was ever restored as a drill" in waits


@pytest.mark.parametrize("change", [{"active": "inactive"}, {"enabled": "disabled"}, {"enabled": ""}])
def test_a_timer_that_is_off_is_told(change: dict[str, str]) -> None:
    (problem,) = survey.timer_problems(surveys(timers=timers(survey.TIMER, **change)))
    assert "etcd-backup.timer on cp1 is" in problem


def test_drills_that_are_not_scheduled_need_no_timer() -> None:
    off = timers(survey.DRILL_TIMER, active="inactive", enabled="")
    assert list(survey.timer_problems(surveys(timers=off)))
    assert not list(survey.timer_problems(surveys(timers=off, configuration={"overdue": 4500, "drill": {}})))


def test_ages_are_those_that_the_schedule_allows() -> None:
    assert survey.overdue(surveys(now=SIX + 4499)) == ""
    assert "4501 s old; 4500 s are the most" in survey.overdue(surveys(now=SIX + 4501))
    assert "from the future by 400 s" in survey.overdue(surveys(now=SIX - 400))
    none: dict[str, Any] = {"backups": {}, "newest": None, "read": None}
    assert survey.overdue(surveys(**none)) == ""
    late = survey.overdue(surveys(**none, timers=timers(survey.TIMER, seconds=5000.0)))
    assert "there is no backup, though the timers have run for 5000 s" in late


def test_a_proof_is_as_young_as_the_schedule_of_drills_allows() -> None:
    assert "is 90001 s ago" in survey.unproven(surveys(now=SIX + 300 + 90001))
    assert survey.unproven(surveys(records={"proven": None})) == ""
    never = surveys(records=None, timers=timers(survey.DRILL_TIMER, seconds=90001.0))
    assert "no backup was ever restored" in survey.unproven(never)
    assert survey.unproven(surveys(records=None, configuration={"overdue": 4500})) == ""


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"read__status": None, "read__refusal": "bolt: checksum error"}, "cannot read the snapshot .* checksum error"),
        ({"read__files__snapshot.db": "ab"}, r"snapshot\.db is not what was written"),
        ({"read__files__more": "ab"}, "more is not what was written"),
        ({"read__status__totalKey": 299}, "its manifest has keys 300, its snapshot 299"),
        ({"read__status__revision": 9}, "its manifest has revision 700, its snapshot 9"),
        ({"backups": {NAME: None}}, r"no manifest\.json"),
    ],
)
def test_damage_is_told(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(AssertionError, match=said):
        assert not survey.damage(surveys(**changes)["cp1"]), survey.damage(surveys(**changes)["cp1"])


def test_a_backup_that_is_gone_is_missed() -> None:
    assert "20261121T190000Z-cp1, is not on cp1 any more" in survey.lost(
        surveys(), {"host": "cp1", "name": "20261121T190000Z-cp1"}
    )
    # A host that is not looked at can't be said to have lost anything.
    assert survey.lost(surveys(), {"host": "cp9", "name": "x"}) == ""
    assert survey.lost(surveys(), None) == ""
