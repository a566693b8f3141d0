"""What is refused before anything is stopped."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from tests.unit.restore import made

from kubeproof.errors import KubeproofError
from kubeproof.restore import checking


def test_a_whole_backup(tmp_path: Path) -> None:
    path = made.backup(tmp_path)
    assert checking.whole(path, made.AUTHORITY).revision == 1000


def test_any_damage_is_refused(tmp_path: Path) -> None:
    path = made.backup(tmp_path)
    originals = {name: (path / name).read_bytes() for name in ("snapshot.db", "manifest.json")}
    chance = random.Random(6)  # noqa: S311 - the same damage in each run
    for _ in range(200):
        name = chance.choice(sorted(originals))
        content = bytearray(originals[name])
        if chance.random() < 0.3:
            del content[chance.randrange(len(content)) :]
        else:
            content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        (path / name).write_bytes(content)
        with pytest.raises(KubeproofError, match="cannot be restored"):
            checking.whole(path, made.AUTHORITY)
        (path / name).write_bytes(originals[name])


def test_a_foreign_cluster(tmp_path: Path) -> None:
    with pytest.raises(KubeproofError, match="another cluster's"):
        checking.whole(made.backup(tmp_path), "b" * 64)


def test_files_missing_and_too_many(tmp_path: Path) -> None:
    path = made.backup(tmp_path)
    (path / "notes.txt").write_text("mine")
    with pytest.raises(KubeproofError, match=r"notes\.txt"):
        checking.whole(path, "")
    (path / "notes.txt").unlink()
    (path / "snapshot.db").unlink()
    with pytest.raises(KubeproofError, match=r"snapshot\.db"):
        checking.whole(path, "")


def test_a_backup_that_is_no_directory(tmp_path: Path) -> None:
    with pytest.raises(KubeproofError, match=r"manifest\.json is missing"):
        checking.whole(tmp_path / "nothing", "")


@pytest.mark.parametrize(("installed", "refused"), [("3.6.1", False), ("3.7.0", False), ("3.5.30", True)])
def test_a_newer_etcd(installed: str, *, refused: bool) -> None:
    found = checking.refusals(made.manifest(), [made.look("cp1", live={})], installed)
    assert bool(found) == refused
    assert all("the backup is of etcd 3.6.1; the hosts get etcd" in each for each in found)


def test_no_room() -> None:
    looks = [made.look("cp1", free=100 << 20, live={}), made.look("cp2", live={})]
    found = checking.refusals(made.manifest(size=1 << 30), looks, "3.6.1")
    assert len(found) == 1
    assert found[0].startswith("cp1: 100 MiB are free where etcd's data is, and the restore needs 2304")


def test_members_that_the_inventory_does_not_know() -> None:
    found = checking.refusals(made.manifest(), [made.look("cp1")], "3.6.1")
    assert len(found) == 1
    assert found[0].startswith("cp2 (https://cp2:2379), cp3 (https://cp3:2379) runs as a member and is no etcd host")


def test_hosts_of_any_kind_are_fine() -> None:
    looks = [made.look("cp1"), made.look("cp2", live={}, active=False), made.look("cp3", there=False, live={})]
    assert checking.refusals(made.manifest(), looks, "3.6.1") == []
