"""Getting everything that a cluster needs into the cache, and writing down in the inventory's lock what it was."""

from __future__ import annotations

import concurrent.futures
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kubeproof.components import cache as caching
from kubeproof.components import gobuild, images, release, source
from kubeproof.components.download import Downloader
from kubeproof.components.lock import Lock
from kubeproof.components.pins import ARCHITECTURES, Component, Image, Pins
from kubeproof.components.progress import Event, Phase, Progress, silent
from kubeproof.errors import KubeproofError

# Downloads wait for the network, not for this machine; the release hosts serve this many at once without slowing.
_PARALLEL_DOWNLOADS = 6
_NODE_GROUPS = frozenset({"control_plane", "workers"})
# Part of every image's key: raise it when the way of making images changes.
_IMAGE_RECIPE = "1"


@dataclass(frozen=True)
class Request:
    """What to fetch. ``groups``: the inventory groups that have hosts; ``registry``: a mirror of image registries."""

    source: str = "auto"
    mirror: str = ""
    registry: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    architectures: Sequence[str] = ("amd64",)
    groups: Collection[str] = ("etcd", "control_plane", "workers")
    accept_changed: bool = False


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


def needed_components(pins: Pins, groups: Collection[str], *, local_images: bool) -> list[Component]:
    """The components that hosts of ``groups`` need, and those whose binaries go into images made here."""
    names = {component.name for component in pins.components.values() if component.needed(groups)}
    if local_images:
        binaries = (image.local.binary for image in needed_images(pins, groups))
        names |= {pins.owner(binary).name for binary in binaries if binary}
    return [component for name, component in pins.components.items() if name in names]


def needed_images(pins: Pins, groups: Collection[str]) -> list[Image]:
    """The images that a cluster with hosts in ``groups`` needs: all of them as soon as it has nodes."""
    return [] if _NODE_GROUPS.isdisjoint(groups) else list(pins.images.values())


def fetch(
    request: Request,
    pins: Pins,
    state_directory: Path,
    *,
    cache_directory: Path | None = None,
    downloader: Downloader | None = None,
    progress: Progress = silent,
) -> Outcome:
    """Fetch or build what ``request`` asks for. ``pins`` must have the request's versions applied.

    The lock is written only when everything was had. Raises KubeproofError; what was completed until then stays cached.
    """
    unknown = sorted(set(request.architectures) - set(ARCHITECTURES))
    if unknown:
        raise KubeproofError(f"no components for {', '.join(unknown)}; there are for {', '.join(ARCHITECTURES)}")
    lock = Lock(state_directory)
    with downloader or Downloader() as client, caching.Cache(cache_directory) as cache:
        needed = needed_components(pins, request.groups, local_images=False)
        choice = source.choose(request.source, request.mirror, pins, needed, request.architectures, lock, client)
        run = _Run(request, pins, choice.source, lock, cache, client, progress)
        try:
            fetched = run.from_go() if choice.source == "go" else run.from_release()
            changed = lock.save()
        except OSError as error:
            raise KubeproofError(f"{error.filename or cache.directory}: {error.strerror}") from error
    return Outcome(choice, fetched, changed or any(item.fresh for item in fetched))


def complete(request: Request, pins: Pins, state_directory: Path) -> bool:
    """Whether the inventory's lock and the cache have everything that ``request`` asks for, so that a fetch has no work."""
    lock = Lock(state_directory)
    with caching.Cache() as cache:
        return all(_entry_complete(entry, version, cache) for entry, version in _wanted_entries(request, pins, lock))


def _wanted_entries(request: Request, pins: Pins, lock: Lock) -> Iterator[tuple[dict[str, Any] | None, str]]:
    for arch in request.architectures:
        for component in needed_components(pins, request.groups, local_images=False):
            yield lock.component(arch, component.name), component.version
        for image in needed_images(pins, request.groups):
            yield lock.image(arch, image.name), image.version


def _entry_complete(entry: dict[str, Any] | None, version: str, cache: caching.Cache) -> bool:
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

    def from_go(self) -> list[Fetched]:
        """Build components one after another (each build uses every core), then pack images from them."""
        tools = gobuild.toolchain()
        components = needed_components(self.pins, self.request.groups, local_images=True)
        pairs = [(component, arch) for arch in self.request.architectures for component in components]
        for component, arch in pairs:
            gobuild.check(self.pins, component, arch, tools)
        self._check_image_versions()
        built: dict[tuple[str, str], caching.Result] = {}
        fetched = []
        for component, arch in pairs:
            result, fresh = gobuild.build(self.pins, component, arch, tools, self.cache, self.progress)
            built[component.name, arch] = result
            fetched.append(self._built(component, arch, tools, result, fresh))
        for arch in self.request.architectures:
            for image in needed_images(self.pins, self.request.groups):
                fetched.append(self._packed(image, arch, built))
        return fetched

    def from_release(self) -> list[Fetched]:
        """Download what is not cached, side by side; images are left to the nodes' runtime."""
        release_source = release.Release(
            self.downloader, self.cache, self.request.mirror if self.source == "mirror" else "", self.progress
        )
        guard = threading.Lock()
        jobs: list[Callable[[], Fetched]] = []
        for arch in self.request.architectures:
            for component in needed_components(self.pins, self.request.groups, local_images=False):
                jobs.append(lambda c=component, a=arch: self._downloaded(c, a, release_source, guard))
        fetched = _side_by_side(jobs)
        for arch in self.request.architectures:
            fetched += [self._referenced(image, arch) for image in needed_images(self.pins, self.request.groups)]
        return fetched

    def _built(
        self, component: Component, arch: str, tools: gobuild.Toolchain, result: caching.Result, fresh: bool
    ) -> Fetched:
        package = next(iter(component.go.packages.values()))
        origin = f"{gobuild.origin(self.pins, component.go.module, package)} built with Go {tools.version}"
        self._record(component, arch, origin, result.blobs)
        self._finished(component.name, fresh)
        verified = f"components/go/{component.go.module}/go.sum"
        return Fetched(component.name, component.version, arch, origin, verified, fresh)

    def _packed(self, image: Image, arch: str, built: Mapping[tuple[str, str], caching.Result]) -> Fetched:
        program, fresh_program = self._program(image, arch, built)
        key = caching.key_of(
            "image", _IMAGE_RECIPE, repr(image), program.sha256, (self.pins.root / "go/kubernetes/go.sum").read_bytes(), arch
        )
        with self.cache.lock(key):
            cached = self.cache.result(key)
            result = cached or self._pack(image, arch, program.path, key)
        archive = result.blobs["archive"]
        self.lock.record_image(
            arch,
            image.name,
            {
                "version": image.version,
                "source": self.source,
                "reference": image.local_reference,
                "digest": result.note["digest"],
                "archive": {"sha256": archive.sha256, "size": archive.size},
            },
        )
        fresh = fresh_program or cached is None
        self._finished(image.name, fresh)
        origin = f"{image.local.binary or image.local.path.lstrip('/')} packed as {image.local_reference}"
        return Fetched(f"{image.name} image", image.version, arch, origin, str(result.note["digest"]), fresh)

    def _program(
        self, image: Image, arch: str, built: Mapping[tuple[str, str], caching.Result]
    ) -> tuple[caching.Blob, bool]:
        if image.local.c is None:
            owner = self.pins.owner(image.local.binary)
            return built[owner.name, arch].blobs[image.local.binary], False
        source_file = gobuild.module_file(self.pins, image.local.c)
        flags = [flag.format(version=image.version) for flag in image.local.flags]
        return gobuild.compile_c(source_file, flags, arch, self.cache)

    def _pack(self, image: Image, arch: str, program: Path, key: str) -> caching.Result:
        self.progress(Event(image.name, Phase.PACK))
        local = image.local
        files = {file.path: (gobuild.module_file(self.pins, file), 0o644) for file in local.files}
        contents = images.Contents(
            reference=image.local_reference,
            arch=arch,
            files={**files, local.path: (program, 0o755)},
            links=local.links,
            directories=local.directories,
            user=local.user,
            entrypoint=local.entrypoint,
            arguments=local.arguments,
            ports=local.ports,
            labels={"org.opencontainers.image.version": image.version, "org.opencontainers.image.title": image.name},
        )
        with self.cache.work() as directory:
            archive = directory / "archive"
            digest = images.write_archive(contents, archive)
            return self.cache.store(key, {"archive": archive}, {"digest": digest})

    def _downloaded(
        self, component: Component, arch: str, source_: release.Release, guard: threading.Lock
    ) -> Fetched:
        blobs: dict[str, caching.Blob] = {}
        verified, fresh = set(), False
        for artifact in release.artifacts(component, arch, component.needed(self.request.groups)):
            locked = "" if self.request.accept_changed else self.lock.download(artifact.url)
            expected = source_.expectation(artifact, locked)
            result, new = source_.obtain(artifact, expected)
            blobs.update(result.blobs)
            verified.add(expected.authority)
            fresh = fresh or new
            with guard:
                if not expected.from_lock:
                    self.lock.record_download(artifact.url, expected.sha256, expected.authority)
        assert component.release is not None
        origin = release.mirrored(component.text(component.release.url, arch=arch, binary="*"), self.request.mirror)
        with guard:
            self._record(component, arch, origin, blobs)
        self._finished(component.name, fresh)
        return Fetched(component.name, component.version, arch, origin, ", ".join(sorted(verified)), fresh)

    def _referenced(self, image: Image, arch: str) -> Fetched:
        reference = image.reference(self.request.registry)
        entry = {"version": image.version, "source": self.source, "reference": reference, "digest": "", "archive": None}
        self.lock.record_image(arch, image.name, entry)
        return Fetched(f"{image.name} image", image.version, arch, reference, "the nodes' runtime pulls it", False)

    def _record(self, component: Component, arch: str, origin: str, blobs: Mapping[str, caching.Blob]) -> None:
        binaries = {name: {"sha256": blob.sha256, "size": blob.size} for name, blob in blobs.items()}
        entry = {"version": component.version, "source": self.source, "origin": origin, "binaries": binaries}
        self.lock.record_component(arch, component.name, entry)

    def _finished(self, name: str, fresh: bool) -> None:
        self.progress(Event(name, Phase.DONE if fresh else Phase.CACHED))

    def _check_image_versions(self) -> None:
        for name in sorted(self.pins.overridden & set(self.pins.images)):
            raise KubeproofError(
                f"component_versions asks for the image {name} {self.pins.images[name].version}, "
                "but source go makes only the version in components.yml",
                hint="leave the version out, or set component_source to release or mirror",
            )


def _side_by_side(jobs: Sequence[Callable[[], Fetched]]) -> list[Fetched]:
    """Run all jobs to their end; if any failed, raise one error that repeats each."""
    with concurrent.futures.ThreadPoolExecutor(_PARALLEL_DOWNLOADS) as pool:
        futures = [pool.submit(job) for job in jobs]
    errors = [error for future in futures if (error := future.exception())]
    unexpected = [error for error in errors if not isinstance(error, KubeproofError)]
    if unexpected:
        raise unexpected[0]
    if errors:
        raise KubeproofError("\n".join(dict.fromkeys(str(error) for error in errors)))
    return [future.result() for future in futures]
