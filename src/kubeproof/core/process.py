"""Running other programs, with errors that say which one failed and what it said."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from kubeproof.core.errors import KubeproofError

# What is kept of a failed program's output: enough for its last words, not a screenful.
_LAST_LINES = 12

# How long an interrupted program may take to end, in seconds.
_TIME_TO_TIDY = 15.0


@dataclass(frozen=True)
class Result:
    """What a program that has ended left behind."""

    returncode: int
    stdout: str
    stderr: str

    @property
    def ok(self) -> bool:
        """Whether it ended with success."""
        return self.returncode == 0


class ProgramFailed(KubeproofError):
    """A program ended with an error."""

    def __init__(self, command: Sequence[str], result: Result, *, hint: str = "") -> None:
        """Name the command and repeat its last words."""
        said = (result.stderr.strip() or result.stdout.strip()).splitlines()[-_LAST_LINES:]
        lines = [f"`{shlex.join(command)}` ended with {result.returncode}", *said]
        super().__init__("\n    ".join(lines), hint=hint)
        self.result = result


def attempt(
    command: Sequence[str],
    *,
    stdin: str | bytes | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float | None = None,
) -> Result:
    """Run a program to its end and return what it left, whether it succeeded or not."""
    data = stdin.encode() if isinstance(stdin, str) else stdin
    try:
        # Without input it is given an end of file, never this process's terminal.
        done = subprocess.run(command, input=data or b"", capture_output=True, env=env, timeout=timeout, check=False)
    except FileNotFoundError as error:
        raise KubeproofError(f"`{command[0]}` is not installed") from error
    except subprocess.TimeoutExpired as error:
        raise KubeproofError(f"`{shlex.join(command)}` did not end within {timeout:.0f} s") from error
    return Result(
        done.returncode,
        done.stdout.decode(errors="replace"),
        done.stderr.decode(errors="replace"),
    )


def run(
    command: Sequence[str],
    *,
    stdin: str | bytes | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float | None = None,
) -> str:
    """Run a program that must succeed and return its standard output."""
    result = attempt(command, stdin=stdin, env=env, timeout=timeout)
    if not result.ok:
        raise ProgramFailed(command, result)
    return result.stdout


def attend(
    command: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    output: IO[str] | None = None,
) -> int:
    """Run a program that speaks for itself, on this process's terminal, to its end; returns its exit status.

    ``output``: where its standard output goes instead of this process's.

    Ctrl-C reaches it as it reaches this process: it gets the time to put things in order, and is ended if it does not.
    """
    with subprocess.Popen(command, env=env, cwd=cwd, stdout=output) as process:
        try:
            return process.wait()
        except KeyboardInterrupt:
            try:
                process.wait(timeout=_TIME_TO_TIDY)
            except subprocess.TimeoutExpired:
                process.kill()
            raise
