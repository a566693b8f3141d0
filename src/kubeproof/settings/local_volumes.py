"""Directories on nodes that pods can claim as volumes: what is set, and what of it cannot be meant. No Ansible."""

from __future__ import annotations

import hashlib
import itertools
import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kubeproof.settings import directories

SETTING = "local_volumes_directories"
CLASS_SETTING = "local_volumes_storage_class"
NODE_GROUPS = ("control_plane", "workers")
_KEYS = ("name", "hosts", "path", "size")
# With a host's name and a digest it becomes the name of a volume, which may have 253 characters.
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")
_CLASS = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
# https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/, without fractions of a byte.
_SIZE = re.compile(r"[1-9][0-9]*(\.[0-9]+)?(Ki|Mi|Gi|Ti|Pi|k|M|G|T|P)?")
# What the path is written into: mounts, and command lines of people.
_PATH = re.compile(r"[\w/.+@-]+")
# Where Kubernetes, its components and the system have files that a pod must not reach.
_OTHERS = (
    "/bin", "/boot", "/dev", "/etc", "/lib", "/lib64", "/proc", "/root", "/run", "/sbin", "/sys", "/tmp",  # noqa: S108
    "/usr", "/var/cache", "/var/lib/containerd", "/var/lib/cri-dockerd", "/var/lib/crio",
    "/var/lib/docker", "/var/lib/etcd", "/var/lib/kubelet", "/var/lib/kubeproof",
    "/var/lib/kubeproof-verify", "/var/log", "/var/run", "/var/spool", "/var/tmp",  # noqa: S108
)  # fmt: skip
# Settings that name a directory of one of our components.
_OURS = (
    "backup_directory", "cluster_bin_directory", "containerd_root_directory", "crio_root_directory",
    "docker_root_directory", "etcd_data_directory",
)  # fmt: skip
_DIGITS = 8


@dataclass(frozen=True)
class Volume:
    """One volume: its name in the API, its node, the directory there, and its size as a quantity."""

    volume: str
    host: str
    path: str
    size: str


def by_host(entries: Sequence[Mapping[str, Any]], groups: Mapping[str, Sequence[str]]) -> list[Volume]:
    """A volume for each entry and host. ``groups``: the inventory's. Entries are as ``problems`` finds no fault with.

    A volume's directory cannot be changed in the API. So a volume's name has a digest of it: with another directory it
    is another volume.
    """
    found = []
    for entry in entries:
        for host in _hosts(entry["hosts"], groups):
            path = directories.normal(str(entry["path"]))
            digest = hashlib.sha256(path.encode()).hexdigest()[:_DIGITS]
            found.append(Volume(f"{entry['name']}-{host}-{digest}", host, path, str(entry["size"])))
    return found


def _hosts(wanted: Sequence[str], groups: Mapping[str, Sequence[str]]) -> list[str]:
    """The hosts of groups and hosts, each once."""
    return list(dict.fromkeys(host for each in wanted for host in groups.get(each, [each])))


def problems(values: Mapping[str, Any], groups: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, str]]:
    """What is wrong, by setting. ``values``: settings of the right types; ``groups``: the inventory's."""
    named = str(values.get(CLASS_SETTING, "local"))
    yield from ((CLASS_SETTING, problem) for problem in misnamed(named))
    sound = []
    for number, entry in enumerate(values.get(SETTING) or []):
        where = f"entry {number + 1}"
        if isinstance(entry, Mapping) and isinstance(entry.get("name"), str):
            where = f"{where} ({entry['name']})"
        found = list(_of_entry(entry, groups, values))
        yield from ((SETTING, f"{where}: {problem}") for problem in found)
        if not found:
            sound.append(entry)
    yield from ((SETTING, problem) for problem in _together(by_host(sound, groups)))


def misnamed(storage_class: str) -> Iterator[str]:
    """Why a StorageClass can't be named so."""
    if not _CLASS.fullmatch(storage_class):
        yield f"{storage_class!r} is no name of a StorageClass: lower case letters, digits, - and . only"


def _of_entry(entry: Any, groups: Mapping[str, Sequence[str]], values: Mapping[str, Any]) -> Iterator[str]:
    if not isinstance(entry, Mapping):
        yield f"{entry!r} is no mapping with {', '.join(_KEYS)}"
        return
    unknown, missing = sorted(set(map(str, entry)) - set(_KEYS)), [key for key in _KEYS if key not in entry]
    if unknown:
        yield f"there is no {', '.join(unknown)}; it has {', '.join(_KEYS)}"
    if missing:
        yield f"{', '.join(missing)} is missing"
    if unknown or missing:
        return
    if not isinstance(entry["name"], str) or not _NAME.fullmatch(entry["name"]):
        yield f"name {entry['name']!r} is not 1 to 40 lower case letters, digits and -, with none of these at an end"
    yield from _of_hosts(entry["hosts"], groups)
    yield from _of_path(entry["path"], values)
    if not _SIZE.fullmatch(str(entry["size"])):
        yield f"size {entry['size']!r} is no quantity of bytes, like 10Gi or 500M"


def _of_hosts(wanted: Any, groups: Mapping[str, Sequence[str]]) -> Iterator[str]:
    if not isinstance(wanted, list | tuple) or not wanted or not all(isinstance(each, str) for each in wanted):
        yield f"hosts {wanted!r} is no list of hosts and groups, like [workers]"
        return
    nodes = {host for group in NODE_GROUPS for host in groups.get(group, ())}
    known = {host for hosts in groups.values() for host in hosts}
    for each in wanted:
        hosts = groups.get(each, [each])
        outside = [host for host in hosts if host not in nodes]
        if each not in groups and each not in known:
            yield f"{each!r} is neither a host nor a group of the inventory"
        elif outside:
            what = "is no node" if len(outside) == 1 else "are no nodes"
            yield f"{', '.join(outside)} {what}: not in {' or '.join(NODE_GROUPS)}"
        elif not hosts:
            yield f"the group {each} has no hosts"


def _of_path(path: Any, values: Mapping[str, Any]) -> Iterator[str]:
    yield from (f"path {problem}" for problem in unsuitable(path, values))


def unsuitable(path: Any, values: Mapping[str, Any]) -> Iterator[str]:
    """Why pods can't have a directory, or some in it. ``values``: settings, some of which name directories of ours."""
    if not isinstance(path, str):
        yield f"{path!r} is no path"
        return
    if directories.absolute(path):
        yield directories.absolute(path)
        return
    if path != posixpath.normpath(path) or path.startswith("//") or not _PATH.fullmatch(path):
        yield f"{path!r} is not written plainly, like /srv/volumes/data: no . in place of a name, no / at its end"
        return
    if path.count("/") < 2:
        yield f"{path} is directly below the root directory; name a directory of its own, like /srv/volumes/data"
    named = {name: directories.normal(str(values[name])) for name in _OURS if values.get(name)}
    taken = {**{each: each for each in _OTHERS}, **{where: f"{where} ({name})" for name, where in named.items()}}
    for directory, said in taken.items():
        if directories.within(path, directory):
            yield f"{path} is in {said}, which has others' files"
            return
        if directories.within(directory, path):
            yield f"{path} has {said} in it"
            return


def _together(volumes: Sequence[Volume]) -> Iterator[str]:
    """What only shows when volumes are compared."""
    for one, other in itertools.combinations(volumes, 2):
        if one.host != other.host:
            continue
        outer, inner = sorted((one, other), key=lambda volume: len(volume.path))
        if one.path == other.path:
            yield f"{one.volume} and {other.volume} are the same directory, {one.path} on {one.host}"
        elif directories.within(inner.path, outer.path):
            yield f"on {one.host} {inner.path} ({inner.volume}) is in {outer.path} ({outer.volume})"
