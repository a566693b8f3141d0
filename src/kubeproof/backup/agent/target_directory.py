"""A directory as a target: a disk of another machine (NFS and the like), or another disk of this one."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path
from typing import Any, Mapping

from kubeproof.backup.agent import backups, files, manifest
from kubeproof.backup.agent.errors import BackupError, Damaged
from kubeproof.backup.agent.target import Deadline, Found, Target, digests

_CHUNK = 1 << 20
_REMOVED = "removed-"


class DirectoryTarget(Target):
    """``path``; with ``mount``, it must be a mount point, so that nothing is put where the other disk should be."""

    def __init__(self, settings: Mapping[str, Any], cluster: str, deadline: Deadline) -> None:
        """Nothing is touched yet."""
        super().__init__(cluster, deadline)
        self._path = Path(settings["path"])
        self._mount = bool(settings.get("mount", True))
        self._directory = self._path / cluster

    def open(self) -> None:
        """Make the cluster's directory."""
        self._require_mounted()
        self._directory.mkdir(mode=0o700, exist_ok=True)

    def listing(self) -> list[Found]:
        """Manifests and sizes."""
        self._require_mounted()
        if not self._directory.is_dir():
            return []
        return [
            Found(each.name, each.bytes, each.manifest or _manifest(each.path), each.problem)
            for each in backups.listing(self._directory)
        ]

    def unfinished(self) -> list[str]:
        """Both what was begun to be brought and to be removed."""
        begun = [path.name[len(backups.PARTIAL) :] for path in self._directory.glob(backups.PARTIAL + "*")]
        return [name[len(_REMOVED) :] if name.startswith(_REMOVED) else name for name in begun]

    def discard(self, name: str) -> None:
        """Of either kind."""
        for what in (name, _REMOVED + name):
            if (self._directory / (backups.PARTIAL + what)).exists():
                shutil.rmtree(str(self._directory / (backups.PARTIAL + what)))

    def put(self, path: Path) -> None:
        """Write, have it on the disk, read it back from there, rename."""
        self._require_mounted()
        self._require_space(sum(entry.stat().st_size for entry in path.iterdir()))
        partial = self._directory / (backups.PARTIAL + path.name)
        self.discard(path.name)
        partial.mkdir(mode=0o700)
        try:
            for name, digest in digests(path).items():
                self._write(path / name, partial / name)
                self._read_back(partial / name, digest)
            files.sync(partial)
            self._take_name_away(path.name)
            partial.rename(self._directory / path.name)
            files.sync(self._directory)
        except BaseException:
            shutil.rmtree(str(partial), ignore_errors=True)
            raise
        self.discard(path.name)

    def get(self, name: str, into: Path) -> None:
        """Copy the files."""
        self._require_mounted()
        source = self._directory / name
        if not source.is_dir():
            raise BackupError("there is no %s in %s" % (name, self._directory))
        for path in sorted(source.iterdir()):
            self._write(path, into / path.name)

    def remove(self, name: str) -> None:
        """Rename, then remove."""
        self._take_name_away(name)
        self.discard(name)

    def _require_mounted(self) -> None:
        if not self._path.is_dir():
            raise BackupError("%s is not a directory on this host: mount it, or create it" % self._path)
        if self._mount and not os.path.ismount(str(self._path)):
            raise BackupError("nothing is mounted on %s: mount it (`mount: false` takes any directory)" % self._path)

    def _require_space(self, needed: int) -> None:
        about = os.statvfs(str(self._directory))
        free = about.f_bavail * about.f_frsize
        if free < needed:
            raise BackupError(
                "%s has %d bytes free, a copy takes %d: free disk space" % (self._directory, free, needed)
            )

    def _take_name_away(self, name: str) -> None:
        if (self._directory / name).exists():
            (self._directory / name).rename(self._directory / (backups.PARTIAL + _REMOVED + name))
            files.sync(self._directory)

    def _write(self, source: Path, copy: Path) -> None:
        with source.open("rb") as reading, copy.open("xb") as writing:
            os.fchmod(writing.fileno(), 0o600)
            for chunk in iter(lambda: reading.read(_CHUNK), b""):
                self.deadline.left()
                writing.write(chunk)
            writing.flush()
            os.fsync(writing.fileno())

    def _read_back(self, path: Path, expected: str) -> None:
        """Read a file from the disk or the server, as far as the kernel lets one have it from there."""
        digest = hashlib.sha256()
        with path.open("rb") as stream:
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            for chunk in iter(lambda: stream.read(_CHUNK), b""):
                self.deadline.left()
                digest.update(chunk)
        if digest.hexdigest() != expected:
            raise BackupError("%s differs from what was written when it is read back" % path)


def _manifest(path: Path) -> manifest.Manifest | None:
    try:
        return manifest.read(path)
    except Damaged:
        return None
