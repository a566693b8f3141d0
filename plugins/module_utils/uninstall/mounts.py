"""Mounts of pods, containers and network namespaces."""

from __future__ import annotations

import os
import re
from typing import List, NamedTuple, Optional

from ansible.module_utils import places
from ansible.module_utils.commands import CommandFailed
from ansible.module_utils.uninstall.account import Account, run

# As containerd names a pod's network namespace.
NAMESPACE = re.compile(r"cni-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class Mount(NamedTuple):
    """A line of mountinfo: which device's directory ``root`` is mounted at ``point``."""

    number: str
    parent: str
    device: str
    root: str
    point: str


def parse(mountinfo: str) -> List[Mount]:
    """Mounts in the order in which they were made."""
    rows = [line.split() for line in mountinfo.splitlines()]
    return [Mount(row[0], row[1], row[2], unescape(row[3]), unescape(row[4])) for row in rows]


def unescape(path: str) -> str:
    """The kernel writes blanks and backslashes as octal numbers."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match.group(1), 8)), path)


def read() -> List[Mount]:
    """This host's mounts."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as stream:
        return parse(stream.read())


def beneath(mounts: List[Mount], directory: str) -> List[Mount]:
    """What is mounted below a directory, and the directory on itself, as kubelet does to share its mounts.

    A disk that is mounted at the directory is not among them.
    """
    directory = real(directory)
    by_number = {mount.number: mount for mount in mounts}
    return [
        mount
        for mount in mounts
        if mount.point.startswith(directory + "/")
        or (mount.point == directory and on_itself(mount, by_number.get(mount.parent)))
    ]


def real(directory: str) -> str:
    """The path by which the kernel names a directory, whose files are removed over links of root's, too.

    The one given if there is none, or if it is reached only over a link of somebody else's: that is not emptied either.
    """
    try:
        with places.directory(directory) as there:
            return os.readlink("/proc/self/fd/%d" % there)
    except OSError:
        return directory


def on_itself(mount: Mount, below: Optional[Mount]) -> bool:
    """Whether a mount shows what was at its place before, too."""
    if below is None or mount.device != below.device:
        return False
    inside = os.path.relpath(mount.point, below.point)
    return mount.root == os.path.normpath(os.path.join(below.root, inside))


class Mounts:
    """What is mounted in directories of ours."""

    def __init__(self, account: Account) -> None:
        self.account = account

    def detach(self, directories: List[str]) -> None:
        """Unmount all that is mounted in these directories."""
        for directory in directories:
            found = beneath(read(), directory)
            if found:
                what = "mounts in %s: %d" % (directory, len(found))
                self.account.undo(what, "unmounted", lambda where=directory: detach(where))

    def busy(self, directory: str) -> bool:
        """Whether something is still mounted there: removing files would reach into it, perhaps into a user's data."""
        return bool(beneath(read(), directory))

    def remove_namespaces(self, directory: str = "/run/netns") -> None:
        """Remove network namespaces that containerd named."""
        names = os.listdir(directory) if os.path.isdir(directory) else []
        paths = [os.path.join(directory, name) for name in sorted(names) if NAMESPACE.fullmatch(name)]
        mounted = {mount.point for mount in read()}

        def remove() -> None:
            for path in paths:
                if path in mounted:
                    unmount(path)
                os.unlink(path)

        self.account.undo_all(paths, "removed", remove)


def detach(directory: str) -> None:
    """Unmount the newest first: then nothing is unmounted before what is mounted in it."""
    for mount in reversed(beneath(read(), directory)):
        unmount(mount.point)


def unmount(point: str) -> None:
    """Unmount; what is in use, or waits for a file server, is hidden at once and goes when its last user does."""
    try:
        run(["umount", "--no-canonicalize", point])
    except CommandFailed:
        run(["umount", "--no-canonicalize", "--lazy", point])
