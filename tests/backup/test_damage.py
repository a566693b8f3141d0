"""Backups that were damaged at random: each is refused."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.backup.conftest import Store
from tests.backup.test_save import made, run

from kubeproof.backup.agent import backups, check, manifest
from kubeproof.backup.agent.errors import Damaged

ROUNDS = 200
Damage = Callable[[Path, Path, random.Random], str]


def cut(backup: Path, other: Path, chance: random.Random) -> str:
    """A file ends too early."""
    path = _some_file(backup, chance)
    size = chance.randrange(path.stat().st_size)
    with path.open("r+b") as stream:
        stream.truncate(size)
    return f"{path.name} cut to {size} bytes"


def cut_to_pages(backup: Path, other: Path, chance: random.Random) -> str:
    """A snapshot ends too early, at a length that a snapshot may have."""
    path = backup / manifest.SNAPSHOT
    size = chance.randrange(1, path.stat().st_size // 4096) * 4096 + chance.choice([0, 32])
    with path.open("r+b") as stream:
        stream.truncate(size)
    return f"{path.name} cut to {size} bytes"


def flip(backup: Path, other: Path, chance: random.Random) -> str:
    """One bit, or a few, are others."""
    path = _some_file(backup, chance)
    content = bytearray(path.read_bytes())
    places = [chance.randrange(len(content)) for _ in range(chance.choice([1, 1, 1, 9]))]
    for place in set(places):
        content[place] ^= 1 << chance.randrange(8)
    path.write_bytes(content)
    return f"{path.name} has other bits at {places}"


def blank(backup: Path, other: Path, chance: random.Random) -> str:
    """A block is zeros, as after a crash of a disk's cache."""
    path = backup / manifest.SNAPSHOT
    content = bytearray(path.read_bytes())
    start = chance.randrange(len(content) // 4096) * 4096
    # A page that was empty anyway would be no damage.
    content[start : start + 4096] = bytes(4096) if any(content[start : start + 4096]) else b"\xff" * 4096
    path.write_bytes(content)
    return f"{path.name} is blank at {start}"


def swap(backup: Path, other: Path, chance: random.Random) -> str:
    """A file is another backup's."""
    path = _some_file(backup, chance)
    shutil.copyfile(other / path.name, path)
    return f"{path.name} is another backup's"


def lose(backup: Path, other: Path, chance: random.Random) -> str:
    """A file is gone."""
    path = _some_file(backup, chance)
    path.unlink()
    return f"{path.name} is gone"


def add(backup: Path, other: Path, chance: random.Random) -> str:
    """There is a file too many."""
    (backup / f"snapshot.db.{chance.randrange(100)}").write_bytes(b"")
    return "a file too many"


def _some_file(backup: Path, chance: random.Random) -> Path:
    return chance.choice(sorted(backup.iterdir()))


@pytest.fixture
def two(store: Store) -> tuple[Path, Path]:
    """Two backups of one cluster, with keys in them."""
    (store.directory / "keys.tar.age").write_bytes(b"age-encryption.org/v1\n" + bytes(range(256)) * 20)
    for number in range(2):
        (store.directory / "keys.tar.age").write_bytes(b"age-encryption.org/v1\n" + bytes([number]) * 5000)
        assert run(store, "save", keys=str(store.directory / "keys.tar.age")) == 0
        store.fill(600 + number)
    other, one = (backup.path for backup in made(store))
    return one, other


def test_whatever_is_damaged_is_refused(two: tuple[Path, Path], store: Store, tmp_path: Path) -> None:
    chance = random.Random(2026)  # noqa: S311 - no secret
    original, other = two
    ca_digest, etcdutl = store.configuration().etcd.ca_digest, str(store.programs / "etcdutl")
    check.check(original, etcdutl, ca_digest)
    kinds: list[Damage] = [cut, cut_to_pages, flip, flip, flip, blank, swap, lose, add]
    accepted = []
    for number in range(ROUNDS):
        damaged = tmp_path / str(number) / original.name
        shutil.copytree(original, damaged)
        done = kinds[number % len(kinds)](damaged, other, chance)
        try:
            check.check(damaged, etcdutl, ca_digest)
            accepted.append(done)
        except Damaged:
            pass
        shutil.rmtree(damaged)
    assert accepted == []


def test_without_a_manifest_to_compare_with_etcds_own_digest_is_enough(store: Store, two: tuple[Path, Path]) -> None:
    chance = random.Random(7)  # noqa: S311 - no secret
    snapshot = two[0] / manifest.SNAPSHOT
    whole = snapshot.read_bytes()
    check.snapshot(snapshot)
    for _ in range(50):
        content = bytearray(whole)
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        snapshot.write_bytes(content)
        with pytest.raises(Damaged):
            check.snapshot(snapshot)


def test_another_clusters_is_refused(store: Store, two: tuple[Path, Path]) -> None:
    with pytest.raises(Damaged, match="another cluster"):
        check.check(two[0], str(store.programs / "etcdutl"), "00" * 32)


def test_a_damaged_one_is_listed_as_such_and_the_newest_good_one_is_another(
    store: Store, two: tuple[Path, Path]
) -> None:
    older, newer = two
    cut(newer, older, random.Random(1))  # noqa: S311 - no secret
    assert [(backup.name, bool(backup.problem)) for backup in made(store)] == [(newer.name, True), (older.name, False)]
    newest = backups.newest(store.directory / "backups")
    assert newest is not None
    assert newest.name == older.name
