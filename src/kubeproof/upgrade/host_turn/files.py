"""Files of a host: what they are, and how they are put back in one step."""

from __future__ import annotations

import base64
import contextlib
import errno
import hashlib
import os
import stat
import tempfile
from typing import IO, Any, Dict, List, Optional

_BLOCK = 1 << 20
_STEP = 4 << 20
# Larger files are programs, which are kept by their digests: plugins/module_utils/component_unit.py has the same limit.
LARGE = 1 << 20

Entry = Dict[str, Any]


def kept(path: str) -> Optional[Entry]:
    """A small file, or a link by itself, as a record keeps it. None if there is nothing, or no such thing."""
    try:
        found = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    if stat.S_ISLNK(found.st_mode):
        return {"link": os.readlink(path)}
    if not stat.S_ISREG(found.st_mode) or found.st_size > LARGE:
        return None
    with open(path, "rb") as stream:
        content = base64.b64encode(stream.read()).decode()
    return {"content": content, "uid": found.st_uid, "gid": found.st_gid, "mode": stat.S_IMODE(found.st_mode)}


def text(content: str) -> Entry:
    """A new file of whoever runs this, which everybody may read."""
    encoded = base64.b64encode(content.encode()).decode()
    return {"content": encoded, "uid": os.geteuid(), "gid": os.getegid(), "mode": 0o644}


def is_program(path: str) -> bool:
    """Whether there is a file that is too large to be kept in a record."""
    with contextlib.suppress(OSError):
        found = os.stat(path)
        return stat.S_ISREG(found.st_mode) and found.st_size > LARGE
    return False


def below(directory: str) -> List[str]:
    """All files in a directory and in those below it."""
    return [os.path.join(parent, name) for parent, _, names in os.walk(directory) for name in sorted(names)]


def put(path: str, entry: Optional[Entry]) -> bool:
    """Have a file as it was kept; None: have none. Returns whether that changed anything."""
    if entry is None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
            return True
        return False
    if kept(path) == entry:
        return False
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    if "link" in entry:
        temporary = os.path.join(os.path.dirname(path), ".kubeproof-link-%d" % os.getpid())
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        os.symlink(entry["link"], temporary)
        os.replace(temporary, path)
        return True
    descriptor, temporary = tempfile.mkstemp(prefix=".kubeproof-", dir=os.path.dirname(path))
    with _placing(descriptor, temporary, path) as stream:
        stream.write(base64.b64decode(entry["content"]))
        os.fchown(stream.fileno(), entry["uid"], entry["gid"])
        os.fchmod(stream.fileno(), entry["mode"])
    return True


def place(source: str, digest: str, mode: int, path: str) -> bool:
    """Have a copy of ``source`` at ``path``, unless its content is there; returns whether that changed anything.

    On a disk that is full, which may be why it is put back, it is the same file, where that is possible: programs are
    replaced and never written to. Raises ValueError if the source is not what it was.
    """
    with contextlib.suppress(FileNotFoundError):
        if sha256(path) == digest:
            return False
    if sha256(source) != digest:
        raise ValueError("%s is not what it was when it was kept" % source)
    try:
        _copy(source, mode, path)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        _link(source, mode, path)
    return True


def _copy(source: str, mode: int, path: str) -> None:
    descriptor, temporary = tempfile.mkstemp(prefix=".kubeproof-", dir=os.path.dirname(path))
    with _placing(descriptor, temporary, path) as stream, open(source, "rb") as original:
        # In steps: what etcd syncs meanwhile waits for no more than one of them.
        for data in iter(lambda: original.read(_STEP), b""):
            stream.write(data)
            stream.flush()
            os.fdatasync(stream.fileno())
        os.fchmod(stream.fileno(), mode)


def _link(source: str, mode: int, path: str) -> None:
    temporary = os.path.join(os.path.dirname(path), ".kubeproof-link-%d" % os.getpid())
    with contextlib.suppress(FileNotFoundError):
        os.unlink(temporary)
    os.link(source, temporary)
    os.chmod(temporary, mode)
    os.replace(temporary, path)


@contextlib.contextmanager
def _placing(descriptor: int, temporary: str, path: str) -> Any:
    """Write a file through to the disk, and give it its name; nothing is left of it if that fails."""
    try:
        with os.fdopen(descriptor, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def sha256(path: str) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with open(path, "rb") as stream:
        return _hash(stream)


def _hash(stream: IO[bytes]) -> str:
    digest = hashlib.sha256()
    for block in iter(lambda: stream.read(_BLOCK), b""):
        digest.update(block)
    return digest.hexdigest()


def fingerprint(path: str) -> Any:
    """As plugins/module_utils/component_unit.py has it, by which a run knows what a process was started from."""
    if os.path.isdir(path):
        return {name: fingerprint(os.path.join(path, name)) for name in sorted(os.listdir(path))}
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    if found.st_size > LARGE:
        return [found.st_size, found.st_mtime_ns, found.st_ino]
    return sha256(path)
