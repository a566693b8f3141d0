"""Files that are replaced in one step, so that a reader or a crash never finds half of one."""

from __future__ import annotations

import os
import secrets
from pathlib import Path


def write(path: Path, content: str | bytes, mode: int | None = None, *, durable: bool = False) -> None:
    """Replace a file, whose directory must exist.

    ``mode``: whatever the umask, which otherwise decides. ``durable``: on the disk before its name is, so that it
    survives a crash of the machine.
    """
    data = content.encode() if isinstance(content, str) else content
    # A name of its own: two runs that write the same file do not write into each other's.
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(6)}.new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666 if mode is None else 0o600)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            if mode is not None:
                os.fchmod(stream.fileno(), mode)
            if durable:
                stream.flush()
                os.fsync(stream.fileno())
        fresh.replace(path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise


def write_private(path: Path, content: str | bytes) -> None:
    """Replace a file that only its owner may read, and that must not be lost: a key, for example."""
    write(path, content, 0o600, durable=True)
