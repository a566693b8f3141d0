"""A Python that runs wherever it is put, for hosts that have none: one archive, of two origins.

From sources ``release`` and ``mirror`` it is python-build-standalone's. Where everything is built here (``go``) it is
put together from Debian's packages: their interpreter has all of Python in it but a few shared libraries, which come
along with the C library and its loader, so that nothing of the host's is needed but its kernel and a shell.

In the archive, from its root: ``bin/python3``, and what that needs in ``lib``.
"""

from __future__ import annotations

import gzip
import io
import json
import shutil
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from typing import IO

from kubeproof.components import cache as caching
from kubeproof.components import release
from kubeproof.components.download import Downloader
from kubeproof.components.lock import Lock
from kubeproof.components.pins import PortablePython
from kubeproof.components.progress import Progress, silent
from kubeproof.core import debian
from kubeproof.core.errors import KubeproofError
from kubeproof.core.process import attempt

NAME = "python"
# Part of every archive's key: raise it when the way of making them changes.
_RECIPE = "1"
_MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
_LOADERS = {"amd64": "ld-linux-x86-64.so.2", "arm64": "ld-linux-aarch64.so.1"}
# What nothing that runs on a host imports, by path in the archive, and what tests and builds are made with.
_SPARED = (
    "include/*", "share/*", "lib/pkgconfig/*", "lib/tcl*", "lib/tk*", "lib/itcl*", "lib/thread*", "lib/*.a",
    "lib/python3.*/config-*", "lib/python3.*/ensurepip/*", "lib/python3.*/idlelib/*", "lib/python3.*/lib2to3/*",
    "lib/python3.*/pydoc_data/*", "lib/python3.*/site-packages/*", "lib/python3.*/test/*", "lib/python3.*/tkinter/*",
    "lib/python3.*/turtledemo/*", "lib/python3.*/sitecustomize.py", "lib/python3.*/__pycache__/*", "*/__pycache__/*",
)  # fmt: skip
# Extensions whose libraries are not brought along; all but the first have no use on a host, and decimal does without.
_UNUSED = ("_decimal.*", "_curses*", "_dbm.*", "_sqlite3.*", "_test*", "_xxtest*", "readline.*", "xx*")
# Shared libraries of the interpreter and its extensions, and of these libraries.
_LIBRARIES = (
    "libc.so.6", "libm.so.6", "libdl.so.2", "libpthread.so.0", "librt.so.1", "libutil.so.1", "libresolv.so.2",
    "libz.so.1", "libexpat.so.1", "libssl.so.3", "libcrypto.so.3", "libffi.so.8", "libbz2.so.1.0", "liblzma.so.5",
    "libuuid.so.1", "libzstd.so.1",
)  # fmt: skip
_SYSTEM = "lib/system"
# Python takes its own name, from which it finds its modules and starts further ones, from `--argv0`. Without the cache
# of the host's libraries the loader takes none of them in place of what is missing here.
_START = """\
#!/bin/sh
here=${{0%/*}}/../{system}
exec "$here/{loader}" --inhibit-cache --library-path "$here" --argv0 "$0" "$here/python" "$@"
"""
# The earliest that all formats know.
_DATE = 315532800


@dataclass(frozen=True)
class Origin:
    """Where the archive comes from: a source other than ``auto``, and the base URL of the mirror, if it is that."""

    source: str
    mirror: str = ""


def obtain(
    python: PortablePython,
    origin: Origin,
    arch: str,
    state: Path,
    *,
    cache_directory: Path | None = None,
    downloader: Downloader | None = None,
    progress: Progress = silent,
) -> caching.Blob:
    """The archive for an architecture (as Go names it), from the cache or made now. Raises KubeproofError."""
    if arch not in _MACHINES:
        raise KubeproofError(
            f"there is no portable Python for {arch}, only for {', '.join(_MACHINES)}",
            hint="install Python 3.9 or newer on the host",
        )
    with caching.Cache(cache_directory) as cache:
        if origin.source == "go":
            return _of_debian(python, arch, cache)
        with downloader or Downloader() as client:
            return _of_release(python, origin, arch, state, cache, client, progress)


def _of_release(
    python: PortablePython,
    origin: Origin,
    arch: str,
    state: Path,
    cache: caching.Cache,
    client: Downloader,
    progress: Progress,
) -> caching.Blob:
    official = release.Release(client, cache, origin.mirror if origin.source == "mirror" else "", progress)
    machine = _MACHINES[arch]
    artifact = release.Artifact(
        component=NAME,
        url=python.text(python.url, machine),
        checksums=python.text(python.checksums, machine),
        members={NAME: ""},
        archive=False,
        pinned=python.sha256.get(arch, ""),
    )
    # Several hosts' processes may want to record it.
    with cache.lock(caching.key_of("portable-python-lock", str(state))):
        lock = Lock(state)
        known = lock.download(artifact.url)
        locked = release.Expectation(known["sha256"], known["verified"], from_lock=True) if known else None
        expected = official.expectation(artifact, locked)
        result, _ = official.obtain(artifact, expected)
        lock.record_download(artifact.url, expected.sha256, expected.authority)
        lock.save()
    download = result.blobs[NAME]
    key = caching.key_of("portable-python", _RECIPE, download.sha256)
    with cache.lock(key):
        cached = cache.result(key)
        if cached:
            return cached.blobs["archive"]
        with cache.work() as directory:
            target = directory / "archive"
            _repack(download.path, target, artifact.url)
            return cache.store(key, {"archive": target}, {"url": artifact.url}).blobs["archive"]


def _repack(source: Path, target: Path, url: str) -> None:
    """The archive of a release, without its outermost directory and what no host needs. Raises BadDownload."""
    try:
        with tarfile.open(source, "r:gz") as given, _archive(target) as made:
            for entry in given:
                name = "/".join(PurePosixPath(entry.name).parts[1:])
                if not name or entry.isdir() or _spared(name):
                    continue
                if not (entry.isfile() or (entry.issym() and "/" not in entry.linkname)):
                    raise release.BadDownload(f"{url}: {entry.name} is neither a file nor a link to one next to it")
                _add(made, name, given.extractfile(entry) if entry.isfile() else None, entry)
    except tarfile.TarError as error:
        raise release.BadDownload(f"{url} is not a readable archive: {error}") from error


def _of_debian(python: PortablePython, arch: str, cache: caching.Cache) -> caching.Blob:
    key = caching.key_of("portable-python", _RECIPE, "debian", python.suite, json.dumps(python.packages), arch)
    with cache.lock(key):
        cached = cache.result(key)
        if cached:
            return cached.blobs["archive"]
        with cache.work() as directory:
            packages = _download(python, arch, directory)
            root = directory / "root"
            for package in packages:
                unpacked = attempt(["dpkg-deb", "--extract", str(package), str(root)])
                if not unpacked.ok:
                    raise KubeproofError(f"{package.name} cannot be unpacked: {unpacked.stderr.strip()}")
            target = directory / "archive"
            _assemble(root, arch, target)
            note = {"packages": sorted(package.name for package in packages)}
            return cache.store(key, {"archive": target}, note).blobs["archive"]


def _download(python: PortablePython, arch: str, directory: Path) -> list[Path]:
    """Debian's packages, which apt verifies by the archive's signatures; nothing of this machine's apt is touched."""
    lacking = [name for name in ("apt-get", "dpkg-deb") if shutil.which(name) is None]
    lacking += [] if Path(debian.KEYRING).exists() else [debian.KEYRING]
    mirror = debian.mirror()
    if lacking or not mirror:
        raise KubeproofError(
            "a portable Python is put together from Debian's packages if components are built here, and this machine "
            + (f"lacks {', '.join(lacking)}" if lacking else "uses no mirror of Debian's archive"),
            hint="set component_source to release or mirror, use a controller with Debian, or install Python on the "
            "hosts that have none",
        )
    for name in ("state/lists/partial", "cache/archives/partial", "packages"):
        (directory / name).mkdir(parents=True)
    (directory / "status").touch()
    (directory / "sources.list").write_text(
        f"deb [arch={arch} signed-by={debian.KEYRING}] {mirror} {python.suite} main\n"
    )
    options = {
        "Dir::State": directory / "state",
        "Dir::State::status": directory / "status",
        "Dir::Cache": directory / "cache",
        "Dir::Etc::main": "/dev/null",
        "Dir::Etc::parts": "/dev/null",
        "Dir::Etc::sourcelist": directory / "sources.list",
        "Dir::Etc::sourceparts": "/dev/null",
        "APT::Architecture": arch,
        "APT::Architectures": arch,
        # Its own user may not enter the cache of this one.
        "APT::Sandbox::User": "root",
        "Acquire::Languages": "none",
        "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled": "false",
    }
    # It downloads to where it is started.
    command = [
        "env",
        f"--chdir={directory / 'packages'}",
        "apt-get",
        "--quiet",
        *(f"--option={name}={value}" for name, value in options.items()),
    ]
    for step in (["update"], ["download", *python.packages]):
        done = attempt([*command, *step])
        if not done.ok:
            raise KubeproofError(
                f"Debian's packages for a portable Python cannot be had from {mirror}: {_last(done.stderr)}",
                hint="component_source: release or mirror takes another one",
            )
    return sorted((directory / "packages").glob("*.deb"))


def _last(text: str) -> str:
    return next(reversed(text.strip().splitlines()), "apt-get said nothing")


def _assemble(root: Path, arch: str, target: Path) -> None:
    """An archive of what packages had that were unpacked into a directory."""
    libraries = root / "usr" / "lib" / f"{_MACHINES[arch]}-linux-gnu"
    interpreters = sorted((root / "usr" / "bin").glob("python3.[0-9]*"))
    if len(interpreters) != 1:
        raise KubeproofError(f"Debian's packages have {len(interpreters)} interpreters, and one is wanted")
    (interpreter,) = interpreters
    with _archive(target) as made:
        start = _START.format(system=_SYSTEM, loader=_LOADERS[arch]).encode()
        _add(made, "bin/python3", io.BytesIO(start), _entry(len(start), 0o755))
        for name, path in _files(root, interpreter.name, libraries, arch):
            executable = path == interpreter or name.endswith(_LOADERS[arch])
            with path.open("rb") as stream:
                _add(made, name, stream, _entry(path.stat().st_size, 0o755 if executable else 0o644))


def _files(root: Path, python: str, libraries: Path, arch: str) -> Iterator[tuple[str, Path]]:
    """Names in the archive, and files."""
    modules = root / "usr" / "lib" / python
    yield f"{_SYSTEM}/python", root / "usr" / "bin" / python
    for name in (_LOADERS[arch], *_LIBRARIES):
        found = libraries / name
        if not found.exists():
            raise KubeproofError(f"Debian's packages lack {name}, which {python} needs")
        yield f"{_SYSTEM}/{name}", found.resolve()
    for path in sorted(modules.rglob("*")):
        name = f"lib/{python}/{path.relative_to(modules).as_posix()}"
        unused = path.parent.name == "lib-dynload" and any(fnmatch(path.name, pattern) for pattern in _UNUSED)
        # Links lead to what is a matter of building, and out of the tree.
        if path.is_file() and not path.is_symlink() and not unused and not _spared(name):
            yield name, path


def _spared(name: str) -> bool:
    return any(fnmatch(name, pattern) for pattern in _SPARED)


class _Archive(tarfile.TarFile):
    """A compressed archive whose bytes depend on nothing but its content."""

    compressor: gzip.GzipFile

    def close(self) -> None:
        super().close()
        self.compressor.close()


def _archive(target: Path) -> _Archive:
    compressor = gzip.GzipFile(str(target), "wb", compresslevel=6, mtime=0)
    made = _Archive(fileobj=compressor, mode="w", format=tarfile.GNU_FORMAT)
    made.compressor = compressor
    return made


def _entry(size: int, mode: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo()
    entry.size, entry.mode = size, mode
    return entry


def _add(made: tarfile.TarFile, name: str, content: IO[bytes] | None, like: tarfile.TarInfo) -> None:
    entry = tarfile.TarInfo(name)
    entry.type, entry.size, entry.mode, entry.linkname = like.type, like.size, like.mode & 0o755, like.linkname
    entry.mtime = _DATE
    made.addfile(entry, content)
