"""Running other programs, with errors that say which one failed and what it said."""

from __future__ import annotations

import contextlib
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import IO

from kubeproof.core.errors import KubeproofError

# What is kept of a failed program's output: enough for its last words, not a screenful.
_LAST_LINES = 12

# How long an interrupted program may take to end, in seconds.
_TIME_TO_TIDY = 15.0

# What a process is asked to end with, and how it learns that its terminal is gone.
_ENDINGS = (signal.SIGTERM, signal.SIGHUP)


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


def interrupt_when_ended(then: Callable[[], None] = lambda: None) -> None:
    """Take SIGTERM and SIGHUP like Ctrl-C, so that all is put in order; ``then``: what to do first.

    Once: a terminal that closes may say so twice, and the second time would interrupt what is being put in order. Under
    ``nohup`` SIGHUP stays ignored.
    """
    handled = [each for each in _ENDINGS if signal.getsignal(each) != signal.SIG_IGN]

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        for each in handled:
            # Not SIG_IGN, which programs that are started from now on would inherit.
            signal.signal(each, lambda *_: None)
        then()
        raise KeyboardInterrupt

    for each in handled:
        signal.signal(each, interrupt)


def attend(
    command: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    output: IO[str] | None = None,
    time_to_tidy: float | None = _TIME_TO_TIDY,
) -> int:
    """Run a program that speaks for itself, on this process's terminal, to its end; returns its exit status.

    ``output``: where its standard output goes instead of this process's.

    Ctrl-C reaches it as it reaches this process, SIGTERM and SIGHUP are passed on: it gets ``time_to_tidy`` seconds to
    put things in order, or as many as it needs (None), and is ended if it does not, or at a second Ctrl-C.
    """
    with subprocess.Popen(command, env=env, cwd=cwd, stdout=output) as process, _ending(process):
        try:
            return process.wait()
        except KeyboardInterrupt:
            _await_tidied(process, time_to_tidy)
            raise


@contextmanager
def _ending(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Pass on to a program that this one is to end. Signals are the main thread's alone."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {each: signal.getsignal(each) for each in _ENDINGS}
    interrupt_when_ended(process.terminate)
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def _await_tidied(process: subprocess.Popen[bytes], seconds: float | None) -> None:
    if seconds is None:
        # There may be nobody to tell any more.
        with contextlib.suppress(OSError):
            print("\nkubeproof: waiting until all is put in order; Ctrl-C again ends it at once", file=sys.stderr)
    try:
        process.wait(timeout=seconds)
    except (KeyboardInterrupt, subprocess.TimeoutExpired):
        process.kill()
