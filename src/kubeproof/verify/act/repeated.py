"""Something that is done again and again next to a test."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self


class Repeated:
    """Does something over and over, in a thread of its own, for the time of a ``with`` block."""

    def __init__(self, act: Callable[[], object], *, pause: float = 0.0, patience: float | None = None) -> None:
        """``pause``: seconds after each time. ``patience``: how long the end waits for the last time."""
        self._act, self._pause, self._patience = act, pause, patience
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._repeat, name=type(self).__name__, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join(self._patience)

    def _repeat(self) -> None:
        while not self._over.is_set():
            self._act()
            self._over.wait(self._pause)
