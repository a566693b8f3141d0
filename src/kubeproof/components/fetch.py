"""Getting everything that a cluster needs into the cache, and writing down in the inventory's lock what it was.

What the lock has as current stays so: that is for the run to change that has given something else to all hosts.
"""

from __future__ import annotations

import dataclasses
import functools
import platform
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kubeproof.components import cache as caching
from kubeproof.components import gobuild, manifests, packing, published, release, selection, source
from kubeproof.components.download import Downloader
from kubeproof.components.lock import Lock, has_binaries
from kubeproof.components.pins import ARCHITECTURES, GROUPS, MACHINES, Component, Image, Pins, Published
from kubeproof.components.progress import Event, Phase, Progress, silent
from kubeproof.core.errors import KubeproofError
from kubeproof.core.parallel import run_all
from kubeproof.settings.urls import without_userinfo

_KUBERNETES, _KUBECTL = "kubernetes", "kubectl"
# Downloads wait for the network, not for this machine; the release hosts serve this many at once without slowing.
_PARALLEL_DOWNLOADS = 6


@dataclass(frozen=True)
class Request:
    """What to fetch: the role's ``component_…`` variables, and ``groups``, the inventory groups that have hosts.

    ``pods`` names the components that run as pods, for which images are made of their binaries.
    ``manifest_sha256`` is what the manifest of the pod network must be, if the user has verified it.
    ``sha256``: what downloads must be that the user has verified, by component and architecture.
    ``accept_changed`` takes downloads that are not what the inventory's lock records, and records them instead.
    """

    source: str = "auto"
    mirror: str = ""
    registry: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    architectures: Sequence[str] = ("amd64",)
    groups: Collection[str] = GROUPS
    pods: Collection[str] = ()
    manifest_sha256: str = ""
    sha256: Mapping[str, Any] = field(default_factory=dict)
    accept_changed: bool = False

    def wanted(self, pins: Pins) -> Pins:
        """``pins``, which are the repository's, with the versions and checksums that are asked for.

        Raises KubeproofError if there are no such components.
        """
        return pins.with_versions(self.versions).with_sha256(self.sha256)


@dataclass(frozen=True)
class Fetched:
    """One component or image: ``verified`` says what vouches for it, ``fresh`` whether it was not in the cache."""

    name: str
    version: str
    arch: str
    origin: str
    verified: str
    fresh: bool


@dataclass(frozen=True)
class Outcome:
    """What a fetch did. ``changed``: something is new in the cache or in the inventory's lock."""

    choice: source.Choice
    fetched: Sequence[Fetched]
    changed: bool


def fetch(
    request: Request,
    pins: Pins,
    state_directory: Path,
    *,
    cache_directory: Path | None = None,
    downloader: Downloader | None = None,
    progress: Progress = silent,
) -> Outcome:
    """Fetch or build what ``request`` asks for. ``pins`` are those of the repository, without the request's versions.

    The lock is written only when everything was had. Raises KubeproofError; what was completed until then stays cached.
    """
    _check_architectures(request.architectures)
    wanted = request.wanted(pins)
    lock = Lock(state_directory)
    with downloader or Downloader() as client, caching.Cache(cache_directory) as cache:
        choice = _choose(request, wanted, lock, client)
        run = _Run(request, wanted, choice.source, lock, cache, client, progress)
        try:
            # Those first: that Go is missing for them is an error before minutes are spent.
            fetched = run.manifests()
            fetched += run.from_go() if choice.source == "go" else run.from_release()
            changed = lock.save()
        except OSError as error:
            raise KubeproofError(f"{error.filename or cache.directory}: {error.strerror}") from error
    return Outcome(choice, fetched, changed or any(item.fresh for item in fetched))


def choose(request: Request, pins: Pins, state_directory: Path) -> source.Choice:
    """Which source ``fetch`` would take, and why. Raises KubeproofError if ``auto`` finds none."""
    with Downloader() as downloader:
        return _choose(request, request.wanted(pins), Lock(state_directory), downloader)


def complete(request: Request, pins: Pins, state_directory: Path) -> bool:
    """Whether the inventory's lock and the cache have all that ``request`` asks for, so that a fetch has no work."""
    lock = Lock(state_directory)
    with caching.Cache() as cache:
        wanted = request.wanted(pins)
        entries = _wanted_entries(request, wanted, lock)
        publications = selection.published(wanted, request.groups)
        applied = manifests.needed(wanted, request.groups)
        return (
            all(entry_complete(entry, version, cache) for entry, version in entries)
            and all(manifests.cached(wanted, component, cache) for component in applied)
            and all(
                published.cached(manifest, lock, cache)
                and (not manifest.is_chart or published.helm(wanted, lock, cache) is not None)
                for manifest in publications
            )
        )


def _choose(request: Request, pins: Pins, lock: Lock, downloader: Downloader) -> source.Choice:
    needed = selection.released(selection.on_hosts(pins, request.groups))
    return source.choose(request.source, request.mirror, needed, request.architectures, lock, downloader)


def _check_architectures(architectures: Collection[str]) -> None:
    unknown = sorted(set(architectures) - set(ARCHITECTURES))
    if unknown:
        raise KubeproofError(f"there are no components for {', '.join(unknown)}, only for {', '.join(ARCHITECTURES)}")


def _wanted_entries(request: Request, pins: Pins, lock: Lock) -> Iterator[tuple[dict[str, Any] | None, str]]:
    for arch in request.architectures:
        for component in selection.on_hosts(pins, request.groups):
            entry = lock.component(arch, component.name, component.version)
            names = (binary.name for binary in component.needed(request.groups))
            yield entry if has_binaries(entry, names) else None, component.version
        for image in selection.images(pins, request.groups, request.pods):
            yield lock.image(arch, image.name, image.version), image.version
    for component, arch in _for_this_machine(request, pins):
        entry = lock.component(arch, component.name, component.version)
        yield entry if has_binaries(entry, component.binaries) else None, component.version


def _for_this_machine(request: Request, pins: Pins) -> list[tuple[Component, str]]:
    """Kubernetes with kubectl only, which asks clusters, and this machine's architecture, if no host has that."""
    arch, component = MACHINES.get(platform.machine(), ""), pins.components.get(_KUBERNETES)
    needed = component.needed(request.groups) if component else ()
    kubectl = {binary.name: binary for binary in needed if binary.name == _KUBECTL}
    if component is None or not kubectl or arch in ("", *request.architectures):
        return []
    build = dataclasses.replace(component.go, packages={_KUBECTL: component.go.packages[_KUBECTL]})
    return [(dataclasses.replace(component, binaries=kubectl, go=build), arch)]


def entry_complete(entry: dict[str, Any] | None, version: str, cache: caching.Cache) -> bool:
    """Whether an entry of the lock is of that version and the cache has all of it."""
    if not entry or entry["version"] != version:
        return False
    blobs = [*entry.get("binaries", {}).values(), *([entry["archive"]] if entry.get("archive") else [])]
    return all(cache.blob(blob["sha256"]) for blob in blobs)


@dataclass
class _Run:
    """One fetch from one source."""

    request: Request
    pins: Pins
    source: str
    lock: Lock
    cache: caching.Cache
    downloader: Downloader
    progress: Progress
    guard: threading.Lock = field(default_factory=threading.Lock)

    def from_go(self) -> list[Fetched]:
        """Build components one after another (each build uses every core), then make images of them."""
        published.refuse_builds(selection.published(self.pins, self.request.groups))
        selection.refuse_builds(selection.on_hosts(self.pins, self.request.groups))
        packing.check(self.pins)
        fetched, built = self._builds(selection.to_build(self.pins, self.request.groups))
        fetched += [self._build(*each, gobuild.toolchain())[0] for each in self._for_this_machine()]
        for arch in self.request.architectures:
            fetched += [self._packed(image, arch, built[arch]) for image in self._images()]
        return fetched

    def _builds(
        self, components: Sequence[Component]
    ) -> tuple[list[Fetched], Mapping[str, Mapping[str, caching.Blob]]]:
        """Build components for all architectures; their binaries by architecture and name come second."""
        tools = gobuild.toolchain()
        pairs = [(component, arch) for arch in self.request.architectures for component in components]
        # Everything that can be known to fail is, before minutes are spent.
        for component, arch in pairs:
            gobuild.check(self.pins, component, arch, tools)
        fetched = []
        built: dict[str, dict[str, caching.Blob]] = {}
        for component, arch in pairs:
            done, blobs = self._build(component, arch, tools)
            built.setdefault(arch, {}).update(blobs)
            fetched.append(done)
        return fetched, built

    def _build(
        self, component: Component, arch: str, tools: gobuild.Toolchain
    ) -> tuple[Fetched, Mapping[str, caching.Blob]]:
        result, fresh = gobuild.build(self.pins, component, arch, tools, self.cache, self.progress)
        return self._built(component, arch, tools, result, fresh=fresh), result.blobs

    def _unreleased(self, components: Sequence[Component]) -> list[Fetched]:
        """Build what has no release, whatever the source."""
        try:
            return self._builds(components)[0] if components else []
        except gobuild.NoToolchain as error:
            names = ", ".join(component.name for component in components)
            raise KubeproofError(
                f"there is no release of {names}, which is always built: {error.args[0]}",
                hint="install Go from https://go.dev/dl/ or your distribution, or switch off what needs it",
            ) from error

    def from_release(self) -> list[Fetched]:
        """Download what is not cached, side by side; images of registries are left to the nodes' runtime."""
        mirror = self.request.mirror if self.source == "mirror" else ""
        official = release.Release(self.downloader, self.cache, mirror, self.progress)
        needed = selection.on_hosts(self.pins, self.request.groups)
        components = selection.released(needed)
        fetched = self._unreleased([component for component in needed if component not in components])
        jobs = [
            functools.partial(self._downloaded, component, arch, official)
            for arch in self.request.architectures
            for component in components
        ]
        jobs += [functools.partial(self._downloaded, *each, official) for each in self._for_this_machine()]
        publications = selection.published(self.pins, self.request.groups)
        jobs += [functools.partial(self._published, manifest, official) for manifest in publications]
        if any(manifest.is_chart for manifest in publications):
            # Of this machine, to make manifests of the chart.
            jobs.append(functools.partial(self._helm, official))
        fetched += run_all(jobs, _PARALLEL_DOWNLOADS)
        for arch in self.request.architectures:
            fetched += [
                self._packed(image, arch, self._recorded(image.component, arch))
                if image.component
                else self._referenced(image, arch)
                for image in self._images()
            ]
        return fetched

    def manifests(self) -> list[Fetched]:
        """Have what is applied into the cluster of the components' own files, from their Go modules."""
        fetched = []
        for component in manifests.needed(self.pins, self.request.groups):
            _, fresh = manifests.fetch(self.pins, component, self.cache)
            name, verified = f"{component.name} manifests", component.module_file("go.sum")
            origin = gobuild.origin(self.pins, component)
            fetched.append(Fetched(name, component.version, "any", origin, verified, fresh))
        return fetched

    def _for_this_machine(self) -> list[tuple[Component, str]]:
        """What is to be had of it: a host's entry that is there already may have more, and stays."""

        def there(component: Component, arch: str) -> bool:
            entry = self.lock.component(arch, component.name, component.version)
            known = entry is not None and entry["source"] == self.source and has_binaries(entry, component.binaries)
            return known and entry_complete(entry, component.version, self.cache)

        return [each for each in _for_this_machine(self.request, self.pins) if not there(*each)]

    def _images(self) -> list[Image]:
        return selection.images(self.pins, self.request.groups, self.request.pods)

    def _recorded(self, component: str, arch: str) -> dict[str, caching.Blob]:
        """A component's binaries in the cache, as this run has just recorded them."""
        entry = self.lock.component(arch, component, self.pins.components[component].version) or {"binaries": {}}
        blobs = {name: self.cache.blob(record["sha256"]) for name, record in entry["binaries"].items()}
        return {name: blob for name, blob in blobs.items() if blob}

    def _built(
        self, component: Component, arch: str, tools: gobuild.Toolchain, result: caching.Result, *, fresh: bool
    ) -> Fetched:
        origin = f"{gobuild.origin(self.pins, component)}, built with Go {tools.version}"
        self._record(component, arch, origin, result.blobs)
        self._finished(component.name, fresh=fresh)
        verified = component.module_file("go.sum")
        return Fetched(component.name, component.version, arch, origin, verified, fresh)

    def _packed(self, image: Image, arch: str, built: Mapping[str, caching.Blob]) -> Fetched:
        self.progress(Event(image.name, Phase.PACK))
        result, fresh = packing.pack(self.pins, image, arch, built, self.cache)
        archive, digest = result.blobs["archive"], str(result.note["digest"])
        entry = {
            "version": image.version,
            "source": self.source,
            "reference": image.local_reference,
            "digest": digest,
            "archive": {"sha256": archive.sha256, "size": archive.size},
        }
        self.lock.record_image(arch, image.name, entry)
        self._finished(image.name, fresh=fresh)
        origin = f"made here: {image.local_reference}"
        return Fetched(f"{image.name} image", image.version, arch, origin, self.pins.verified_by(image.local), fresh)

    def _downloaded(self, component: Component, arch: str, official: release.Release) -> Fetched:
        artifacts = release.artifacts(component, arch, component.needed(self.request.groups))
        blobs: dict[str, caching.Blob] = {}
        authorities, fresh = [], False
        for artifact in artifacts:
            locked = self._locked(artifact)
            if artifact.first_download and not (locked or artifact.pinned):
                (result, expected), new = official.obtain_first(artifact), True
            else:
                expected = official.expectation(artifact, locked)
                result, new = official.obtain(artifact, expected)
            blobs.update(result.blobs)
            authorities.append(expected.authority)
            fresh = fresh or new
            with self.guard:
                self.lock.record_download(artifact.url, expected.sha256, expected.authority)
        origin = release.location(artifacts, official.mirror)
        with self.guard:
            self._record(component, arch, origin, blobs)
        self._finished(component.name, fresh=fresh)
        return Fetched(component.name, component.version, arch, origin, authorities[0], fresh)

    def _published(self, manifest: Published, official: release.Release) -> Fetched:
        known = self.request.manifest_sha256 or manifest.sha256
        record = None if self.request.accept_changed else self.lock.download(manifest.location)
        locked = release.Expectation(record["sha256"], record["verified"], from_lock=True) if record else None
        sha256, verified, fresh = published.obtain(manifest, known, locked, official)
        with self.guard:
            self.lock.record_download(manifest.location, sha256, verified)
        self._finished(manifest.name, fresh=fresh)
        origin = without_userinfo(release.mirrored(manifest.location, official.mirror))
        return Fetched(f"{manifest.name} manifest", manifest.version, "all", origin, verified, fresh)

    def _helm(self, official: release.Release) -> Fetched:
        component, artifact = self.pins.components[published.HELM], published.helm_artifact(self.pins)
        expected = official.expectation(artifact, self._locked(artifact))
        _, fresh = official.obtain(artifact, expected)
        with self.guard:
            self.lock.record_download(artifact.url, expected.sha256, expected.authority)
        self._finished(component.name, fresh=fresh)
        origin = release.location([artifact], official.mirror)
        return Fetched(component.name, component.version, platform.machine(), origin, expected.authority, fresh)

    def _locked(self, artifact: release.Artifact) -> release.Expectation | None:
        """What the lock says that an artifact must be, unless it is not to be asked."""
        record = None if self.request.accept_changed else self.lock.download(artifact.url)
        return release.Expectation(record["sha256"], record["verified"], from_lock=True) if record else None

    def _referenced(self, image: Image, arch: str) -> Fetched:
        reference = image.reference(self.request.registry)
        entry = {"version": image.version, "source": self.source, "reference": reference, "digest": "", "archive": None}
        self.lock.record_image(arch, image.name, entry)
        return Fetched(f"{image.name} image", image.version, arch, reference, "the nodes' runtime", fresh=False)

    def _record(self, component: Component, arch: str, origin: str, blobs: Mapping[str, caching.Blob]) -> None:
        binaries = {name: {"sha256": blob.sha256, "size": blob.size} for name, blob in blobs.items()}
        kind = "go" if component.go.always else self.source
        entry = {"version": component.version, "source": kind, "origin": origin, "binaries": binaries}
        self.lock.record_component(arch, component.name, entry)

    def _finished(self, name: str, *, fresh: bool) -> None:
        self.progress(Event(name, Phase.DONE if fresh else Phase.CACHED))
