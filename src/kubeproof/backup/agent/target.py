"""What all targets of copies have in common: what one is asked for, its bounded time, programs that are run for it."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Mapping, Sequence

from kubeproof.backup.agent import files, manifest
from kubeproof.backup.agent.errors import BackupError, Damaged
from kubeproof.backup.agent.manifest import Manifest

_PR_SET_PDEATHSIG = 1
_WORDS = 400


@dataclass(frozen=True)
class Found:
    """A copy as a target has it: its size, its manifest if that can be read, and what is wrong with it."""

    name: str
    bytes: int
    manifest: Manifest | None
    problem: str = ""


class Deadline:
    """The time that all work on a target has."""

    def __init__(self, seconds: float) -> None:
        """From now on."""
        self._seconds = seconds
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """Seconds. Raises BackupError if there are none."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise BackupError("not finished within %.0f s" % self._seconds)
        return left


class Target(ABC):
    """Where copies are brought. Under its final name a copy is whole: it was read back there.

    Methods raise BackupError or OSError.
    """

    def __init__(self, cluster: str, deadline: Deadline) -> None:
        """Copies are kept under the cluster's name, so that several may share a target."""
        self.cluster = cluster
        self.deadline = deadline

    @abstractmethod
    def open(self) -> None:
        """Make what copies are put into, if it can be made."""

    @abstractmethod
    def listing(self) -> list[Found]:
        """The copies that are there."""

    @abstractmethod
    def unfinished(self) -> list[str]:
        """The names of backups that somebody has begun to bring there, or to remove."""

    @abstractmethod
    def discard(self, name: str) -> None:
        """Remove what was not finished of this name."""

    @abstractmethod
    def put(self, path: Path) -> None:
        """Bring a backup there, read it back, and only then give it its name. What has the name already is replaced."""

    @abstractmethod
    def get(self, name: str, into: Path) -> None:
        """Bring a copy's files into an empty directory."""

    @abstractmethod
    def remove(self, name: str) -> None:
        """Remove a copy; it loses its name first."""


def judge(name: str, sizes: Mapping[str, int], content: bytes | None) -> Found:
    """A copy from the sizes of its files and the content of its manifest."""
    total = sum(sizes.values())
    if content is None:
        return Found(name, total, None, "%s is missing" % manifest.NAME)
    try:
        found = Manifest.parse(content)
    except Damaged as error:
        return Found(name, total, None, str(error))
    if found.name != name:
        return Found(name, total, found, "it is %s by its manifest" % found.name)
    wanted = {each: file.bytes for each, file in found.files.items()}
    seen = {each: size for each, size in sizes.items() if each != manifest.NAME}
    amiss = "its files are %s; by its manifest they are %s" % (_sizes(seen), _sizes(wanted))
    return Found(name, total, found, "" if seen == wanted else amiss)


def digests(path: Path) -> dict[str, str]:
    """What the SHA-256 of each file of a backup has to be, wherever it is; that of its manifest as it is here."""
    listed = {name: file.sha256 for name, file in manifest.read(path).files.items()}
    return {**dict(sorted(listed.items())), manifest.NAME: files.sha256(path / manifest.NAME)}


def _sizes(sizes: Mapping[str, int]) -> str:
    return ", ".join("%s (%d bytes)" % item for item in sorted(sizes.items())) or "none"


def run(
    command: Sequence[str],
    deadline: Deadline,
    *,
    environment: Mapping[str, str] | None = None,
    script: bytes = b"",
    absent: int | None = None,
) -> bytes:
    """A program's standard output. Raises BackupError with its words, also when the time is over.

    ``script`` is what it reads; ``absent`` the status by which it says that there is nothing.
    """
    name = Path(command[0]).name
    try:
        process = start(command, environment)
        said, complaint = process.communicate(script, timeout=deadline.left())
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        deadline.left()
        raise BackupError("%s did not exit" % name) from None
    except OSError as error:
        raise BackupError("%s cannot be run: %s" % (command[0], error.strerror)) from None
    if process.returncode and process.returncode != absent:
        raise BackupError("%s ended with %d: %s" % (name, process.returncode, words(complaint or said)))
    return said


def start(command: Sequence[str], environment: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
    """Start a program that never outlasts this one."""
    parent = os.getpid()
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, **(environment or {})},
        preexec_fn=lambda: die_with_parent(parent),  # noqa: PLW1509 - this program has one thread
    )


def consume(
    command: Sequence[str], deadline: Deadline, use: Callable[[bytes], object], environment: Mapping[str, str]
) -> None:
    """Give a program's output to ``use``, piece by piece. Raises BackupError as ``run`` does."""
    process = start(command, environment)
    assert process.stdout is not None  # noqa: S101 - for the type checker
    try:
        for chunk in iter(lambda: process.stdout.read(1 << 20), b""):  # type: ignore[union-attr]
            use(chunk)
            deadline.left()
        _, complaint = process.communicate(timeout=deadline.left())
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()
    if process.returncode:
        raise BackupError("%s ended with %d: %s" % (Path(command[0]).name, process.returncode, words(complaint)))


def words(output: bytes) -> str:
    """The first and the last line of what a program said: with SSH the first has the cause, with others the last."""
    lines = [line.strip() for line in output.decode(errors="replace").splitlines() if line.strip()]
    told = dict.fromkeys([*lines[:1], *lines[-1:]])
    return " … ".join(told)[:_WORDS] or "it said nothing"


def die_with_parent(parent: int) -> None:
    """Have the kernel end this process with its parent, however that ends."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
