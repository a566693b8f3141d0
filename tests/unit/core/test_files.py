"""Files that are replaced in one step."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from kubeproof.core import files


@pytest.fixture(autouse=True)
def umask() -> Iterator[None]:
    before = os.umask(0o027)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def crash(*_: object) -> None:
    raise OSError("no space left on device")


def test_a_file_is_replaced_with_the_mode_that_the_umask_leaves(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text("old")
    files.write(path, "né")
    assert path.read_bytes() == "né".encode()
    assert mode(path) == 0o640
    assert list(tmp_path.iterdir()) == [path]


def test_a_mode_that_is_asked_for_is_had_whatever_the_umask(tmp_path: Path) -> None:
    files.write(tmp_path / "lock", b"new", 0o644)
    files.write_private(tmp_path / "key", b"secret")
    assert mode(tmp_path / "lock") == 0o644
    assert mode(tmp_path / "key") == 0o600


def test_a_private_file_is_private_before_it_has_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[int] = []
    real = os.open

    def watched(path: Path, flags: int, mode: int = 0o777) -> int:
        descriptor = real(path, flags, mode)
        opened.append(stat.S_IMODE(os.fstat(descriptor).st_mode))
        return descriptor

    monkeypatch.setattr(os, "open", watched)
    files.write_private(tmp_path / "key", b"secret")
    assert opened == [0o600]


@pytest.mark.parametrize("fails", ["os.fsync", "pathlib.Path.replace"])
def test_a_failure_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    path = tmp_path / "key"
    path.write_text("old")
    monkeypatch.setattr(fails, crash)
    with pytest.raises(OSError, match="no space"):
        files.write_private(path, b"new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_two_writers_do_not_write_into_the_same_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, real = tmp_path / "lock", os.fchmod
    seen: list[int] = []

    def interrupted(descriptor: int, wanted: int) -> None:
        real(descriptor, wanted)
        if not seen:
            seen.append(descriptor)
            files.write(path, "the other's", 0o644)
            assert path.read_text() == "the other's"

    monkeypatch.setattr(os, "fchmod", interrupted)
    files.write(path, "mine", 0o644)
    assert path.read_text() == "mine"
    assert list(tmp_path.iterdir()) == [path]
