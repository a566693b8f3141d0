"""What the report tells of backups, from what hosts have written down, and how the page draws it."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Sequence
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
from tests.unit.verify.report.test_html import check, load

from kubeproof.core import paths
from kubeproof.verify.etcd_backups import history
from kubeproof.verify.etcd_backups.survey import Survey
from kubeproof.verify.report.html import backups, render

HOUR, DAY = 3600.0, 86400.0
# 2026-11-21 20:00:00 UTC
NOW = 1795291200.0
SCHEMA = json.loads((paths.PROJECT / "docs" / "report.schema.json").read_text())


def moment(at: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))


def name(at: float, host: str = "cp1") -> str:
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(at)) + "-" + host


def made(at: float, host: str = "cp1", **more: Any) -> dict[str, Any]:
    """An event of the history; a manifest says the same and more."""
    figures = {"revision": 700, "keys": 300, "size": 5_000_000, "trigger": "schedule", "quorum": True}
    return {"at": moment(at + 2), "event": "backup", "name": name(at, host), **figures, **more}


def survey(*events: dict[str, Any], host: str = "cp1", kept: Sequence[float] = (), **records: Any) -> Survey:
    """A host that keeps the backups of these times, and remembers what has happened."""
    found = {
        "now": NOW,
        "configuration": {"interval": 3600, "overdue": 4500, "drill": {"overdue": 95_000}},
        "backups": {name(at, host): made(at, host) for at in kept},
        "records": {"proven": None, "targets": {}, **records},
        "history": [*events],
    }
    return Survey(host, found)


def told(*surveys: Survey) -> dict[str, Any]:
    found = history.history(surveys)
    assert found
    jsonschema.validate(found, {**SCHEMA["$defs"]["backups"], "$defs": SCHEMA["$defs"]})
    return found


def drawn(found: dict[str, Any]) -> backups.History:
    picture = backups.history(found)
    assert picture
    return picture


def page(found: dict[str, Any] | None) -> str:
    return check(render({**load("proven"), "backups": found} if found else load("proven"))).words


def test_backups_of_all_hosts_are_told_newest_first_those_that_are_gone_too() -> None:
    one, two, three = NOW - 3 * HOUR, NOW - 2 * HOUR, NOW - HOUR
    found = told(
        survey(made(one), made(three), kept=[three]),
        survey(made(two, "cp2"), host="cp2", kept=[two]),
    )
    assert [(each["host"], each["kept"], each["age_seconds"]) for each in found["made"]] == [
        ("cp1", True, HOUR),
        ("cp2", True, 2 * HOUR),
        ("cp1", False, 3 * HOUR),
    ]
    assert found["interval_seconds"] == 3600
    assert history.line(found) == "last backup 2026-11-21T19:00:00Z on cp1; none proven restorable yet"


def test_a_backup_without_a_manifest_is_told_and_is_not_the_last_good_one() -> None:
    at = NOW - HOUR
    one = survey(made(NOW - 2 * HOUR), made(at), kept=[NOW - 2 * HOUR, at])
    broken = Survey("cp1", {**one.found, "backups": {**one.found["backups"], name(at): None}})
    found = told(broken)
    assert found["made"][0]["problem"] == "its manifest cannot be read"
    assert "2026-11-21T18:00:00Z on cp1" in history.line(found)
    assert drawn(found).sizes.state == "refuted"
    assert "its manifest cannot be read" in page(found)


def test_proofs_and_copies_are_those_of_the_records() -> None:
    one, two, three = NOW - 3 * HOUR, NOW - 2 * HOUR, NOW - HOUR
    copied = {"event": "copy", "target": "far", "ok": True}
    here = survey(
        made(one), made(two), made(three),
        {"at": moment(one + 900), "event": "drill", "name": name(one)},
        {**copied, "at": moment(two), "sent": [name(one), name(two)], "removed": []},
        kept=[one, two, three],
        proven={"name": name(two), "at": moment(two + 900)},
        targets={"far": {"ok": False, "at": moment(NOW), "reason": "no route", "newest": name(two)}},
    )  # fmt: skip
    other = survey({**copied, "at": moment(three), "sent": [], "removed": [name(one)]}, host="cp2")
    found = told(here, other)
    assert [each["proven"] for each in found["made"]] == [None, moment(two + 900), moment(one + 900)]
    assert [each["copies"] for each in found["made"]] == [[], ["far"], []]
    assert found["proven"] == {"name": name(two), "host": "cp1", "at": moment(two + 900), "age_seconds": 6300}
    assert history.warnings(found) == [f"cp1: the last copy of backups to far failed at {moment(NOW)}: no route"]
    picture = drawn(found)
    assert [(lane.title, len(lane.marks), lane.state) for lane in picture.lanes] == [
        ("Proven restorable", 2, "proven"),
        ("Copies at far", 1, "refuted"),
    ]


def test_failures_are_told_once_and_those_that_go_on_together() -> None:
    down = [
        {
            "at": moment(NOW - 900 * turn),
            "event": "copy",
            "target": "nfs",
            "ok": False,
            "sent": [],
            "reason": "it is down",
        }
        for turn in range(5, 0, -1)
    ]
    whole = {"at": moment(NOW - 900), "event": "failure", "job": "copy", "reason": "nfs: it is down"}
    full = {"at": moment(NOW - 60), "event": "failure", "job": "save", "reason": "the disk is full"}
    found = told(survey(*down, whole, full))
    assert [(each["job"], each["target"]) for each in found["failures"]] == [("save", None), *[("copy", "nfs")] * 5]
    failures = drawn(found).failures
    assert [(each.what, each.times) for each in failures] == [("backup", 1), ("copy to nfs", 5)]
    assert "and 4 more before" in page(found)
    assert "the disk is full" in page(found)


def test_no_host_that_makes_backups_is_no_history() -> None:
    assert history.history([]) is None
    assert backups.history(None) is None
    assert "makes no backups of this cluster's etcd" in page(None)


def test_none_yet_is_said() -> None:
    assert "There is no backup yet" in page(told(survey()))


def test_one_is_drawn_and_that_it_is_late_is_seen() -> None:
    assert drawn(told(survey(made(NOW - 60), kept=[NOW - 60]))).sizes.state == "proven"
    late = told(survey(made(NOW - DAY), kept=[NOW - DAY], proven={"name": "x", "at": moment(NOW - 2 * DAY)}))
    assert [drawn(late).sizes.state, drawn(late).lanes[0].state] == ["refuted", "refuted"]
    assert "1 backup kept" in page(late)


@pytest.mark.parametrize("number", [1, 2, 200, 1500])
def test_however_many_there_are_each_has_its_place(number: int) -> None:
    times = [NOW - HOUR * (turn + 0.1) for turn in range(number)]
    found = told(survey(*map(made, reversed(times)), kept=times[:300]))
    picture = drawn(found)
    places = [mark.x for mark in picture.sizes.marks]
    assert len(places) == min(number, 1000)
    assert 0 < min(places) <= max(places) < 100
    by_age = sorted(places)
    assert len(set(by_age)) == len(by_age) or number > 500
    assert picture.ticks[-1].text == "now"
    assert len(picture.rows) + picture.unlisted == min(number, 300)
    assert len(page(found)) < 200_000


def test_what_is_written_down_is_text_wherever_it_is_shown() -> None:
    evil = "<script>alert(1)</script>"
    event = {"at": moment(NOW - 60), "event": "failure", "job": "save", "reason": evil}
    html = render({**load("proven"), "backups": told(survey(event, made(NOW - HOUR), kept=[NOW - HOUR]))})
    check(html)
    assert len(re.findall("<script>", html)) == 1
