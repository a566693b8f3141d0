"""Files that a crash leaves either whole or not there at all."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
from pathlib import Path
from typing import Any, Iterator

from kubeproof.backup.agent.errors import Busy

_CHUNK = 1 << 20


def sync(path: Path) -> None:
    """Have a file, or a directory's names, on the disk for good."""
    descriptor = os.open(str(path), os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Replace a file in one step. The name is on the disk when this returns."""
    temporary = path.with_name("." + path.name + ".new")
    with contextlib.suppress(FileNotFoundError):
        temporary.unlink()
    descriptor = os.open(str(temporary), os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as stream:
        os.fchmod(stream.fileno(), mode)
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(path)
    sync(path.parent)


def render(document: Any) -> bytes:
    """A document as the one JSON text that stands for it: the same content is the same bytes."""
    return (json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()


def sha256(path: Path) -> str:
    """A file's SHA-256 in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        for chunk in iter(lambda: stream.read(_CHUNK), b""):
            digest.update(chunk)
    return digest.hexdigest()


def no_space(error: OSError) -> bool:
    """Whether an error says that the disk, or the user's share of it, is full."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


@contextlib.contextmanager
def locked(path: Path, *, shared: bool = False, busy: str = "") -> Iterator[None]:
    """Hold a lock file. The kernel gives it up with the process, however that ends.

    Whoever else holds it is waited for, unless ``busy`` says what it means that somebody does.
    """
    with path.open("a") as stream:
        os.fchmod(stream.fileno(), 0o600)
        how = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (fcntl.LOCK_NB if busy else 0)
        try:
            fcntl.flock(stream, how)
        except BlockingIOError:
            raise Busy(busy) from None
        yield
