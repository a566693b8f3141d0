"""Errors that a person reads: what is wrong, and what to do about it."""

from __future__ import annotations


class KubeproofError(Exception):
    """An error that the operator can fix; shown without a traceback."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        """The message says in one sentence what is wrong, the hint how to fix it."""
        super().__init__(message)
        self.hint = hint

    def __str__(self) -> str:
        """Message and hint, as they go to the terminal."""
        message = str(self.args[0])
        return f"{message}\n  {self.hint}" if self.hint else message
