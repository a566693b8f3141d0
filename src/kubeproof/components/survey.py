"""What a fetch would do, without doing it: for ``kubeproof components``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kubeproof.components import cache as caching
from kubeproof.components import fetch, gobuild, manifests, release, selection
from kubeproof.components.lock import Lock
from kubeproof.components.pins import Component, Image, Pins
from kubeproof.core.errors import KubeproofError


@dataclass(frozen=True)
class Row:
    """One component or image: ``origin`` where it is from, ``verified`` by what, ``state`` whether it is here."""

    name: str
    version: str
    arch: str
    origin: str
    verified: str
    state: str


@dataclass(frozen=True)
class _Survey:
    request: fetch.Request
    source: str
    pins: Pins
    lock: Lock
    cache: caching.Cache

    def rows(self) -> Iterator[Row]:
        groups = self.request.groups
        choose = selection.to_build if self.source == "go" else selection.on_hosts
        for arch in self.request.architectures:
            for component in choose(self.pins, groups):
                built = self.source == "go" or component.go.always
                yield (self._built if built else self._downloaded)(component, arch)
            for image in selection.images(self.pins, groups):
                yield self._image(image, arch)
        for component in manifests.needed(self.pins, groups):
            state = "cached" if manifests.cached(self.pins, component, self.cache) else "to be taken with Go"
            origin, verified = gobuild.origin(self.pins, component), component.module_file("go.sum")
            yield Row(f"{component.name} manifests", component.version, "any", origin, verified, state)

    def _built(self, component: Component, arch: str) -> Row:
        has_module = component.version in self.pins.module_versions(component)
        origin = gobuild.origin(self.pins, component) if has_module else "no Go module"
        verified = component.module_file("go.sum") if has_module else "-"
        return Row(component.name, component.version, arch, origin, verified, self._build_state(component, arch))

    def _build_state(self, component: Component, arch: str) -> str:
        try:
            selection.refuse_builds([component])
            tools = gobuild.toolchain()
            gobuild.check(self.pins, component, arch, tools)
        except KubeproofError as error:
            return str(error.args[0])
        if self.cache.result(gobuild.key(self.pins, component, arch, tools)):
            return "cached"
        return f"to be built, up to {component.go.cold_seconds} s on two cores"

    def _downloaded(self, component: Component, arch: str) -> Row:
        artifacts = release.artifacts(component, arch, component.needed(self.request.groups))
        first = artifacts[0]
        locked = self.lock.download(first.url)
        authority = locked["verified"] if locked else first.pinned_by if first.pinned else first.checksums
        if not authority and first.first_download:
            authority = release.FIRST
        by_itself = authority in (first.pinned_by, "components.yml", release.FIRST)
        verified = authority if by_itself else f"published {authority.rpartition('/')[2]}"
        if not authority:
            verified = "nothing: no checksum is published or pinned"
        origin = release.location(artifacts, self.request.mirror if self.source == "mirror" else "")
        entry = self.lock.component(arch, component.name, component.version)
        state = "cached" if entry and self._current(entry, component.version) else "to be downloaded"
        return Row(component.name, component.version, arch, origin, verified, state)

    def _image(self, image: Image, arch: str) -> Row:
        name = f"{image.name} image"
        if self.source != "go":
            reference = image.reference(self.request.registry)
            return Row(name, image.version, arch, reference, "the nodes' runtime", "pulled by each node")
        entry = self.lock.image(arch, image.name, image.version)
        cached = entry and entry["archive"] and self._current(entry, image.version)
        state = "cached" if cached else "to be made"
        return Row(name, image.version, arch, image.local_reference, self.pins.verified_by(image.local), state)

    def _current(self, entry: dict[str, Any], version: str) -> bool:
        return bool(entry["source"] == self.source and fetch.entry_complete(entry, version, self.cache))


def survey(request: fetch.Request, source: str, pins: Pins, state_directory: Path) -> list[Row]:
    """One row for each component and image that ``request`` asks for, from ``source``."""
    with caching.Cache() as cache:
        wanted = request.wanted(pins)
        return list(_Survey(request, source, wanted, Lock(state_directory), cache).rows())
