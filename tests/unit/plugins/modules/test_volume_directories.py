"""Directories for volumes: made for root only, left alone once they are there, refused where others may write."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import volume_directories


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory that passes for one of root's: where tests work, others may often write."""
    real = os.lstat

    def lstat(path: str) -> os.stat_result:
        found = real(path)
        if Path(path) in {tmp_path, *tmp_path.parents}:
            return os.stat_result((0o040755, *found[1:4], 0, 0, *found[6:]))
        return os.stat_result((*found[:4], 0, 0, *found[6:]))

    monkeypatch.setattr(os, "lstat", lstat)
    return tmp_path


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o7777


def test_missing_ones_are_made_for_root_only(root: Path) -> None:
    wanted = root / "volumes" / "data"
    assert volume_directories.problem(str(wanted)) == ""
    assert volume_directories.make(str(wanted), dry_run=True)
    assert not wanted.parent.exists()
    assert volume_directories.make(str(wanted), dry_run=False)
    assert (mode(wanted), mode(wanted.parent)) == (0o750, 0o755)


def test_what_the_kubelet_has_given_to_a_group_stays(root: Path) -> None:
    wanted = root / "data"
    wanted.mkdir()
    wanted.chmod(0o2770)
    assert not volume_directories.make(str(wanted), dry_run=False)
    assert mode(wanted) == 0o2770


def test_links_files_and_places_of_others_are_refused(root: Path) -> None:
    (root / "file").touch()
    (root / "link").symlink_to("/srv")
    open_to_all = root / "open"
    open_to_all.mkdir()
    open_to_all.chmod(0o1777)
    for path, said in (
        ("file", "is there, and is no directory"),
        ("file/data", "is no directory"),
        ("link", "is there, and is no directory"),
        ("link/data", "is a link"),
        ("open/data", "others than root may write"),
    ):
        assert said in volume_directories.problem(str(root / path)), path


def test_the_directories_above() -> None:
    assert list(volume_directories.above("/srv/volumes/data")) == ["/", "/srv", "/srv/volumes"]
