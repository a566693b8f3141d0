"""A restore is resumed while it is what the operator has agreed to, and no longer."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest
from tests.unit.restore import made
from tests.unit.restore.test_record import NOW, restore

from kubeproof.restore.checking import Look
from kubeproof.restore.resuming import outdated

BEGUN = restore(Path("/backups/B"))
PLACED = made.look("cp1", placed=BEGUN.id)
STOPPED = made.look("cp2", active=False, live={})
SERVING = made.look("cp2")


@pytest.mark.parametrize(
    "looks",
    [
        [made.look("cp1", active=False, live={}), STOPPED],
        [PLACED, STOPPED],
        # Data of the restore itself, which waits for the others, and then has them.
        [PLACED, made.look("cp2", live=made.live("cp2", leader=False))],
        [PLACED, made.look("cp2", placed=BEGUN.id)],
    ],
)
def test_one_whose_members_are_as_it_left_them_is_resumed(looks: list[Look]) -> None:
    assert outdated(BEGUN, looks, NOW) == ""


@pytest.mark.parametrize("hours", [-1, 24, 2000])
def test_one_of_another_day_is_not(hours: int) -> None:
    later = NOW + datetime.timedelta(hours=hours)
    assert outdated(BEGUN, [PLACED, STOPPED], later) == "that is not within the last 24 hours"


@pytest.mark.parametrize(
    "looks",
    [[made.look("cp1"), SERVING], [PLACED, SERVING], [PLACED, made.look("cp2", placed="20250101T000000Z")]],
    ids=["another cluster", "a member that was replaced", "another restore"],
)
def test_nor_one_that_would_replace_what_serves(looks: list[Look]) -> None:
    assert "cp2 has quorum, with data that is not of this restore" in outdated(BEGUN, looks, NOW)
