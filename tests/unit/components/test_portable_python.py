"""A Python for hosts without one: upstream's from a server on loopback, and one out of Debian's packages."""

from __future__ import annotations

import dataclasses
import io
import shutil
import tarfile
from pathlib import Path

import pytest
from tests.unit.components.release_host import Page, ReleaseHost, sha256

from kubeproof.components import pins, portable_python
from kubeproof.components.cache import Blob
from kubeproof.components.lock import Lock, LockError
from kubeproof.components.portable_python import Origin
from kubeproof.components.release import BadDownload
from kubeproof.core import debian
from kubeproof.core.errors import KubeproofError
from kubeproof.core.process import Result

PINNED = pins.load().python
assert PINNED is not None
PYTHON = PINNED
# On a mirror, under the official host's name; servers see what a URL has, escapes included.
FOLDER = f"/github.com/astral-sh/python-build-standalone/releases/download/{PYTHON.build}"
NAME = f"cpython-{PYTHON.version}+{PYTHON.build}-x86_64-unknown-linux-gnu-install_only_stripped.tar.gz"
FILES = {
    "python/bin/python3.13": b"interpreter",
    "python/lib/libpython3.13.so.1.0": b"library",
    "python/lib/python3.13/os.py": b"module",
    "python/lib/python3.13/test/support.py": b"spared",
    "python/lib/python3.13/site-packages/pip/__init__.py": b"spared",
    "python/include/python3.13/Python.h": b"spared",
}


def packed(links: dict[str, str] | None = None) -> bytes:
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w:gz") as archive:
        for name, content in FILES.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode, entry.uid, entry.mtime = len(content), 0o775, 1000, 1700000000
            archive.addfile(entry, io.BytesIO(content))
        for name, target in (links or {"python/bin/python3": "python3.13"}).items():
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = tarfile.SYMTYPE, target
            archive.addfile(entry)
    return written.getvalue()


def serve(host: ReleaseHost, content: bytes, listed: str = "") -> None:
    host.pages[f"{FOLDER}/{NAME.replace('+', '%2B')}"] = Page(content)
    host.pages[f"{FOLDER}/SHA256SUMS"] = Page(f"{listed or sha256(content)}  {NAME}\n{'0' * 64}  another\n".encode())


def obtain(host: ReleaseHost, tmp_path: Path) -> Blob:
    origin = Origin("mirror", host.url)
    return portable_python.obtain(PYTHON, origin, "amd64", tmp_path / "state", cache_directory=tmp_path / "cache")


def contents(archive: Path) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(archive, "r:gz") as opened:
        return {entry.name: entry for entry in opened}


def test_upstreams_has_what_hosts_need_and_is_roots(server: ReleaseHost, tmp_path: Path) -> None:
    serve(server, packed())
    (tmp_path / "state").mkdir()
    blob = obtain(server, tmp_path)
    found = contents(blob.path)
    assert set(found) == {"bin/python3", "bin/python3.13", "lib/libpython3.13.so.1.0", "lib/python3.13/os.py"}
    assert found["bin/python3"].linkname == "python3.13"
    assert {(entry.uid, entry.gid) for entry in found.values()} == {(0, 0)}
    assert found["bin/python3.13"].mode == 0o755, "nobody but root may write it"

    assert obtain(server, tmp_path) == blob
    assert server.asked[f"{FOLDER}/{NAME.replace('+', '%2B')}"] == 1, "it is cached"
    assert any(NAME.replace("+", "%2B") in url for url in Lock(tmp_path / "state")._document["downloads"])


def test_the_same_download_is_the_same_archive(server: ReleaseHost, tmp_path: Path) -> None:
    serve(server, packed())
    (tmp_path / "state").mkdir()
    digest = obtain(server, tmp_path).sha256
    shutil.rmtree(tmp_path / "cache")
    assert obtain(server, tmp_path).sha256 == digest


def test_another_download_than_the_first_is_refused(server: ReleaseHost, tmp_path: Path) -> None:
    serve(server, packed())
    (tmp_path / "state").mkdir()
    obtain(server, tmp_path)
    shutil.rmtree(tmp_path / "cache")
    serve(server, packed({"python/bin/python": "python3.13"}))
    with pytest.raises(LockError, match="is not what this inventory was installed with"):
        obtain(server, tmp_path)


@pytest.mark.parametrize(
    ("content", "listed", "complaint"),
    [
        (packed(), "1" * 64, "wrong checksum"),
        (b"no archive", "", "not a readable archive"),
        (
            packed({"python/lib/python3.13/os.py": "../../../../etc/shadow"}),
            "",
            "neither a file nor a link to one next to it",
        ),
    ],
)
def test_what_is_not_what_it_must_be_is_refused(
    server: ReleaseHost, tmp_path: Path, content: bytes, listed: str, complaint: str
) -> None:
    serve(server, content, listed)
    (tmp_path / "state").mkdir()
    with pytest.raises(BadDownload, match=complaint):
        obtain(server, tmp_path)


def unpacked(root: Path, *, without: str = "") -> None:
    """What Debian's packages have, as far as it matters."""
    files = {
        "usr/bin/python3.13": "interpreter",
        "usr/lib/python3.13/os.py": "module",
        "usr/lib/python3.13/lib-dynload/_ssl.so": "extension",
        "usr/lib/python3.13/lib-dynload/_sqlite3.so": "unused",
        "usr/lib/python3.13/test/one.py": "unused",
        **{f"usr/lib/x86_64-linux-gnu/{name}": name for name in portable_python._LIBRARIES},
        "usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2": "loader",
        "usr/lib/x86_64-linux-gnu/libz.so.1.3.1": "versioned",
    }
    for name, content in files.items():
        if name.rpartition("/")[2] != without:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(content)
    library = root / "usr/lib/x86_64-linux-gnu/libz.so.1"
    library.unlink()
    library.symlink_to("libz.so.1.3.1")


def test_debians_brings_its_libraries_and_the_loader(tmp_path: Path) -> None:
    unpacked(tmp_path / "root")
    portable_python._assemble(tmp_path / "root", "amd64", tmp_path / "archive")
    found = contents(tmp_path / "archive")
    assert {"lib/python3.13/os.py", "lib/python3.13/lib-dynload/_ssl.so", "lib/system/python"} < set(found)
    assert found["lib/system/libz.so.1"].isfile(), "a file, whatever it is called where it comes from"
    assert not [name for name in found if "sqlite" in name or "/test/" in name]
    assert found["lib/system/ld-linux-x86-64.so.2"].mode == found["bin/python3"].mode == 0o755


def test_a_library_that_is_not_where_it_was_is_told(tmp_path: Path) -> None:
    unpacked(tmp_path / "root", without="libssl.so.3")
    with pytest.raises(KubeproofError, match=r"lack libssl\.so\.3, which python3\.13 needs"):
        portable_python._assemble(tmp_path / "root", "amd64", tmp_path / "archive")


def test_its_start_hands_everything_on(tmp_path: Path) -> None:
    """The shell program, with something in the loader's place that says what it was given."""
    (tmp_path / "bin").mkdir()
    (tmp_path / portable_python._SYSTEM).mkdir(parents=True)
    start = tmp_path / "bin" / "python3"
    start.write_text(portable_python._START.format(system=portable_python._SYSTEM, loader="loader"))
    loader = tmp_path / portable_python._SYSTEM / "loader"
    loader.write_text('#!/bin/sh\nprintf "%s|" "$@"\n')
    for path in (start, loader):
        path.chmod(0o755)
    from kubeproof.core.process import run

    words = run([str(start), "-c", "two words"]).split("|")
    system = f"{tmp_path}/bin/../{portable_python._SYSTEM}"
    assert words[:-1] == [
        "--inhibit-cache", "--library-path", system, "--argv0", str(start), f"{system}/python", "-c", "two words",
    ]  # fmt: skip


def test_a_controller_without_debians_tools_is_told_what_else_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(KubeproofError, match="this machine lacks apt-get, dpkg-deb") as caught:
        portable_python.obtain(PYTHON, Origin("go"), "amd64", tmp_path, cache_directory=tmp_path / "cache")
    assert "component_source to release or mirror" in caught.value.hint


def test_what_apt_says_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(debian, "mirror", lambda: "http://mirror.invalid/debian")
    monkeypatch.setattr(debian, "KEYRING", str(tmp_path))
    monkeypatch.setattr(shutil, "which", str)
    asked: list[list[str]] = []

    def refused(command: list[str]) -> Result:
        asked.append(command)
        return Result(100, "", "E: nothing there\n")

    monkeypatch.setattr(portable_python, "attempt", refused)
    with pytest.raises(KubeproofError, match=r"cannot be had from http://mirror\.invalid/debian: E: nothing there"):
        portable_python.obtain(PYTHON, Origin("go"), "arm64", tmp_path, cache_directory=tmp_path / "cache")
    assert "--option=APT::Architecture=arm64" in asked[0]
    assert not [word for word in asked[0] if word.endswith("=/etc/apt")]


def test_there_is_none_for_other_machines(tmp_path: Path) -> None:
    with pytest.raises(KubeproofError, match="no portable Python for riscv64"):
        portable_python.obtain(PYTHON, Origin("go"), "riscv64", tmp_path)


def test_versions_of_components_leave_it_as_it_is() -> None:
    assert pins.load().with_versions({"etcd": "3.6.1"}).python == dataclasses.replace(PYTHON)
