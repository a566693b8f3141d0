"""What all jobs (``save``, ``copy``, ``drill``) have in common: one at a time, recorded, and loud if they fail."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
import traceback
from typing import Any, Callable, Iterator

from kubeproof.backup.agent import files, metrics
from kubeproof.backup.agent.configuration import Configuration
from kubeproof.backup.agent.errors import BackupError, Busy, Ended
from kubeproof.backup.agent.records import Records, now

# The hook of a failure may take so long, in seconds, before it is ended.
HOOK_SECONDS = 60
_TERMINATED = "it was ended by SIGTERM: systemd does so when the time or the memory of its unit is over, or on request"


def run(configuration: Configuration, job: str, work: Callable[[], str], limit: float = 0) -> int:
    """Do a job, which raises BackupError or OSError if it can't be done, else says in a line what it did.

    It has ``limit`` seconds; 0: as long as it takes. Records the attempt, calls the hook after a failure, writes the
    metrics; returns the exit status.
    """
    started = time.monotonic()
    busy = "another %s is at work on this host" % job
    try:
        with _ending(limit), files.locked(configuration.state / (".%s.lock" % job), busy=busy):
            print(work(), flush=True)
        reason = ""
    except Busy as error:
        # The timer's run met a manual one, or the other way round: the one that is at work records what comes of it.
        print("kubeproof-backup %s: %s" % (job, error), file=sys.stderr, flush=True)
        return 1
    except (BackupError, Ended) as error:
        reason = str(error)
    except OSError as error:
        reason = "the disk is full: %s" % error if files.no_space(error) else str(error)
    except Exception as error:  # noqa: BLE001 - what nobody has thought of is reported, too
        traceback.print_exc()
        reason = "%s: %s" % (type(error).__name__, error)
    _record(configuration, job, reason, time.monotonic() - started)
    if reason:
        print("kubeproof-backup %s failed: %s" % (job, reason), file=sys.stderr, flush=True)
        alert(configuration, job, reason)
    return 1 if reason else 0


@contextlib.contextmanager
def _ending(limit: float) -> Iterator[None]:
    """Raise Ended in a ``with`` block on SIGTERM, and when its time is over; once, so that it can clean up."""

    def end(number: int, _: Any) -> None:
        for each in before:
            # Not SIG_IGN, which programs that are started from now on would inherit.
            signal.signal(each, lambda *_: None)
        raise Ended("it was not finished within %.0f s" % limit if number == signal.SIGALRM else _TERMINATED)

    before = {each: signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGALRM)}
    try:
        for each in before:
            signal.signal(each, end)
        signal.setitimer(signal.ITIMER_REAL, limit)
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for each, handler in before.items():
            signal.signal(each, handler)


def _record(configuration: Configuration, job: str, reason: str, seconds: float) -> None:
    """Note the attempt. On a disk that is full this fails too, which must not keep the alert from being given."""
    records = Records(configuration.state)
    attempt = {"at": now(), "ok": not reason, "reason": reason, "seconds": round(seconds, 3)}
    try:
        with records.changing() as status:
            status["attempts"][job] = attempt
            status["failures"][job] = status["failures"].get(job, 0) + bool(reason)
        if reason:
            records.tell("failure", job=job, reason=reason)
        metrics.write(configuration, records.status())
    except OSError as error:
        print("kubeproof-backup: the records cannot be written: %s" % error, file=sys.stderr, flush=True)


def alert(configuration: Configuration, job: str, reason: str) -> None:
    """Run the operator's command, whose environment describes what has happened."""
    if not configuration.on_failure:
        return
    told = {
        "KUBEPROOF_JOB": job,
        "KUBEPROOF_REASON": reason,
        "KUBEPROOF_HOST": configuration.host,
        "KUBEPROOF_CLUSTER": configuration.cluster,
        "KUBEPROOF_DIRECTORY": str(configuration.directory),
    }
    command = list(configuration.on_failure)
    try:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, env={**os.environ, **told}, start_new_session=True
        )
    except OSError as error:
        print("kubeproof-backup: %s cannot be run: %s" % (command[0], error.strerror), file=sys.stderr, flush=True)
        return
    try:
        status = process.wait(HOOK_SECONDS)
        problem = "ended with %d" % status if status else ""
    except subprocess.TimeoutExpired:
        problem = "did not end within %d s, and was ended" % HOOK_SECONDS
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, 9)
        process.wait()
    if problem:
        print("kubeproof-backup: %s %s" % (command[0], problem), file=sys.stderr, flush=True)
