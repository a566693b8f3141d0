"""Programs for this machine, which no host has: fetched or built when somebody asks for one, and kept in the cache.

They come from the same source as the cluster's components. The inventory's lock records what was downloaded, but counts
none of them among the cluster's components, so that asking for one is no change of the cluster's versions.
"""

from __future__ import annotations

import dataclasses
import platform
from pathlib import Path

from kubeproof.components import gobuild, prefetch, release
from kubeproof.components.cache import Cache, Result
from kubeproof.components.download import Downloader
from kubeproof.components.fetch import Request
from kubeproof.components.lock import Lock
from kubeproof.components.pins import MACHINES, Component, Pins
from kubeproof.components.progress import Progress, silent
from kubeproof.core.errors import KubeproofError
from kubeproof.settings.inventory import Inventory

# The component whose source others follow if `component_source` is auto: every cluster has it.
_INSTALLED = "kubernetes"


def request_of(cluster: Inventory) -> Request:
    """As the cluster's components are asked for, but for this machine."""
    machine = platform.machine()
    return dataclasses.replace(prefetch.request_of(cluster), architectures=(MACHINES.get(machine, machine),))


def source(request: Request, state: Path) -> str:
    """Where a program comes from: the inventory's source, or for ``auto`` what the cluster was installed from.

    Raises KubeproofError if there is no cluster yet.
    """
    if request.source != "auto":
        return request.source
    lock = Lock(state)
    architectures = (*request.architectures, *lock.architectures("current"), *lock.architectures("target"))
    entry = next(filter(None, (lock.component(arch, _INSTALLED) for arch in architectures)), None)
    if not entry:
        raise KubeproofError(
            f"nothing is recorded as installed in {state}", hint="`kubeproof up` or playbooks/cluster.yml installs it"
        )
    return str(entry["source"])


def cached(name: str, request: Request, pins: Pins, state: Path, *, cache_directory: Path | None = None) -> Path | None:
    """The program, if it is in the cache: nothing is downloaded or built."""
    wanted = request.wanted(pins)
    component = wanted.components[name]
    with Cache(cache_directory) as cache:
        if source(request, state) == "go":
            result = _built(wanted, component, request.architectures[0], cache)
        else:
            result = _downloaded(component, request.architectures[0], Lock(state), cache)
        return result.blobs[name].path if result else None


def obtain(
    name: str,
    request: Request,
    pins: Pins,
    state: Path,
    *,
    cache_directory: Path | None = None,
    downloader: Downloader | None = None,
    progress: Progress = silent,
) -> Path:
    """The program, from the cache, downloaded or built. ``request``: of one architecture, this machine's.

    Raises KubeproofError if it can't be had.
    """
    wanted = request.wanted(pins)
    component, arch = wanted.components[name], request.architectures[0]
    chosen = source(request, state)
    with downloader or Downloader() as client, Cache(cache_directory) as cache:
        if chosen == "go":
            tools = gobuild.toolchain()
            gobuild.check(wanted, component, arch, tools)
            result, _ = gobuild.build(wanted, component, arch, tools, cache, progress)
            return result.blobs[name].path
        lock = Lock(state)
        official = release.Release(client, cache, request.mirror if chosen == "mirror" else "", progress)
        artifact = _artifact(component, arch)
        record = None if request.accept_changed else lock.download(artifact.url)
        locked = release.Expectation(record["sha256"], record["verified"], from_lock=True) if record else None
        expected = official.expectation(artifact, locked)
        result, _ = official.obtain(artifact, expected)
        lock.record_download(artifact.url, expected.sha256, expected.authority)
        lock.save()
        return result.blobs[name].path


def _artifact(component: Component, arch: str) -> release.Artifact:
    [artifact] = release.artifacts(component, arch, tuple(component.binaries.values()))
    return artifact


def _built(pins: Pins, component: Component, arch: str, cache: Cache) -> Result | None:
    try:
        tools = gobuild.toolchain()
        return cache.result(gobuild.key(pins, component, arch, tools))
    except (KubeproofError, OSError):
        # Without Go or a module of that version nothing can have been built with them.
        return None


def _downloaded(component: Component, arch: str, lock: Lock, cache: Cache) -> Result | None:
    artifact = _artifact(component, arch)
    record = lock.download(artifact.url)
    return cache.result(release.key(artifact, record["sha256"])) if record else None
