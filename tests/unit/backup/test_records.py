"""What the records on a host say that an operator should look into."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kubeproof.backup.agent import records
from kubeproof.backup.agent.records import Records, timestamp

HOUR, DAY = 3600.0, 86400.0
NOW = records.epoch("2026-11-21T20:00:00Z")
OVERDUE = 2 * DAY


def status(proven: float | None = None, **changes: Any) -> dict[str, Any]:
    """How things are on a host that made a backup an hour ago, and proved one at that time, if it did."""
    known: dict[str, Any] = {
        "attempts": {},
        "targets": {},
        "cluster": {"finished": timestamp(NOW - HOUR)},
        "proven": None if proven is None else {"name": "one", "at": timestamp(proven)},
    }
    return {**known, **changes}


def backups(*times: float) -> list[dict[str, Any]]:
    return [{"at": timestamp(time), "event": "backup"} for time in times]


def test_what_is_as_scheduled_is_no_problem() -> None:
    assert records.problems(status(), 2 * HOUR, NOW) == []
    assert records.unproven(status(NOW - DAY), backups(NOW - DAY - HOUR, NOW - HOUR), OVERDUE, NOW) == []


def test_a_backup_that_is_too_old_is_one() -> None:
    (said,) = records.problems(status(), HOUR / 2, NOW)
    assert said == "the last good backup is of 2026-11-21T19:00:00Z; there should be one that is younger"
    assert records.problems(status(cluster=None), HOUR, NOW) == ["there is no backup yet"]


@pytest.mark.parametrize("job", ["save", "copy", "drill"])
def test_so_is_a_job_that_failed(job: str) -> None:
    attempts = {job: {"at": timestamp(NOW), "ok": False, "reason": "the disk is full"}}
    (said,) = records.problems(status(attempts=attempts), 2 * HOUR, NOW)
    assert said == f"the last {job} failed at 2026-11-21T20:00:00Z: the disk is full"


def test_a_proof_is_overdue_once_a_later_backup_has_waited_for_its_drill_too_long() -> None:
    every_hour = [NOW - hours * HOUR for hours in range(1, 80)]
    assert records.unproven(status(NOW - OVERDUE), backups(*every_hour), OVERDUE, NOW) == []
    (said,) = records.unproven(status(NOW - 3 * DAY), backups(*every_hour), OVERDUE, NOW)
    assert said == (
        "the last proven restore is of 2026-11-18T20:00:00Z, and one that was made at 2026-11-18T21:00:00Z waits for "
        "its drill since"
    )


def test_so_it_is_if_there_never_was_one() -> None:
    assert records.unproven(status(), backups(NOW - DAY), OVERDUE, NOW) == []
    (said,) = records.unproven(status(), backups(NOW - 3 * DAY, NOW - HOUR), OVERDUE, NOW)
    assert said.startswith("no backup was proven restorable here yet, and one that was made at 2026-11-18T20:00:00Z")


def test_a_host_has_nothing_to_prove_if_another_one_makes_the_backups() -> None:
    assert records.unproven(status(), [], OVERDUE, NOW) == []
    assert records.unproven(status(NOW - 9 * DAY), backups(NOW - 10 * DAY), OVERDUE, NOW) == []
    # It has made one since, and there is time for its drill, whatever the age of the last one.
    assert records.unproven(status(NOW - 9 * DAY), backups(NOW - 10 * DAY, NOW - HOUR), OVERDUE, NOW) == []


def test_without_a_schedule_no_drill_is_overdue_and_the_future_counts_for_nothing() -> None:
    assert records.unproven(status(), backups(NOW - 9 * DAY), None, NOW) == []
    assert records.unproven(status(), backups(NOW + DAY), OVERDUE, NOW) == []


def test_so_does_a_proof_from_it() -> None:
    events = [*backups(NOW - 4 * DAY, NOW - 3 * DAY), {"at": timestamp(NOW - 3.5 * DAY), "event": "drill"}]
    (said,) = records.unproven(status(NOW + 30 * DAY), events, OVERDUE, NOW)
    assert said.startswith("the last proven restore is of 2026-11-18T08:00:00Z, and one that was made at 2026-11-18T20")
    assert records.unproven(status(NOW + 30 * DAY), events[:1] + events[2:], OVERDUE, NOW) == []


def test_a_last_backup_from_the_future_hides_none_that_is_missing() -> None:
    (said,) = records.problems(status(cluster={"finished": timestamp(NOW + 30 * DAY)}), HOUR, NOW)
    assert said == "the last good backup is of 2026-12-21T20:00:00Z, which is in the future: check the clocks"
    # Another host's clock may be a little ahead.
    assert records.problems(status(cluster={"finished": timestamp(NOW + 60)}), HOUR, NOW) == []


def test_the_history_is_what_was_told(tmp_path: Path) -> None:
    known = Records(tmp_path)
    assert known.history() == []
    known.tell("backup", name="one")
    known.tell("failure", job="drill", reason="it was cut")
    with (tmp_path / records.HISTORY).open("a") as stream:
        stream.write('{"at": "2026')
    assert [(event["event"], event.get("job")) for event in known.history()] == [("backup", None), ("failure", "drill")]
