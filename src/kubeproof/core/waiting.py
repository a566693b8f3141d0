"""Waiting for something by looking at it again and again."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

Found = TypeVar("Found")


def until(look: Callable[[], Found], seconds: float, *, pause: float) -> Found:
    """What ``look`` returns once that is true; when time is up, what it returned last. It is called at least once."""
    deadline = time.monotonic() + seconds
    while not (found := look()) and time.monotonic() <= deadline:
        time.sleep(pause)
    return found
