"""Sources ``release`` and ``mirror``: official downloads, each checked against what it must be before it is used."""

from __future__ import annotations

import functools
import json
import re
import shutil
import tarfile
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO
from urllib.parse import unquote, urlsplit

from kubeproof.components import cache as caching
from kubeproof.components.download import Downloader
from kubeproof.components.lock import LockError
from kubeproof.components.pins import Binary, Component
from kubeproof.components.progress import Event, Phase, Progress
from kubeproof.core.errors import KubeproofError
from kubeproof.settings.urls import without_userinfo

_LISTED = re.compile(r"^([0-9a-fA-F]{64})\s+\*?(\S+)\s*$", re.MULTILINE)
FIRST = "its first download, by TLS: its project publishes no checksum"
"""What vouches for a download of which no checksum was known."""
_ALONE = re.compile(r"\s*([0-9a-fA-F]{64})\s*")


class BadDownload(KubeproofError):
    """A download is not what it must be."""


@dataclass(frozen=True)
class Artifact:
    """One official download for one architecture.

    ``members`` maps the binaries that are wanted of it to their paths in the archive; if ``archive`` is false, the
    download is the only binary itself. ``pinned`` is the SHA-256 in components.yml, or of the user, or empty;
    ``first_download``: without one, and without ``checksums``, the first download counts.
    """

    component: str
    url: str
    checksums: str
    members: Mapping[str, str]
    archive: bool
    pinned: str
    first_download: bool = False
    pinned_by: str = "components.yml"


@dataclass(frozen=True)
class Expectation:
    """What a download's SHA-256 must be, and who says so."""

    sha256: str
    authority: str
    from_lock: bool = False


def artifacts(component: Component, arch: str, binaries: Sequence[Binary]) -> list[Artifact]:
    """The downloads that ``binaries`` of a component come in: one archive for all, or a file for each."""
    release = component.release
    if release is None:
        return []
    members: dict[str, dict[str, str]] = {}
    for binary in binaries:
        url = component.text(release.url, arch=arch, binary=binary.name)
        members.setdefault(url, {})[binary.name] = component.text(release.member, arch=arch, binary=binary.name)
    return [
        Artifact(
            component=component.name,
            url=url,
            checksums=component.text(release.checksums, arch=arch, binary=next(iter(names))),
            members=names,
            archive=url.endswith((".tar.gz", ".tgz", ".zip")),
            pinned=release.sha256.get(arch, ""),
            first_download=release.first_download,
            pinned_by=release.pinned_by,
        )
        for url, names in members.items()
    ]


def mirrored(url: str, mirror: str) -> str:
    """Where a mirror has an official URL: under the official host's name. Without a mirror, the URL itself."""
    if not mirror:
        return url
    parts = urlsplit(url)
    return f"{mirror.rstrip('/')}/{parts.netloc}{parts.path}"


def key(artifact: Artifact, sha256: str) -> str:
    """The cache's key of the wanted binaries of a download that has that digest."""
    return caching.key_of("download", sha256, json.dumps(dict(artifact.members), sort_keys=True))


def location(artifacts: Sequence[Artifact], mirror: str) -> str:
    """Where a component's artifacts are, to be shown: the URL of the only one, or the folder that they are all in."""
    url = without_userinfo(mirrored(artifacts[0].url, mirror))
    return url if len(artifacts) == 1 else url.rpartition("/")[0] + "/"


class Release:
    """Gets artifacts through a cache, from their own hosts or from a mirror."""

    def __init__(self, downloader: Downloader, cache: caching.Cache, mirror: str, progress: Progress) -> None:
        """``mirror`` is the base URL of a mirror, or empty."""
        self._downloader = downloader
        self._cache = cache
        self.mirror = mirror
        self._progress = progress

    def expectation(self, artifact: Artifact, locked: Expectation | None) -> Expectation:
        """What the artifact must be: what the lock or components.yml says, else what the release publishes.

        Raises LockError if the first two differ, DownloadError or BadDownload if the third can't be had.
        """
        if locked and artifact.pinned and locked.sha256 != artifact.pinned:
            raise _lock_error(artifact.url, locked.sha256, artifact.pinned, f"{artifact.pinned_by} now pins")
        if locked:
            return locked
        if artifact.pinned:
            return Expectation(artifact.pinned, artifact.pinned_by)
        if not artifact.checksums:
            raise BadDownload(
                f"{artifact.component} cannot be verified: its release publishes no checksums, and none is pinned",
                hint="verify a download otherwise and give its SHA-256 in component_sha256, or set component_source to "
                "go",
            )
        url = mirrored(artifact.checksums, self.mirror)
        shown = without_userinfo(url)
        return Expectation(_published(self._downloader.text(url), artifact.url, shown), shown)

    def obtain(self, artifact: Artifact, expected: Expectation) -> tuple[caching.Result, bool]:
        """The artifact's binaries, from the cache or downloaded now; whether they were downloaded comes second.

        Raises DownloadError, BadDownload or LockError, and then has left nothing behind.
        """
        identity = key(artifact, expected.sha256)
        with self._cache.lock(identity):
            cached = self._cache.result(identity)
            if cached:
                return cached, False
            with self._cache.work() as directory:
                file = directory / "download"
                self._download(artifact, expected, file)
                files = (
                    _extract(artifact, file, directory) if artifact.archive else dict.fromkeys(artifact.members, file)
                )
                return self._cache.store(identity, files, {"url": artifact.url, "sha256": expected.sha256}), True

    def obtain_first(self, artifact: Artifact) -> tuple[caching.Result, Expectation]:
        """The binaries of an artifact that only its host vouches for, downloaded now, and what it must be from now on.

        Raises DownloadError or BadDownload, and then has left nothing behind.
        """
        with self._cache.work() as directory:
            file = directory / "download"
            sha256 = self.first(artifact.component, artifact.url, file, "component_sha256")
            files = _extract(artifact, file, directory) if artifact.archive else dict.fromkeys(artifact.members, file)
            note = {"url": artifact.url, "sha256": sha256}
            return self._cache.store(key(artifact, sha256), files, note), Expectation(sha256, FIRST)

    def first(self, component: str, url: str, file: Path, setting: str) -> str:
        """Download what only the host that it comes from vouches for; returns its SHA-256. Raises DownloadError.

        Raises BadDownload for a mirror that does not prove by TLS who it is. ``setting``: where users give a checksum.
        """
        place = mirrored(url, self.mirror)
        if not place.startswith("https:"):
            raise BadDownload(
                f"{without_userinfo(place)} cannot be verified: its project publishes no checksums, and the mirror is "
                "not asked by https",
                hint=f"verify the file otherwise, and set {setting}",
            )
        return self._downloader.file(place, file, self._reporter(component, place))

    def _reporter(self, component: str, url: str) -> Callable[[int, int], None]:
        started, shown = time.monotonic(), without_userinfo(url)

        def on_bytes(done: int, total: int) -> None:
            elapsed = time.monotonic() - started
            self._progress(Event(component, Phase.DOWNLOAD, done=done, total=total, elapsed=elapsed, detail=shown))

        return on_bytes

    @property
    def cache(self) -> caching.Cache:
        """Where downloads go."""
        return self._cache

    def _download(self, artifact: Artifact, expected: Expectation, file: Path) -> None:
        url = mirrored(artifact.url, self.mirror)
        got, shown = self._downloader.file(url, file, self._reporter(artifact.component, url)), without_userinfo(url)
        if got == expected.sha256:
            return
        if expected.from_lock:
            raise _lock_error(shown, expected.sha256, got, "it now has")
        raise BadDownload(
            f"{shown}: wrong checksum, refused: must be {expected.sha256} (says {expected.authority}), is {got}",
            hint="nothing was kept; try again, and if it stays so, the file was altered or the mirror is out of date",
        )


def _lock_error(url: str, locked: str, got: str, said: str) -> LockError:
    return LockError(
        f"{url} is not what this inventory was installed with: components.lock.json records {locked}, {said} {got}",
        hint="if you know why it changed and want the new bytes, run `./kubeproof components fetch --accept-changed`",
    )


def _published(text: str, artifact_url: str, checksum_url: str) -> str:
    """The checksum for an artifact in a checksum file: one digest alone, or a list as ``sha256sum`` writes it."""
    alone = _ALONE.fullmatch(text)
    if alone:
        return alone.group(1).lower()
    # Lists have names as they are, not as URLs write them.
    name = unquote(PurePosixPath(urlsplit(artifact_url).path).name)
    for digest, listed in _LISTED.findall(text):
        if PurePosixPath(listed).name == name:
            return str(digest).lower()
    raise BadDownload(f"{checksum_url} has no SHA-256 for {name}")


def _extract(artifact: Artifact, file: Path, directory: Path) -> dict[str, Path]:
    """Unpack the wanted members, and only those, under names of ours."""
    wanted = {str(PurePosixPath(member)): binary for binary, member in artifact.members.items()}
    found: dict[str, Path] = {}
    try:
        for name, content in _entries(artifact, file):
            binary = wanted.get(str(PurePosixPath(name)))
            if binary:
                found[binary] = directory / f"binary-{binary}"
                with found[binary].open("wb") as stream:
                    shutil.copyfileobj(content(), stream, 1 << 20)
    except (tarfile.TarError, zipfile.BadZipFile) as error:
        raise BadDownload(f"{artifact.url} is not a readable archive: {error}") from error
    missing = sorted(set(artifact.members) - set(found))
    if missing:
        raise BadDownload(f"{artifact.url} does not contain {', '.join(missing)}")
    return found


def _entries(artifact: Artifact, file: Path) -> Iterator[tuple[str, Callable[[], IO[bytes]]]]:
    """The plain files in an archive: name, and how to open it."""
    if artifact.url.endswith(".zip"):
        with zipfile.ZipFile(file) as zipped:
            for about in zipped.infolist():
                if not about.is_dir():
                    yield about.filename, functools.partial(zipped.open, about)
        return
    with tarfile.open(file, "r|gz") as archive:
        for entry in archive:
            content = archive.extractfile(entry) if entry.isfile() else None
            if content:
                yield entry.name, functools.partial(_itself, content)


def _itself(content: IO[bytes]) -> IO[bytes]:
    return content
