"""A recording in steps of time."""

from __future__ import annotations

import random
from typing import Any

from kubeproof.verify.faults.timeline import MOST_STEPS, timeline


def entry(op: str, start: float, end: float, outcome: str = "ok") -> dict[str, Any]:
    return {"op": op, "start": start, "end": end, "outcome": outcome}


def test_answers_are_in_the_step_in_which_they_came() -> None:
    line = timeline(
        [
            entry("write", 10, 10.2),
            entry("write", 10.5, 11.5),
            entry("write", 11.2, 11.3, "conflict"),
            entry("write", 11.3, 13, "unknown"),
            entry("read", 10, 10.1),
            entry("request", 10, 12.5, "failed"),
            {"op": "lease", "end": 900.0},
        ]
    )
    assert line == {
        "start": 10,
        "step": 1,
        "writes": {"ok": [1, 1, 0], "failed": [0, 1, 1]},
        "reads": {"ok": [1, 0, 0], "failed": [0, 0, 0]},
        "requests": {"ok": [0, 0, 0], "failed": [0, 0, 1]},
        "slowest_write_ms": [200, 1000, None],
    }


def test_of_nothing_there_are_no_steps() -> None:
    line = timeline([])
    assert line["writes"] == {"ok": [], "failed": []}
    assert line["slowest_write_ms"] == []


def test_what_took_no_time_is_one_step() -> None:
    assert timeline([entry("write", 5, 5)])["writes"]["ok"] == [1]


def test_hours_are_as_many_steps_as_a_picture_can_show_and_lose_nothing() -> None:
    chance = random.Random(1)  # noqa: S311 - a course of things, no secret
    for hours in (0.05, 1 / 6, 0.5, 3, 24):
        starts = [chance.uniform(0, hours * 3600) for _ in range(5000)]
        line = timeline([entry("write", start, start + 0.01) for start in starts])
        steps = len(line["writes"]["ok"])
        assert steps <= MOST_STEPS
        # No coarser than needed.
        assert line["step"] == 1 or steps * line["step"] > (line["step"] - 1) * MOST_STEPS
        assert sum(line["writes"]["ok"]) == 5000
