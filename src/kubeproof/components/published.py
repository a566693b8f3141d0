"""Manifests and charts that projects publish: one file each, for all architectures, and without checksums.

What the user or ``components.yml`` says counts, then what the inventory's lock has. Without either the first download
does, which its own host, or a mirror, proves by TLS to have sent; the lock holds all later ones to it.
"""

from __future__ import annotations

import platform
from collections.abc import Sequence

from kubeproof.components.cache import Blob, Cache
from kubeproof.components.lock import Lock
from kubeproof.components.pins import MACHINES, Pins, Published
from kubeproof.components.release import FIRST, Artifact, BadDownload, Expectation, Release, artifacts, key
from kubeproof.core.errors import KubeproofError

HELM = "helm"


def refuse_builds(manifests: Sequence[Published]) -> None:
    """Raises KubeproofError if there is any: none is built."""
    for manifest in manifests:
        raise KubeproofError(
            f"{manifest.name} is installed from the official manifest and images, and is not built from source",
            hint="set component_source to release, or to mirror with component_mirror; nodes pull the images from "
            "their registry, or from one in containerd_registry_mirrors",
        )


def obtain(manifest: Published, known: str, locked: Expectation | None, official: Release) -> tuple[str, str, bool]:
    """Have a manifest in the cache. Returns its SHA-256, what vouches for it, and whether it was downloaded now.

    ``known`` is the SHA-256 that the user or components.yml gives, or empty. Raises DownloadError, BadDownload or
    LockError.
    """
    artifact = Artifact(manifest.name, manifest.location, "", {manifest.name: ""}, archive=False, pinned=known)
    if known or locked:
        expected = official.expectation(artifact, locked)
        _, fresh = official.obtain(artifact, expected)
        return expected.sha256, expected.authority, fresh
    with official.cache.work() as directory:
        file = directory / "download"
        sha256 = official.first(manifest.name, manifest.location, file, "pod_network_manifest_sha256")
        if not file.stat().st_size:
            raise BadDownload(f"{manifest.location} is empty")
        note = {"url": manifest.location, "sha256": sha256}
        official.cache.store(key(artifact, sha256), {manifest.name: file}, note)
    return sha256, FIRST, True


def cached(manifest: Published, lock: Lock, cache: Cache) -> Blob | None:
    """The manifest that the lock has, if it is in the cache: nothing is downloaded."""
    record = lock.download(manifest.location)
    return cache.blob(record["sha256"]) if record else None


def helm(pins: Pins, lock: Lock, cache: Cache) -> Blob | None:
    """This machine's Helm that was downloaded with a chart, if it is in the cache."""
    artifact = helm_artifact(pins)
    record = lock.download(artifact.url)
    result = cache.result(key(artifact, record["sha256"])) if record else None
    return result.blobs[HELM] if result else None


def helm_artifact(pins: Pins) -> Artifact:
    """The download of Helm for this machine."""
    component, machine = pins.components[HELM], platform.machine()
    [artifact] = artifacts(component, MACHINES.get(machine, machine), tuple(component.binaries.values()))
    return artifact
