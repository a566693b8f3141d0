"""Who makes the backup: one member, and another if that one can't. Agreed on in etcd itself."""

from __future__ import annotations

import contextlib
import ctypes
import json
import select
import signal
import subprocess
import time
from typing import Any, Iterator, Mapping

from kubeproof.backup.agent.errors import BackupError
from kubeproof.backup.agent.programs import Ctl
from kubeproof.backup.agent.records import epoch
from kubeproof.backup.agent.running import environment, last_words

LOCK = "/kubeproof/backup/lock"
LAST = "/kubeproof/backup/last"
# Clocks of hosts may differ by so much, in seconds, before a record is from the future.
SKEW_SECONDS = 60
# A lock whose holder is gone is free after so many seconds.
_LOCK_TTL = 30
_RELEASE_SECONDS = 10
_PR_SET_PDEATHSIG = 1


class NotLockable(BackupError):
    """etcd grants nobody the lock, for example because it takes no writes (alarm NOSPACE)."""


def last_good(ctl: Ctl, *, everywhere: bool = False) -> Mapping[str, Any] | None:
    """The record of the cluster's last good backup, read through a majority; None if there is none.

    Raises ProgramFailed without a majority.
    """
    said = ctl.run("get", LAST, "--print-value-only", everywhere=everywhere).strip()
    if not said:
        return None
    try:
        record = json.loads(said)
        epoch(record["finished"])
    except (ValueError, KeyError, TypeError):
        # Whatever wrote this: there has to be a backup, which then writes the record anew.
        return None
    return dict(record)


def enough(record: Mapping[str, Any] | None, interval: float, now: float) -> bool:
    """Whether a record spares a scheduled run its work: it is younger than half the interval, by a clock like ours."""
    if record is None:
        return False
    age = now - epoch(record["finished"])
    return -SKEW_SECONDS <= age < interval / 2


def note(ctl: Ctl, record: Mapping[str, Any]) -> None:
    """Write the record of a good backup. Raises ProgramFailed without a majority."""
    ctl.run("put", LAST, json.dumps(record, sort_keys=True))


@contextlib.contextmanager
def lock(ctl: Ctl, patience: float) -> Iterator[None]:
    """Hold the lock in etcd. Who is waited for is at work on a backup.

    Raises BackupError after ``patience``, NotLockable if etcd refuses.
    """
    process = subprocess.Popen(
        ctl.command("lock", LOCK, "--ttl=%d" % _LOCK_TTL),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
        preexec_fn=_die_with_parent,  # noqa: PLW1509 - this program has one thread
    )
    try:
        _wait_until_held(process, patience)
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.communicate(timeout=_RELEASE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


def _wait_until_held(process: subprocess.Popen[bytes], patience: float) -> None:
    """``etcdctl lock`` says the key of the lock once it has it."""
    assert process.stdout is not None and process.stderr is not None  # noqa: S101, PT018 - for the type checker
    deadline = time.monotonic() + patience
    ready, _, _ = select.select([process.stdout], [], [], max(0.0, deadline - time.monotonic()))
    if not ready:
        raise BackupError(
            "another host has held the lock %s for %.0f s: check etcd-backup.service there" % (LOCK, patience)
        )
    if not process.stdout.readline():
        raise NotLockable("etcdctl lock: %s" % last_words(process.stderr.read()))


def _die_with_parent() -> None:
    """Have the kernel end the lock's keeper with this program, however that ends: an orphan would keep the lock."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
