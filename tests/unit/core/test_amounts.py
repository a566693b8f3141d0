"""Amounts in words."""

from __future__ import annotations

import pytest

from kubeproof.core import amounts
from kubeproof.verify.report.html.words import ago


@pytest.mark.parametrize(
    ("number", "said"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (32_010_240, "30.5 MiB"), (5 << 40, "5120.0 GiB")],
)
def test_bytes(number: int, said: str) -> None:
    assert amounts.size(number) == said


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (-1, "in the future"),
        (59, "just now"),
        (60, "1 minute ago"),
        (7199, "119 minutes ago"),
        (7200, "2 hours ago"),
        (90_000, "25 hours ago"),
        (200_000, "2 days ago"),
    ],
)
def test_how_long_ago(seconds: float, said: str) -> None:
    assert ago(seconds) == said
