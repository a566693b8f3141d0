"""Waiting for something."""

from __future__ import annotations

import time

from kubeproof.core import waiting


def test_what_is_found_is_returned_as_soon_as_it_is_there() -> None:
    looks = iter(["", "", "there", "later"])
    assert waiting.until(lambda: next(looks), 60, pause=0.001) == "there"


def test_what_is_not_found_in_time_is_looked_at_until_then() -> None:
    looks: list[float] = []
    begun = time.monotonic()
    assert waiting.until(lambda: looks.append(time.monotonic()), 0.05, pause=0.01) is None
    assert 0.05 <= time.monotonic() - begun < 5
    assert looks[-1] - begun > 0.03
    assert len(looks) > 1


def test_without_time_it_is_looked_at_once() -> None:
    looks: list[int] = []
    assert waiting.until(lambda: looks.append(1) or "there", 0, pause=60) == "there"  # type: ignore[func-returns-value]
    assert looks == [1]
