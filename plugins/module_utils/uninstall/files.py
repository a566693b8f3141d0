"""Files and directories: removed if we made them, put back as they were if we changed them."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import tempfile
from typing import Any, Callable, Dict, List, Optional, Set

from ansible.module_utils import places
from ansible.module_utils.uninstall.account import Account

UNITS = "/etc/systemd/system/"
# What an install that was killed was just writing.
UNFINISHED = ".kubeproof-"
# At the top of a disk of one's own.
FILE_SYSTEM_OWN = "lost+found"
Entry = Dict[str, Any]


class Files:
    """What the manifest says of the file system."""

    def __init__(self, account: Account, entries: List[Entry], busy: Callable[[str], bool]) -> None:
        self.account = account
        self.entries = entries
        self.busy = busy
        # So that check mode, which removes nothing, knows which directories would be empty.
        self.gone: Set[str] = set()

    def undo(self) -> None:
        """All of it, each part after what keeps it from going."""
        for path in self._paths("data"):
            self._each(self._empty, path)
        for entry in self.entries:
            if entry["kind"] in ("file", "unit"):
                self._each(self._file, entry.get("path") or UNITS + entry["name"], entry.get("backup"))
        directories = self._paths("directory")
        for path in directories:
            self._each(self._unfinished, path)
        for path in sorted(directories, key=len, reverse=True):
            self._each(self._directory, path)
        for entry in self.entries:
            if entry["kind"] == "attributes":
                self._each(self._attributes, entry)

    def _each(self, undo: Callable[..., None], *arguments: Any) -> None:
        """One thing. That somebody has put a link in its way keeps nothing else from being undone."""
        try:
            undo(*arguments)
        except OSError as error:
            self.account.problems.append(str(error))

    def _paths(self, kind: str) -> List[str]:
        return [str(entry["path"]) for entry in self.entries if entry["kind"] == kind]

    def _empty(self, path: str) -> None:
        """Remove a component's data. Its directory goes only if the manifest has that too: it may be a disk's."""
        names = [name for name in listed(path) if name != FILE_SYSTEM_OWN]
        if not names:
            return
        if self.busy(path) and not self.account.check_mode:
            self.account.problems.append("%s was not emptied: something is still mounted in it" % path)
            return
        children = [os.path.join(path, name) for name in names]
        self.gone.update(children)
        self.account.undo(path, "emptied", lambda: remove_all(children))

    def _file(self, path: str, backup: Optional[str]) -> None:
        self._unfinished(os.path.dirname(path))
        if backup:
            # Without its backup, a reset that did not end has put it back already: it is not ours any more.
            if os.path.lexists(backup) and not same(path, backup):
                self.account.undo(path, "put back as it was", lambda: put_back(backup, path))
        elif os.path.isdir(path) and not os.path.islink(path):
            self.account.keep(path, "it was a file, and is a directory now")
        elif os.path.lexists(path):
            self.gone.add(path)
            self.account.undo(path, "removed", lambda: places.unlink(path))

    def _unfinished(self, directory: str) -> None:
        names = [name for name in listed(directory) if name.startswith(UNFINISHED)]
        paths = {os.path.join(directory, name) for name in names} - self.gone
        self.gone |= paths
        self.account.undo_all(sorted(paths), "removed", lambda: remove_all(sorted(paths)))

    def _directory(self, path: str) -> None:
        if not os.path.isdir(path) or os.path.islink(path):
            return
        left = sorted(name for name in listed(path) if os.path.join(path, name) not in self.gone)
        if left:
            self.account.keep(path, "others put something in it: " + ", ".join(left))
        elif os.path.ismount(path):
            self.account.keep(path, "something is mounted there")
        else:
            self.gone.add(path)
            self.account.undo(path, "removed", lambda: places.remove_directory(path))

    def _attributes(self, entry: Entry) -> None:
        """Give back its owner and mode to what was here before us."""
        path, uid, gid, mode = entry["path"], entry["uid"], entry["gid"], entry["mode"]
        with contextlib.suppress(FileNotFoundError), places.opened(path) as descriptor:
            status = os.fstat(descriptor)
            if (status.st_uid, status.st_gid) != (uid, gid):
                self.account.undo(path, "owner put back", lambda: os.fchown(descriptor, uid, gid))
            if stat.S_IMODE(status.st_mode) != mode:
                self.account.undo(path, "mode put back", lambda: os.fchmod(descriptor, mode))


def listed(path: str) -> List[str]:
    """Names in a directory; none if there is no such directory."""
    try:
        with places.directory(path) as there:
            return os.listdir(there)
    except (FileNotFoundError, NotADirectoryError):
        return []


def same(path: str, other: str) -> bool:
    """Whether two paths have the same kind, content, owner and mode."""
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return False
    wanted = os.lstat(other)
    if (status.st_mode, status.st_uid, status.st_gid) != (wanted.st_mode, wanted.st_uid, wanted.st_gid):
        return False
    if stat.S_ISLNK(status.st_mode):
        return os.readlink(path) == os.readlink(other)
    with open(path, "rb") as one, open(other, "rb") as two:
        return one.read() == two.read()


def put_back(backup: str, path: str) -> None:
    """Replace a file by its backup in one step."""
    places.make_directories(os.path.dirname(path))
    with tempfile.TemporaryDirectory(prefix=UNFINISHED, dir=os.path.dirname(path)) as scratch:
        copy = os.path.join(scratch, "copy")
        shutil.copy2(backup, copy, follow_symlinks=False)
        status = os.lstat(backup)
        os.chown(copy, status.st_uid, status.st_gid, follow_symlinks=False)
        with places.parent(path) as there:
            os.replace(copy, places.name_of(path), dst_dir_fd=there)


def remove_all(paths: List[str]) -> None:
    """Remove files and directories with all that is in them, and nothing that is mounted there."""
    for path in paths:
        places.remove_tree(path)
