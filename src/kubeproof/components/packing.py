"""Making the pinned images from what source ``go`` built."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from kubeproof.components import cache as caching
from kubeproof.components import gobuild, oci
from kubeproof.components.pins import Image, ModuleFile, Pins, expand
from kubeproof.core.errors import KubeproofError

# Part of every image's key: raise it when the way of making images changes.
_RECIPE = "1"


def check(pins: Pins) -> None:
    """Raise KubeproofError if an image is wanted in a version other than the one that can be made here.

    What is made of a file of a component's sources has the version that this component goes with.
    """
    for misfit in pins.misfits():
        image = pins.images.get(misfit.member)
        if image and _modules(image):
            raise KubeproofError(
                f"component_versions asks for the image {image.name} {image.version}, but source go makes it "
                f"of the sources of {misfit.leader} {misfit.leader_version}, which have {misfit.fitting}",
                hint="leave the version out, or set component_source to release or mirror",
            )


def _modules(image: Image) -> set[str]:
    """The Go modules whose files go into an image."""
    local = image.local
    return {file.module for file in (*local.files, *([local.c] if local.c else []))}


def pack(
    pins: Pins, image: Image, arch: str, built: Mapping[str, caching.Blob], cache: caching.Cache
) -> tuple[caching.Result, bool]:
    """Make an image, or take it from the cache; whether it was made comes second.

    ``built`` has the built binaries by name. The result's blob is ``archive``, its note has the image's ``digest``.
    """
    program = _program(pins, image, arch, built, cache)
    files = {file.path: _module_file(pins, file) for file in image.local.files}
    contents = [f"{path} {caching.sha256_of(file)}" for path, file in sorted(files.items())]
    key = caching.key_of("image", _RECIPE, repr(image), program.sha256, arch, *contents)
    with cache.lock(key):
        cached = cache.result(key)
        if cached:
            return cached, False
        with cache.work() as directory:
            archive = directory / "archive"
            digest = oci.write_archive(_contents(image, arch, program.path, files), archive)
            return cache.store(key, {"archive": archive}, {"digest": digest}), True


def _program(
    pins: Pins, image: Image, arch: str, built: Mapping[str, caching.Blob], cache: caching.Cache
) -> caching.Blob:
    if image.local.c is None:
        return built[image.local.binary]
    flags = [expand(flag, image.version) for flag in image.local.flags]
    return gobuild.compile_c(_module_file(pins, image.local.c), flags, arch, cache)


def _module_file(pins: Pins, file: ModuleFile) -> Path:
    return gobuild.module_file(pins, file.module, file.source)


def _contents(image: Image, arch: str, program: Path, files: Mapping[str, Path]) -> oci.Contents:
    local = image.local
    return oci.Contents(
        reference=image.local_reference,
        arch=arch,
        files={**{path: (file, 0o644) for path, file in files.items()}, local.path: (program, 0o755)},
        links=local.links,
        directories=local.directories,
        user=local.user,
        entrypoint=local.entrypoint,
        arguments=local.arguments,
        ports=local.ports,
        labels={
            "org.opencontainers.image.title": image.name,
            "org.opencontainers.image.version": image.version,
        },
    )
