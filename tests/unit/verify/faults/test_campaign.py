"""What fails a campaign that nothing was lost in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from kubeproof.verify.faults.campaign import ANSWER_SECONDS, Outcome, Struck
from kubeproof.verify.faults.checker import History
from kubeproof.verify.faults.kinds import KINDS

START = 1_760_000_000.0
REFUSING = next(kind for kind in KINDS if kind.refuses)


def write(at: float, took: float, outcome: str, value: int = 1) -> dict[str, Any]:
    return {
        "op": "write",
        "register": 0,
        "value": value,
        "start": START + at,
        "end": START + at + took,
        "outcome": outcome,
    }


def failures(*meanwhile: dict[str, Any], diverged: str = "") -> list[str]:
    """Of a majority that is lost from second 10 to 30, with writes before and after it."""
    around = [write(1, 0.1, "ok"), write(40, 0.1, "ok", 9)]
    requests = [
        {"op": "request", "start": START + at, "end": START + at + 0.1, "outcome": "ok"} for at in range(0, 45, 5)
    ]
    struck = Struck(REFUSING, "cp1", START + 9, START + 30, START + 31, held=START + 10)
    history = History(sorted([*around, *requests, *meanwhile], key=lambda entry: float(entry["end"])))
    found: list[str] = Outcome(history, [struck], started=START, diverged=diverged).document()["failures"]
    return found


def test_writes_that_are_refused_soon() -> None:
    assert failures(write(11, 7.0, "unknown"), write(19, 0.2, "unknown")) == []


@pytest.mark.parametrize(
    ("meanwhile", "said"),
    [
        ([write(11, 7.0, "unknown"), write(20, 0.1, "ok", 2)], "1 writes were acknowledged meanwhile"),
        ([], "no write was refused meanwhile"),
        ([write(11, ANSWER_SECONDS, "unknown")], "neither an answer nor a refusal for 15 s"),
    ],
)
def test_writes_that_are_not(meanwhile: list[dict[str, Any]], said: str) -> None:
    (only,) = failures(*meanwhile)
    assert said in only
    assert only.startswith(f"{REFUSING.name} on cp1")


def test_a_write_that_waits_until_there_is_a_majority_again() -> None:
    assert failures(write(11, 7.0, "unknown"), write(25, 6.0, "ok", 2)) == []


def test_members_that_differ_at_the_end() -> None:
    differing = "etcd's members differ at revision 7: {}"
    assert failures(write(11, 7.0, "unknown"), diverged=differing) == [differing]


def test_what_was_refused_is_told_by_kind() -> None:
    def entries() -> Iterator[dict[str, Any]]:
        yield write(11, 7.0, "unknown")
        yield {"op": "read", "register": 0, "value": 0, "start": START, "end": START, "outcome": "ok", "retries": 2}

    struck = Struck(REFUSING, "cp1", START + 9, START + 30, START + 31, held=START + 10)
    document = Outcome(History(list(entries())), [struck], started=START).document()
    assert document["kinds"][0]["slowest_refusal"] == 7.0
    assert document["retries"] == 2
