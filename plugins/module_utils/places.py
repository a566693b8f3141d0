"""Files and directories by ways in which nobody but root has had a hand.

Root works in directories that belong to components' users. Who has taken over such a component could put a symbolic
link there, and have root write, or give away, what the link points to. So every directory on the way is opened by
itself, links are followed only where root alone can have made them, and all else is done relative to the opened
directory. What is made has the mode that is asked for, whatever the umask. Standard library only; Python 3.8 and newer.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from typing import Iterator, List, Optional, Tuple

MANY_LINKS = 40
FLAGS = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


class Unsafe(OSError):
    """A link that somebody else than root has put in the way; the message is for the operator."""

    def __init__(self, path: str, target: str) -> None:
        super().__init__()
        self.path, self.target = path, target

    def __str__(self) -> str:
        to = " to %s" % self.target if self.target else ""
        return (
            "%s is a symbolic link%s that is not root's, or is in a directory that others can write to: it is not "
            "followed, and nothing was changed there. Find out who put it there. If it is yours, mount the directory "
            "there instead (mount --bind), or name the real one in the settings; then remove the link" % (self.path, to)
        )


class Changed(OSError):
    """A file is not what it seemed to be."""


def trusted(uid: int) -> bool:
    """Whether a user is root, or who runs this."""
    return uid in (0, os.geteuid())


def only_roots(descriptor: int) -> bool:
    """Whether nobody but root can put things into an open directory, or exchange what is there."""
    status = os.fstat(descriptor)
    return trusted(status.st_uid) and (not status.st_mode & stat.S_IWOTH or bool(status.st_mode & stat.S_ISVTX))


def _refuse(path: str, name: str, directory: int) -> Unsafe:
    try:
        return Unsafe(path, os.readlink(name, dir_fd=directory))
    except OSError:
        return Unsafe(path, "")


def _open(name: str, flags: int, directory: int, path: str) -> int:
    """Open a name in a directory, and never what a link there points to."""
    try:
        return os.open(name, flags | FLAGS, dir_fd=directory)
    except OSError as error:
        # A directory that is a link is ENOTDIR.
        if error.errno == errno.ELOOP or (error.errno == errno.ENOTDIR and _is_link(name, directory)):
            raise _refuse(path, name, directory) from None
        error.filename = path
        raise


def _is_link(name: str, directory: int) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return stat.S_ISLNK(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode)
    return False


def open_directory(path: str) -> int:
    """A directory's descriptor. Raises FileNotFoundError, NotADirectoryError or Unsafe."""
    if not path.startswith("/"):
        raise ValueError("%r is not an absolute path" % path)
    ahead, seen, links = _parts(path), "", 0
    here = _root()
    try:
        while ahead:
            name = ahead.pop()
            seen += "/" + name
            if name != ".." and _is_link(name, here):
                links += 1
                target = _link_of_roots(name, here, seen, links)
                ahead += _parts(target)
                following = _root() if target.startswith("/") else os.dup(here)
            else:
                following = _open(name, os.O_RDONLY | os.O_DIRECTORY, here, seen)
            os.close(here)
            here = following
    except BaseException:
        os.close(here)
        raise
    return here


def _parts(path: str) -> List[str]:
    """The names in a path, the first one last."""
    return [part for part in reversed(path.split("/")) if part not in ("", ".")]


def _root() -> int:
    return os.open("/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def _link_of_roots(name: str, directory: int, path: str, number: int) -> str:
    """Where a link points to that only root can have made."""
    owner = os.stat(name, dir_fd=directory, follow_symlinks=False).st_uid
    if not trusted(owner) or not only_roots(directory) or number > MANY_LINKS:
        raise _refuse(path, name, directory)
    return os.readlink(name, dir_fd=directory)


@contextlib.contextmanager
def directory(path: str) -> Iterator[int]:
    """A directory, open for the time of a ``with`` block."""
    descriptor = open_directory(path)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def parent(path: str) -> Iterator[int]:
    """The directory that a path is in, open."""
    with directory(os.path.dirname(path)) as descriptor:
        yield descriptor


def name_of(path: str) -> str:
    """The last part of a path, which must have one."""
    name = os.path.basename(path)
    if name in ("", ".", ".."):
        raise ValueError("%s is not the path of a file" % path)
    return name


def is_directory(path: str) -> bool:
    """Whether there is a directory, reached as all others are. Raises Unsafe."""
    try:
        os.close(open_directory(path))
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def status(path: str) -> Optional[os.stat_result]:
    """What is at a path, a link by itself; None if nothing is."""
    try:
        with parent(path) as there:
            return os.stat(name_of(path), dir_fd=there, follow_symlinks=False)
    except (FileNotFoundError, NotADirectoryError):
        return None


def read(path: str) -> Optional[bytes]:
    """A file's content; None if there is none, or no plain file."""
    found = status(path)
    if found is None or not stat.S_ISREG(found.st_mode):
        return None
    with parent(path) as there:
        descriptor = _open(name_of(path), os.O_RDONLY, there, path)
    with os.fdopen(descriptor, "rb") as stream:
        return stream.read()


def write(path: str, content: bytes, uid: int, gid: int, mode: int) -> None:
    """Replace ``path``, be it a link, in one step, so that a reader or a crash never sees half a file."""
    name = name_of(path)
    with parent(path) as there:
        temporary = ".kubeproof-" + secrets.token_hex(6)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | FLAGS
        descriptor = os.open(temporary, flags, 0o600, dir_fd=there)
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(content)
                os.fchown(stream.fileno(), uid, gid)
                os.fchmod(stream.fileno(), mode)
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(temporary, name, src_dir_fd=there, dst_dir_fd=there)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary, dir_fd=there)
            raise


def make_directory(path: str, mode: int, uid: int = -1, gid: int = -1) -> None:
    """Make one directory, with this very mode, and owner if one is given."""
    with parent(path) as there:
        os.mkdir(name_of(path), 0o700, dir_fd=there)
        descriptor = _open(name_of(path), os.O_RDONLY | os.O_DIRECTORY, there, path)
    try:
        os.fchown(descriptor, uid, gid)
        os.fchmod(descriptor, mode)
    finally:
        os.close(descriptor)


def make_directories(path: str, mode: int = 0o755) -> None:
    """Make a directory and those above it, as far as they are missing."""
    if not is_directory(path):
        if os.path.dirname(path) != path:
            make_directories(os.path.dirname(path), mode)
        with contextlib.suppress(FileExistsError):
            make_directory(path, mode)


@contextlib.contextmanager
def opened(path: str) -> Iterator[int]:
    """A file or directory, open so that owner and mode can be set. Of a file only if it has no other name.

    A directory may be reached over a link of root's, a file never.
    """
    found = status(path)
    if found is not None and stat.S_ISLNK(found.st_mode):
        try:
            descriptor = open_directory(path)
        except NotADirectoryError:
            raise Changed("%s is a symbolic link, and must be a file: remove the link" % path) from None
    else:
        with parent(path) as there:
            descriptor = _open(name_of(path), os.O_RDONLY, there, path)
    try:
        _require_one_name(descriptor, path)
        yield descriptor
    finally:
        os.close(descriptor)


def _require_one_name(descriptor: int, path: str) -> None:
    """Refuse a file that may be another one's, by a hard link, where others than root can make these."""
    now = os.fstat(descriptor)
    if stat.S_ISREG(now.st_mode) and now.st_nlink > 1:
        with parent(path) as there:
            if not only_roots(there):
                raise Changed("%s is also known by another name (a hard link), and is not touched: remove it" % path)


def unlink(path: str) -> None:
    """Remove a file, or a link by itself."""
    with parent(path) as there:
        os.unlink(name_of(path), dir_fd=there)


def remove_directory(path: str) -> None:
    """Remove an empty directory."""
    with parent(path) as there:
        os.rmdir(name_of(path), dir_fd=there)


def remove_tree(path: str) -> None:
    """Remove a file, a link by itself, or a directory with all in it, and nothing that is mounted there."""
    with parent(path) as there:
        _remove(name_of(path), there, (os.fstat(there).st_dev, mount_of(there)), path)


def mount_of(descriptor: int) -> str:
    """The number of the mount by which an open directory was reached; empty where the kernel does not say.

    A directory that is mounted at a second place (``mount --bind``) has the same device at both.
    """
    with open("/proc/self/fdinfo/%d" % descriptor, encoding="ascii") as stream:
        return next((line.split()[1] for line in stream if line.startswith("mnt_id:")), "")


def _remove(name: str, above: int, within: Tuple[int, str], path: str) -> None:
    """Remove what is of this device and mount. The kernel itself removes no file at which something is mounted."""
    found = os.stat(name, dir_fd=above, follow_symlinks=False)
    if found.st_dev != within[0]:
        raise Changed("%s is on another file system" % path)
    if not stat.S_ISDIR(found.st_mode):
        os.unlink(name, dir_fd=above)
        return
    here = _open(name, os.O_RDONLY | os.O_DIRECTORY, above, path)
    try:
        if (os.fstat(here).st_dev, mount_of(here)) != within:
            raise Changed("something is mounted at %s" % path)
        for each in os.listdir(here):
            _remove(each, here, within, path + "/" + each)
    finally:
        os.close(here)
    os.rmdir(name, dir_fd=above)
