"""What a reset does: each thing recorded, done unless it is only asked for, and failures collected."""

from __future__ import annotations

from typing import Callable, Dict, List, Optional, Sequence

from ansible.module_utils import commands
from ansible.module_utils.commands import CommandFailed

TIMEOUT = 120


class Unfinished(Exception):
    """Something failed that everything after it builds on."""


class Account:
    """The changes made (in check mode: to be made), what stays and why, and what failed.

    One failure doesn't keep the rest from being undone: what is left is less, and the next run has only that to do.
    """

    def __init__(self, check_mode: bool = False) -> None:
        self.check_mode = check_mode
        self.changes: List[Dict[str, str]] = []
        self.kept: List[Dict[str, str]] = []
        self.problems: List[str] = []

    def undo(self, path: str, what: str, action: Callable[[], object]) -> None:
        """Record one change and make it."""
        self.undo_all([path], what, action)

    def undo_all(self, paths: Sequence[str], what: str, action: Callable[[], object]) -> None:
        """Record changes that one action makes; without any the action is not called."""
        self.changes += [{"path": path, "what": what} for path in paths]
        if self.check_mode or not paths:
            return
        try:
            action()
        except (OSError, CommandFailed) as error:
            self.problems.append("%s could not be %s: %s" % (", ".join(paths), what, error))

    def keep(self, path: str, why: str) -> None:
        """Record what stays on the host."""
        self.kept.append({"path": path, "why": why})


def run(command: Sequence[str], stdin: str = "", environment: Optional[Dict[str, str]] = None) -> str:
    """Standard output of a program that must succeed, and that a reset does not wait for without end."""
    output: str = commands.run(command, stdin, environment, TIMEOUT)
    return output
