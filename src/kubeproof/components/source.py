"""Where components come from: resolving ``component_source: auto``."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from kubeproof.components import gobuild
from kubeproof.components.download import Downloader
from kubeproof.components.lock import Generation, Lock
from kubeproof.components.pins import Component, Release
from kubeproof.components.release import artifacts, mirrored
from kubeproof.core.errors import KubeproofError
from kubeproof.settings.urls import is_http

SOURCES = ("auto", "release", "mirror", "go")
_MIRROR = "set component_mirror to the base URL, for example https://mirror.example.org/kubernetes"
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
            hint=_MIRROR,
        )
    if mirror and wanted in ("auto", "mirror") and not is_http(mirror):
        # It may have a password, which is not repeated.
        raise KubeproofError(
            "component_mirror is no URL with http:// or https://, and a number as its port if it has any", hint=_MIRROR
        )
    if wanted != "auto":
        return Choice(wanted, "component_source says so")
    needed = tuple(needed)
    return _as_installed(needed, tuple(architectures), mirror, lock) or _available(mirror, needed, downloader)


def _as_installed(
    needed: tuple[Component, ...], architectures: tuple[str, ...], mirror: str, lock: Lock
) -> Choice | None:
    """The source that this inventory was installed from, if it was, in whatever versions.

    Without this, an outage of the release hosts, or one more component or architecture, would replace every binary of
    a running cluster by one from elsewhere. Release and mirror have the same bytes: which of them is the setting's say.
    """
    recorded = _recorded({each.name for each in needed}, architectures, lock)
    if not recorded:
        return None
    if len(recorded) > 1:
        told = " and ".join(f"{', '.join(sorted(recorded[each]))} from {each}" for each in sorted(recorded))
        raise KubeproofError(
            f"component_source is auto, and this inventory was installed from several sources: {told}",
            hint="set component_source to the one that all components are to come from; what hosts have from another "
            "one is replaced",
        )
    download = "mirror" if mirror else "release"
    return Choice("go" if "go" in recorded else download, "this inventory was installed from it")


def _recorded(names: Collection[str], architectures: tuple[str, ...], lock: Lock) -> dict[str, set[str]]:
    """Components by where they are from, go or downloads: as hosts have them, or, in a first installation, will.

    Other architectures tell it only if there is nothing of these, since no host may be left of them.
    """
    generations: tuple[Generation, ...] = ("current", "target")
    for generation in generations:
        for among in (architectures, lock.architectures(generation)):
            found: dict[str, set[str]] = {}
            for arch in among:
                for name, entry in lock.entries(generation, "components", arch).items():
                    if name in names:
                        found.setdefault("go" if entry["source"] == "go" else "downloads", set()).add(name)
            if found:
                return found
    return {}


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
