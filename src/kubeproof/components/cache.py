"""The cache of fetched and built files, by content, safe for several processes at once and for one killed anywhere.

Layout, under ``components`` in the user's cache folder::

    blobs/SHA256       a file whose name is the SHA-256 of its content: verified before it got that name
    results/KEY.json   what a piece of work (a download, a build) produced: names, blobs, and a note
    locks/KEY          held by the process that does the piece of work KEY
    work/RANDOM/       a process's files in the making; whoever finds one whose process is gone removes it

A blob appears by rename, after it was written to disk: there is never a partial one under a final name.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Self

from kubeproof.core.errors import KubeproofError
from kubeproof.core.paths import cache_directory


@dataclass(frozen=True)
class Blob:
    """A file in the cache. ``size`` in bytes."""

    sha256: str
    size: int
    path: Path


@dataclass(frozen=True)
class Result:
    """What a piece of work left: blobs by name, and a note on how (JSON values)."""

    blobs: Mapping[str, Blob]
    note: Mapping[str, Any]


def key_of(*parts: str | bytes) -> str:
    """A key for a piece of work: a digest of everything that its result depends on, in order."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "big") + data)
    return digest.hexdigest()


class Cache:
    """The cache in one directory. Threads may share an instance; ``close`` removes its unfinished files."""

    def __init__(self, directory: Path | None = None) -> None:
        """Make the directories if they are missing and remove what dead processes left. Raises KubeproofError."""
        self.directory = directory or cache_directory() / "components"
        try:
            for name in ("blobs", "results", "locks", "work"):
                (self.directory / name).mkdir(parents=True, exist_ok=True)
            self._sweep()
            self._work, self._alive = self._begin_work()
        except OSError as error:
            raise KubeproofError(
                f"the cache {self.directory} cannot be used: {error.strerror}",
                hint="set XDG_CACHE_HOME to a directory that you may write to",
            ) from error

    def __enter__(self) -> Self:
        """Use as a context manager: ``close`` at the end."""
        return self

    def __exit__(self, *_: object) -> None:
        """Remove unfinished files."""
        self.close()

    def close(self) -> None:
        """Remove this process's unfinished files."""
        shutil.rmtree(self._work, ignore_errors=True)
        self._alive.close()

    @contextlib.contextmanager
    def lock(self, key: str) -> Iterator[None]:
        """Hold the lock on a piece of work; waits for whoever has it, thread or process."""
        with (self.directory / "locks" / key).open("a") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            yield

    @contextlib.contextmanager
    def work(self) -> Iterator[Path]:
        """A new directory on the cache's file system, removed at the end."""
        path = self._work / secrets.token_hex(8)
        path.mkdir()
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)

    def result(self, key: str) -> Result | None:
        """What the piece of work ``key`` left earlier, or None if it was not done or any of its blobs is gone."""
        try:
            document = json.loads(self._result_path(key).read_text(encoding="utf-8"))
            blobs = {name: self.blob(digest) for name, digest in document["blobs"].items()}
        except (FileNotFoundError, KeyError, ValueError):
            return None
        present = {name: blob for name, blob in blobs.items() if blob}
        return Result(present, document["note"]) if len(present) == len(blobs) else None

    def blob(self, sha256: str) -> Blob | None:
        """The blob of that digest, or None."""
        path = self.directory / "blobs" / sha256
        try:
            return Blob(sha256, path.stat().st_size, path)
        except FileNotFoundError:
            return None

    def store(self, key: str, files: Mapping[str, Path], note: Mapping[str, Any]) -> Result:
        """Move ``files`` (under ``work``) into the cache as the result of ``key``."""
        blobs = {name: self._adopt(path) for name, path in files.items()}
        document = {"blobs": {name: blob.sha256 for name, blob in blobs.items()}, "note": dict(note)}
        with self.work() as scratch:
            temporary = scratch / "result"
            temporary.write_text(json.dumps(document, indent=1), encoding="utf-8")
            _publish(temporary, self._result_path(key))
        return Result(blobs, note)

    def _adopt(self, path: Path) -> Blob:
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        path.chmod(0o755)
        target = self.directory / "blobs" / digest
        _publish(path, target)
        return Blob(digest, target.stat().st_size, target)

    def _result_path(self, key: str) -> Path:
        return self.directory / "results" / f"{key}.json"

    def _begin_work(self) -> tuple[Path, IO[str]]:
        """A directory for unfinished files, and the open lock that shows others that its process lives."""
        while True:
            path = self.directory / "work" / secrets.token_hex(8)
            path.mkdir()
            with contextlib.suppress(FileNotFoundError):  # swept before it was locked
                stream = (path / "alive").open("w")
                fcntl.flock(stream, fcntl.LOCK_EX)
                if os.fstat(stream.fileno()).st_nlink:
                    return path, stream

    def _sweep(self) -> None:
        for path in (self.directory / "work").iterdir():
            try:
                with (path / "alive").open("a") as stream:
                    fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(path, ignore_errors=True)
            except (BlockingIOError, FileNotFoundError):
                continue


def _publish(path: Path, target: Path) -> None:
    """Write ``path`` through to disk and give it its final name."""
    with path.open("rb") as stream:
        os.fsync(stream.fileno())
    path.replace(target)
    directory = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
