"""What the checker finds in a history, and what does not fool it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kubeproof.verify.faults.checker import History, longest_gap, violations


def write(value: int, start: float, end: float, outcome: str = "ok", register: int = 0) -> dict[str, Any]:
    return {"op": "write", "register": register, "value": value, "start": start, "end": end, "outcome": outcome}


def read(value: int, start: float, end: float, register: int = 0) -> dict[str, Any]:
    return {"op": "read", "register": register, "value": value, "start": start, "end": end, "outcome": "ok"}


def lease(holder: str, acquired: str, renewed: str, end: float, *, missed: bool = False) -> dict[str, Any]:
    day = "2026-01-01T00:00:"
    return {
        "op": "lease",
        "name": "kube-scheduler",
        "holder": holder,
        "acquired": f"{day}{acquired}.000000Z",
        "renewed": f"{day}{renewed}.000000Z",
        "duration": 15,
        "missed": missed,
        "end": end,
    }


def kinds(*entries: dict[str, Any], final: int | None = None) -> list[str]:
    history = History.parse(json.dumps(entry) for entry in entries)
    return [violation.kind for violation in violations(history, {} if final is None else {0: final})]


def test_a_history_without_faults() -> None:
    assert kinds(write(1, 0, 1), read(1, 1.5, 2), write(2, 2, 3), read(2, 4, 5), final=2) == []


def test_an_acknowledged_write_that_is_not_there_at_the_end() -> None:
    assert kinds(write(1, 0, 1), write(2, 2, 3), final=1) == ["lost"]
    assert kinds(write(1, 0, 1), final=None) == ["lost"]


def test_an_unacknowledged_write_may_be_there_or_not() -> None:
    for final in (1, 2):
        assert kinds(write(1, 0, 1), write(2, 2, 9, "unknown"), final=final) == []


def test_a_read_that_began_after_an_acknowledgement_sees_it() -> None:
    assert kinds(write(1, 0, 1), write(2, 2, 3), read(1, 3.5, 4), final=2) == ["stale"]


def test_a_read_beside_a_write_may_see_either() -> None:
    for seen in (1, 2):
        assert kinds(write(1, 0, 1), read(seen, 2.5, 2.8), write(2, 2, 3), final=2) == []


def test_what_one_reader_has_seen_the_next_one_sees() -> None:
    beside = (write(1, 0, 1), write(2, 2, 9, "unknown"))
    assert kinds(*beside, read(2, 3, 4), read(1, 5, 6), final=2) == ["backwards"]
    assert kinds(*beside, read(2, 3, 6), read(1, 4, 5), final=2) == []


def test_a_value_from_nowhere() -> None:
    assert kinds(write(1, 0, 1), read(7, 2, 3), final=1) == ["future"]


def test_a_write_that_the_recorder_was_ended_in() -> None:
    assert kinds(write(1, 0, 1), read(2, 2, 3), final=2) == []
    assert kinds(write(1, 0, 1), read(2, 2, 3), write(2, 4, 5), final=2) == ["future"], "that one had not begun"


def test_registers_are_apart() -> None:
    assert kinds(write(5, 0, 1), read(0, 2, 3, register=1), write(1, 4, 5, register=1), final=5) == ["lost"]


def test_a_leader_that_takes_over_too_early() -> None:
    first = lease("a_1", "00", "10", 10)
    assert kinds(first, lease("b_2", "26", "26", 26)) == []
    assert kinds(first, lease("b_2", "18", "18", 18)) == ["split-leader"]


def test_a_lease_that_was_given_up_is_free_at_once() -> None:
    assert kinds(lease("a_1", "00", "10", 10), lease("", "00", "11", 11), lease("b_2", "12", "12", 12)) == []


def test_what_was_missed_is_not_judged() -> None:
    assert kinds(lease("a_1", "00", "10", 10), lease("b_2", "12", "12", 12, missed=True)) == []


def test_a_line_that_was_cut_off_is_left_out() -> None:
    history = History.parse([json.dumps(write(1, 0, 1)), '{"op": "wri'])
    assert history.counts() == {"write": {"ok": 1}}


@pytest.mark.parametrize(
    ("successes", "start", "end", "expected"),
    [
        ([1, 2, 3, 8, 9], 2.5, 8.5, (3, 5)),
        ([1, 2, 3, 8, 9], 4, 7, (3, 5)),
        ([1, 2, 3], 4, 7, (3, 4)),
        ([], 4, 7, (4, 3)),
        ([9], 4, 7, (4, 5)),
        ([1, 2, 3, 4], 1, 4, (1, 1)),
    ],
)
def test_gaps_are_from_success_to_success(
    successes: list[float], start: float, end: float, expected: tuple[float, float]
) -> None:
    gap = longest_gap(successes, start, end)
    assert (gap.start, gap.seconds) == expected
