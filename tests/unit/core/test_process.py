"""Programs that are interrupted get the time that they need, and no more than is wanted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

# Says what it is about, and takes its time to end: longer than an interrupted program usually has here.
_TIDYING = """
import sys, time
from kubeproof.core.process import interrupt_when_ended
interrupt_when_ended()
try:
    print("ready", flush=True)
    time.sleep(60)
except KeyboardInterrupt:
    time.sleep(1.5)
    print("tidied", flush=True)
"""
_ATTENDING = """
import sys
from kubeproof.core import process
try:
    process.attend([sys.executable, "-c", sys.argv[1]], time_to_tidy=LIMIT)
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


@contextmanager
def attended(limit: float | None, *start: str) -> Iterator[subprocess.Popen[str]]:
    """A process that attends another one, which has begun. Both are a process group of their own."""
    # As in a terminal, also where these tests run under nohup.
    start = start or ("env", "--default-signal=HUP")
    command = [*start, sys.executable, "-c", _ATTENDING.replace("LIMIT", repr(limit)), _TIDYING]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, process_group=0
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        yield process
        process.kill()


def said(process: subprocess.Popen[str]) -> list[str]:
    return process.communicate(timeout=30)[0].splitlines()


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGHUP])
def test_a_request_to_end_is_passed_on(ending: signal.Signals) -> None:
    with attended(None) as process:
        process.send_signal(ending)
        assert said(process) == ["tidied", "interrupted"]


def test_a_terminal_that_closes_may_say_so_twice() -> None:
    with attended(None) as process:
        for _ in range(2):
            os.killpg(process.pid, signal.SIGHUP)
            time.sleep(0.5)
        assert said(process) == ["tidied", "interrupted"]


def test_without_a_limit_it_has_the_time_that_it_needs() -> None:
    with attended(None) as process:
        os.killpg(process.pid, signal.SIGINT)
        assert said(process) == ["tidied", "interrupted"]


def test_a_second_interrupt_ends_it() -> None:
    with attended(None) as process:
        for _ in range(2):
            process.send_signal(signal.SIGINT)
            time.sleep(0.5)
        assert said(process) == ["interrupted"]


def test_with_a_limit_it_is_ended() -> None:
    with attended(0.1) as process:
        os.killpg(process.pid, signal.SIGINT)
        assert said(process) == ["interrupted"]


def test_nohup_stays_what_it_is() -> None:
    with attended(None, "sh", "-c", """trap "" HUP; exec "$@" """, "sh") as process:
        os.killpg(process.pid, signal.SIGHUP)
        time.sleep(0.5)
        assert process.poll() is None
        process.terminate()
        assert said(process) == ["tidied", "interrupted"]
