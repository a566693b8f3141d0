"""The backups that a directory holds."""

from __future__ import annotations

import calendar
import contextlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator, Sequence

from kubeproof.backup.agent import check, files, manifest
from kubeproof.backup.agent.errors import Damaged
from kubeproof.backup.agent.manifest import Manifest
from kubeproof.backup.agent.retention import SKEW_SECONDS

PARTIAL = ".partial-"
READERS = ".readers.lock"
"""Whoever reads backups holds this lock of the directory, shared; while somebody does, none is removed."""


@dataclass(frozen=True)
class Backup:
    """One backup: its manifest, or what is wrong with it."""

    path: Path
    manifest: Manifest | None
    problem: str = ""

    @property
    def name(self) -> str:
        """Its name."""
        return self.path.name

    @property
    def time(self) -> float:
        """When it was begun by its host's clock, epoch seconds: the name tells, also of a damaged one."""
        return parse_time(self.name)

    @property
    def bytes(self) -> int:
        """What it takes on the disk, as far as that can be seen."""
        return sum(entry.lstat().st_size for entry in self.path.iterdir()) if self.path.is_dir() else 0


def name(begun: float, host: str) -> str:
    """The name of a backup that is begun now."""
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(begun)) + "-" + host


def host_of(backup: str) -> str:
    """The host that made a backup, by its name."""
    return backup.partition("-")[2]


def parse_time(backup: str) -> float:
    """When a backup was begun, by its name."""
    return float(calendar.timegm(time.strptime(backup[:16], "%Y%m%dT%H%M%SZ")))


@contextlib.contextmanager
def reading(directory: Path) -> Iterator[None]:
    """For the time of a ``with`` block no backup in the directory is removed."""
    with files.locked(directory / READERS, shared=True):
        yield


def listing(directory: Path, ca_digest: str = "", etcdutl: str = "") -> list[Backup]:
    """The backups in a directory, newest first. With ``etcdutl`` each is read whole, which takes time."""
    found = [_look(path, ca_digest, etcdutl) for path in directory.iterdir() if _is_one(path)]
    return sorted(found, key=lambda backup: (backup.time, backup.name), reverse=True)


def newest(directory: Path, ca_digest: str = "") -> Backup | None:
    """The newest one that looks whole."""
    found = future_last(listing(directory, ca_digest), time.time())
    return next((backup for backup in found if not backup.problem), None)


def future_last(found: Sequence[Backup], now: float) -> list[Backup]:
    """Those from the future last: they were made while a clock was wrong, and nobody knows how old they are."""
    return sorted(found, key=lambda backup: backup.time > now + SKEW_SECONDS)


def _is_one(path: Path) -> bool:
    if not manifest.is_name(path.name):
        return False
    try:
        parse_time(path.name)
    except ValueError:
        return False
    return True


def _look(path: Path, ca_digest: str, etcdutl: str) -> Backup:
    try:
        looked = check.check(path, etcdutl, ca_digest) if etcdutl else check.glance(path, ca_digest)
    except Damaged as error:
        return Backup(path, None, str(error))
    except OSError as error:
        return Backup(path, None, "it cannot be read: %s" % error)
    return Backup(path, looked)
