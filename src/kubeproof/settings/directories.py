"""Directories that people set: how they are written, and which cannot be what they are for. No Ansible."""

from __future__ import annotations

import itertools
import posixpath
import re
from collections.abc import Iterator, Mapping
from typing import Any

# By setting: those whose components run in a sandbox, where homes are hidden and temporary directories are others.
_SANDBOXED = ("backup_directory", "cluster_bin_directory", "etcd_data_directory")
# Those that are given to one component's user, with all that is in them.
_OWNED = (
    "backup_directory", "containerd_root_directory", "crio_root_directory", "docker_root_directory",
    "etcd_data_directory",
)  # fmt: skip
_HIDDEN = ("/home", "/root", "/run/user")
_FLEETING = ("/dev", "/proc", "/run", "/sys", "/tmp", "/var/tmp")  # noqa: S108 - names to compare with
# What others have things in, besides all that is directly below the root directory and systems put there.
_COMMON = {
    "/bin", "/boot", "/etc", "/home", "/lib", "/lib64", "/media", "/mnt", "/opt", "/root", "/sbin", "/srv", "/usr",
    "/usr/bin", "/usr/lib", "/usr/local", "/usr/local/bin", "/usr/sbin", "/usr/share", "/var", "/var/backups",
    "/var/cache", "/var/lib", "/var/lib/kubelet", "/var/lib/kubeproof", "/var/log", "/var/opt", "/var/spool",
}  # fmt: skip
# These mean something to systemd, to a shell, or separate one path from the next.
_MEANT = re.compile(r"[\s\"'\\%$;*?{}\[\]<>|&()!`#~,:=]")


def normal(path: str) -> str:
    """A path as it is written shortest: no slash at its end, and none twice."""
    return re.sub("^//", "/", posixpath.normpath(path))


def problems(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What is wrong with directories on hosts, by setting. ``values``: those whose names end as theirs do, as set."""
    names = sorted({*_SANDBOXED, *_OWNED} & values.keys())
    for name in names:
        problem = _problem(name, str(values[name]))
        if problem:
            yield name, problem
    owned = [(name, normal(str(values[name]))) for name in names if name in _OWNED]
    for (one, outer), (other, inner) in itertools.permutations(owned, 2):
        # What backups are to it is said elsewhere.
        if within(inner, outer) and (one, other) != ("etcd_data_directory", "backup_directory"):
            yield other, f"{inner} is in {outer}, which is {one}: each is one component's alone"


def absolute(path: str) -> str:
    """What is wrong with a path that is to hold wherever a program is started from; empty if nothing is."""
    if not path.startswith("/"):
        return f"{path!r} is not an absolute path"
    return f"{path} has `..` in it" if ".." in path.split("/") else ""


def _problem(name: str, value: str) -> str:
    if absolute(value):
        return absolute(value)
    path = normal(value)
    meant = _MEANT.search(path)
    if meant:
        return f"{path!r} has {meant[0]!r} in it, which units and command lines take for something else"
    hidden = next((each for each in _HIDDEN if within(path, each)), "")
    if hidden and name in _SANDBOXED:
        return f"{path} is in {hidden}, which is hidden from the services that would use it (ProtectHome=)"
    fleeting = next((each for each in _FLEETING if within(path, each)), "")
    if fleeting:
        return f"{path} is in {fleeting}, which does not persist"
    if name in _OWNED and (path == "/" or path in _COMMON):
        return f"{path} has others' files in it, and would be given to one component; name a directory of its own"
    return ""


def within(path: str, directory: str) -> bool:
    """Whether a path is a directory or in it; both as they are written shortest."""
    return path == directory or path.startswith(directory.rstrip("/") + "/")
