from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.unit.restore import made

from kubeproof.backup.agent import check, manifest
from kubeproof.backup.agent.errors import Damaged
from kubeproof.backup.agent.manifest import File, Manifest

MADE = made.manifest(
    cluster="größe",
    seconds=0.812,
    files={"snapshot.db": File(2166816, "0" * 64), "keys.tar.age": File(9000, "1" * 64)},
)


def test_what_is_written_is_read() -> None:
    assert Manifest.parse(MADE.render()) == MADE


def test_every_flipped_bit_and_every_cut_is_seen() -> None:
    content = MADE.render()
    chance = random.Random(1)  # noqa: S311 - no secret
    for position in range(len(content)):
        flipped = bytearray(content)
        flipped[position] ^= 1 << chance.randrange(8)
        with pytest.raises(Damaged):
            Manifest.parse(bytes(flipped))
        with pytest.raises(Damaged):
            Manifest.parse(content[:position])


@pytest.mark.parametrize("content", [b"", b"[]", b"null", b"{}", b'{"schema": 1}', b"[" * 100_000, b"\xff\xfe", b'"x"'])
def test_what_is_none_is_refused(content: bytes) -> None:
    with pytest.raises(Damaged):
        Manifest.parse(content)


def test_another_schema_is_named() -> None:
    later = MADE.render().replace(b'"schema": 1', b'"schema": 2')
    with pytest.raises(Damaged, match="schema 2; this program supports 1"):
        Manifest.parse(later)


@pytest.mark.parametrize("name", ["../../etc/passwd", "manifest.json", ""])
def test_files_that_no_backup_has_are_refused(name: str) -> None:
    evil = replace(MADE, files={**MADE.files, name: File(1, "0" * 64)})
    with pytest.raises(Damaged):
        Manifest.parse(evil.render())


@pytest.mark.parametrize("field", ["revision", "keys", "name", "quorum"])
def test_fields_of_another_type_are_refused(field: str) -> None:
    changes: dict[str, Any] = {field: None}
    with pytest.raises(Damaged, match=field):
        Manifest.parse(replace(MADE, **changes).render())


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    directory = tmp_path / MADE.name
    directory.mkdir()
    (directory / "snapshot.db").write_bytes(b"s" * 100)
    (directory / "keys.tar.age").write_bytes(b"k" * 10)
    files = {"snapshot.db": File(100, "0" * 64), "keys.tar.age": File(10, "1" * 64)}
    (directory / manifest.NAME).write_bytes(replace(MADE, files=files).render())
    return directory


def test_a_glance_finds_it_whole(whole: Path) -> None:
    assert check.glance(whole, MADE.authority).name == MADE.name


def test_a_glance_sees_what_is_missing_or_too_much_or_of_another_size(whole: Path) -> None:
    (whole / "more").write_bytes(b"")
    with pytest.raises(Damaged, match="more too much"):
        check.glance(whole)
    (whole / "more").unlink()
    (whole / "keys.tar.age").rename(whole.parent / "elsewhere")
    with pytest.raises(Damaged, match=r"keys\.tar\.age missing"):
        check.glance(whole)
    (whole / "keys.tar.age").symlink_to(whole.parent / "elsewhere")
    with pytest.raises(Damaged, match="not a regular file"):
        check.glance(whole)
    (whole / "keys.tar.age").unlink()
    (whole / "keys.tar.age").write_bytes(b"k" * 9)
    with pytest.raises(Damaged, match="9 bytes instead of 10"):
        check.glance(whole)


def test_a_glance_sees_another_name_and_another_cluster(whole: Path) -> None:
    with pytest.raises(Damaged, match="belongs to another cluster"):
        check.glance(whole, "cd" * 32)
    moved = whole.rename(whole.with_name("20261121T174503Z-cp1"))
    with pytest.raises(Damaged, match="its manifest names it 20261121T174502Z-cp1"):
        check.glance(moved)
