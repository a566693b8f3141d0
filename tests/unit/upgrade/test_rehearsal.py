"""What a rehearsal has said, for people."""

from __future__ import annotations

import json
from typing import Any

from kubeproof.upgrade import rehearsal

RESULT: dict[str, Any] = {
    "backup": "20260101T000000Z-cp1",
    "present": "1.36.3",
    "target": "1.37.2",
    "objects": 512,
    "kinds": 40,
    "written": 38,
    "skipped": {},
    "problems": [],
    "count": 0,
    "seconds": 61.2,
}


def problem(phase: str, name: str) -> dict[str, str]:
    return {"phase": phase, "resource": "limitranges", "name": name, "problem": "no kind is registered"}


def test_steps_come_before_the_result() -> None:
    lines = [json.dumps({"step": "restores"}), "a warning", "1", json.dumps({"result": RESULT})]
    assert rehearsal.said(lines) == (["restores"], RESULT, "")
    assert rehearsal.said([*lines[:1], json.dumps({"error": "disk full"})]) == (["restores"], None, "disk full")


def test_a_rehearsal_without_problems_is_a_line() -> None:
    assert rehearsal.problems(RESULT) == ""
    assert rehearsal.summary(RESULT) == (
        "1.37.2 read 512 objects of 40 kinds of backup 20260101T000000Z-cp1, wrote 38; 1.36.3 read them again; 61 s"
    )
    assert "2 kinds left out" in rehearsal.summary({**RESULT, "skipped": {"a.b": "", "c.d": ""}})


def test_problems_are_named_by_what_fails_and_kind() -> None:
    found = [*(problem("read", f"default/r{number}") for number in range(12)), problem("back", "/w")]
    lines = rehearsal.problems({**RESULT, "problems": found, "count": 13}).splitlines()
    assert lines[0] == "in the rehearsal of 1.37.2 13 objects failed:"
    assert lines[1].startswith("- the target cannot read limitranges: default/r0, default/r1")
    assert "default/r9 and 2 more: no kind is registered" in lines[1]
    assert lines[2] == "- the present version would not read afterwards limitranges: w: no kind is registered"
