"""What one host must have of what was fetched: files to install, and facts for the roles. No Ansible, no network."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

from kubeproof.components import cache as caching
from kubeproof.components import selection
from kubeproof.components.lock import Lock, has_binaries
from kubeproof.components.pins import Pins
from kubeproof.core.errors import KubeproofError
from kubeproof.settings.directories import normal

# Archives stay on the host: a kubelet that runs short of disk removes images, and these no registry could give back.
IMAGE_DIRECTORY = "/var/lib/kubeproof/images"
_FETCH_AGAIN = "run playbooks/cluster.yml from its start: its play for the controller fetches components"


@dataclass(frozen=True)
class HostFile:
    """A file that a host must have, as the module ``distribute_components`` takes it, and its size in bytes.

    ``name``: of the binary, of ``component``, or of the image.
    """

    path: str
    sha256: str
    size: int
    mode: str
    name: str = ""
    component: str = ""

    def wanted(self) -> dict[str, str]:
        """As an entry of what the action plugin hands to that module."""
        return {"path": self.path, "sha256": self.sha256, "mode": self.mode}


@dataclass(frozen=True)
class Distribution:
    """What one host must have. ``facts`` is what roles read as ``kubeproof_components``.

    ``expected``: what is to be fetched first, name and version by the path where a host will have it.
    """

    files: tuple[HostFile, ...]
    facts: Mapping[str, Any]
    expected: Mapping[str, str] = field(default_factory=dict)

    def of(self, programs: Collection[str]) -> tuple[HostFile, ...]:
        """Files of these programs, or components, as far as the host needs them; all files if none are named."""
        return tuple(file for file in self.files if not programs or file.component in programs or file.name in programs)

    def facts_of(self, programs: Collection[str]) -> dict[str, Any]:
        """Facts where only these were installed: other images are not there to be imported."""
        paths = {file.path for file in self.of(programs)}
        archives = [each for each in self.facts["image_archives"] if each["archive"] in paths]
        return {**self.facts, "image_archives": archives}


def plan(
    pins: Pins,
    lock: Lock,
    groups: Collection[str],
    arch: str,
    directories: Mapping[str, str],
    pods: Collection[str] = (),
    *,
    may_lack: bool = False,
) -> Distribution:
    """What a host of ``groups`` and ``arch`` must have. ``directories``: where ``bin`` and ``cni`` are on hosts.

    ``pods``: the components that run as pods.

    Everything is taken from the lock, so that all hosts get the same. Raises KubeproofError if it does not have it;
    with ``may_lack`` this is ``expected``, for a look ahead.
    """
    expected: dict[str, str] = {}
    versions: dict[str, str] = {}
    binaries: dict[str, dict[str, str]] = {}
    files: list[HostFile] = []
    for component in pins.components.values():
        needed = component.needed(groups)
        if not needed:
            continue
        entry = lock.component(arch, component.name, component.version)
        if not has_binaries(entry, (binary.name for binary in needed)):
            entry = None
        paths = {binary.name: normal(f"{directories[component.directory]}/{binary.name}") for binary in needed}
        versions[component.name] = component.version
        if may_lack and not entry:
            expected |= dict.fromkeys(paths.values(), f"{component.name} {component.version}")
            binaries |= {name: {"path": path, "sha256": ""} for name, path in paths.items()}
            continue
        entry = entry or _not_fetched(lock.component(arch, component.name), component.name, component.version, arch)
        for binary in needed:
            record, path = entry["binaries"][binary.name], paths[binary.name]
            binaries[binary.name] = {"path": path, "sha256": record["sha256"]}
            files.append(HostFile(path, record["sha256"], record["size"], "0755", binary.name, component.name))
    references: dict[str, str] = {}
    archives: list[dict[str, str]] = []
    for image in selection.images(pins, groups, pods):
        entry = lock.image(arch, image.name, image.version)
        versions.setdefault(image.name, image.version)
        if may_lack and not entry:
            expected[f"{IMAGE_DIRECTORY}/{image.name}.tar"] = f"the image {image.name} {image.version}"
            references[image.name] = image.local_reference
            continue
        entry = entry or _not_fetched(lock.image(arch, image.name), f"the image {image.name}", image.version, arch)
        references[image.name] = entry["reference"]
        if entry["archive"]:
            path = f"{IMAGE_DIRECTORY}/{image.name}.tar"
            archives.append({"reference": entry["reference"], "archive": path, "digest": entry["digest"]})
            files.append(HostFile(path, entry["archive"]["sha256"], entry["archive"]["size"], "0644", image.name))
    facts = {"versions": versions, "images": references, "binaries": binaries, "image_archives": archives}
    return Distribution(tuple(files), facts, expected)


def blob(sha256: str, cache: caching.Cache) -> caching.Blob:
    """A file that a host must have, in the cache. Raises KubeproofError if it is no longer there."""
    found = cache.blob(sha256)
    if not found:
        raise KubeproofError(f"{sha256} is no longer in the cache {cache.directory}", hint=_FETCH_AGAIN)
    return found


def _not_fetched(other: Mapping[str, Any] | None, name: str, version: str, arch: str) -> NoReturn:
    """What is wanted is not in the lock, but ``other`` may be."""
    if other and other["version"] != version:
        raise KubeproofError(f"{name} {other['version']} was fetched, {version} is wanted now", hint=_FETCH_AGAIN)
    raise KubeproofError(f"{name} {version} was not fetched for {arch}", hint=_FETCH_AGAIN)
