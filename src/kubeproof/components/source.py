"""Where components come from: resolving ``component_source: auto``."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from kubeproof.components import gobuild
from kubeproof.components.download import Downloader
from kubeproof.components.lock import Lock
from kubeproof.components.pins import Component, Release
from kubeproof.components.release import artifacts, mirrored
from kubeproof.core.errors import KubeproofError

SOURCES = ("auto", "release", "mirror", "go")
_WITHOUT_BUILDS = (
    "give this machine access to the release hosts, set component_mirror, give the SHA-256 of a verified download in "
    "component_sha256, or choose another container_runtime"
)


@dataclass(frozen=True)
class Choice:
    """The source to use, and why, in words."""

    source: str
    reason: str


def choose(
    wanted: str,
    mirror: str,
    needed: Iterable[Component],
    architectures: Iterable[str],
    lock: Lock,
    downloader: Downloader,
) -> Choice:
    """Resolve ``wanted``. Raises KubeproofError if it is unknown, lacks its mirror, or ``auto`` finds no way.

    What cannot be built is no reason to refuse the source ``go`` here: ``fetch`` does.
    """
    if wanted not in SOURCES:
        raise KubeproofError(f"component_source is {wanted!r}; it must be one of {', '.join(SOURCES)}")
    if wanted == "mirror" and not mirror:
        raise KubeproofError(
            "component_source is mirror, but component_mirror is empty",
            hint="set component_mirror to the base URL, for example https://mirror.example.org/kubernetes",
        )
    if wanted != "auto":
        return Choice(wanted, "component_source says so")
    needed = tuple(needed)
    return _as_installed(needed, tuple(architectures), lock) or _available(mirror, needed, downloader)


def _as_installed(needed: tuple[Component, ...], architectures: tuple[str, ...], lock: Lock) -> Choice | None:
    """The source that this inventory was installed from, if it was, with the same versions.

    Without this, an outage of the release hosts would replace every binary of a running cluster by one built here.
    """
    sources = set()
    for arch in architectures:
        for component in needed:
            entry = lock.component(arch, component.name, component.version)
            if not entry:
                return None
            sources.add(entry["source"])
    return Choice(sources.pop(), "this inventory was installed from it") if len(sources) == 1 else None


def _available(mirror: str, needed: tuple[Component, ...], downloader: Downloader) -> Choice:
    unknown = [each.name for each in needed if each.release and not _verifiable(each.release)]
    silent = [] if unknown else _silent_hosts(mirror, needed, downloader)
    kind = "mirror" if mirror else "release"
    if unknown:
        why = f"the release of {', '.join(unknown)} publishes no checksums"
        hint = "install Go and gcc, or give the SHA-256 of a verified download in component_sha256"
    elif silent:
        why = f"{', '.join(silent)} can't be reached"
        hint = "give this machine access to the release hosts, set component_mirror, or install Go and gcc"
    else:
        return Choice(kind, "its hosts answer")
    unbuilt = [each.name for each in needed if not each.can_be_built]
    if unbuilt:
        told = f"{why}, and {', '.join(unbuilt)} cannot be built here"
        raise KubeproofError(f"no way to get components: {told}", hint=_WITHOUT_BUILDS)
    try:
        tools = gobuild.toolchain()
    except gobuild.NoToolchain as error:
        raise KubeproofError(f"no way to get components: {why}, and {error.args[0]}", hint=hint) from error
    return Choice("go", f"{why}; building with Go {tools.version}")


def _verifiable(release: Release) -> bool:
    return bool(release.checksums or release.sha256 or release.first_download)


def _silent_hosts(mirror: str, needed: tuple[Component, ...], downloader: Downloader) -> list[str]:
    """The hosts that don't answer. Each is asked once, for something that is there."""
    urls: dict[str, str] = {}
    for component in needed:
        for artifact in artifacts(component, "amd64", tuple(component.binaries.values())[:1]):
            url = mirrored(artifact.checksums or artifact.url, mirror)
            urls.setdefault(urlsplit(url).netloc, url)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        answers = pool.map(downloader.answers, urls.values())
        return [host for host, answered in zip(urls, answers, strict=True) if not answered]
