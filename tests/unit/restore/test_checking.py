"""What is refused before anything is stopped."""

from __future__ import annotations

import datetime
import hashlib
import random
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from tests.unit.restore import made

from kubeproof.backup import keys
from kubeproof.backup.agent import manifest
from kubeproof.core.errors import KubeproofError
from kubeproof.pki import cas
from kubeproof.restore import checking


def test_a_whole_backup(tmp_path: Path) -> None:
    path = made.backup(tmp_path)
    assert checking.whole(path, made.CA_DIGEST).revision == 1000


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
            checking.whole(path, made.CA_DIGEST)
        (path / name).write_bytes(originals[name])


def test_a_foreign_cluster(tmp_path: Path) -> None:
    with pytest.raises(KubeproofError, match="another cluster"):
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
    assert found[0].startswith(
        "cp2 (https://cp2:2379), cp3 (https://cp3:2379) runs as a member and is not an etcd host"
    )


def test_hosts_of_any_kind_are_fine() -> None:
    looks = [made.look("cp1"), made.look("cp2", live={}, active=False), made.look("cp3", there=False, live={})]
    assert checking.refusals(made.manifest(), looks, "3.6.1") == []


def with_keys(tmp_path: Path) -> tuple[Path, Path]:
    """A controller's state with keys, and a backup of its cluster that has them encrypted for its own identity."""
    state = tmp_path / "state"
    cas.ensure_cas(state / "pki", "example", datetime.timedelta(days=1))
    bundle = keys.ensure(state, "encrypted", [])
    assert bundle is not None
    path = made.backup(tmp_path / "backups", authority=checking.ca_digest_of(state))
    told = manifest.read(path)
    file = manifest.File(len(bundle.content), hashlib.sha256(bundle.content).hexdigest())
    (path / bundle.name).write_bytes(bundle.content)
    (path / "manifest.json").write_bytes(replace(told, files={**told.files, bundle.name: file}).render())
    return state, path


def test_keys_that_the_controller_has_lost_come_from_the_backup(tmp_path: Path) -> None:
    state, path = with_keys(tmp_path)
    identity = state / keys.IDENTITY
    before = {file.name: file.read_bytes() for file in (state / "pki").iterdir() if not file.name.startswith(".")}
    assert checking.keys_for(state, path, identity) == []

    assert checking.lost_keys(state, path, identity) == []
    shutil.rmtree(state / "pki")
    assert sorted(checking.keys_for(state, path, identity)) == sorted(before)
    assert {name: (state / "pki" / name).read_bytes() for name in before} == before


@pytest.mark.parametrize("recipients", [[], ["age1"]])
def test_so_does_the_private_key_that_opened_them_unless_it_is_somebody_elses(
    tmp_path: Path, recipients: list[str]
) -> None:
    state, path = with_keys(tmp_path)
    own = state / keys.IDENTITY
    safe = own.rename(tmp_path / "safe.txt")
    shutil.rmtree(state / "pki")
    assert checking.lost_keys(state, path, safe)
    assert not own.exists()
    assert checking.keys_for(state, path, safe, recipients)
    assert own.read_text() == safe.read_text() if not recipients else not own.exists()


def test_a_check_writes_none(tmp_path: Path) -> None:
    state, path = with_keys(tmp_path)
    names = sorted(file.name for file in (state / "pki").iterdir() if not file.name.startswith("."))
    shutil.rmtree(state / "pki")
    assert sorted(checking.lost_keys(state, path, state / keys.IDENTITY)) == names
    assert not (state / "pki").exists()


@pytest.mark.parametrize("name", ["etcd.crt", "service-account.pub", "encryption.key"])
def test_so_does_half_a_pair(tmp_path: Path, name: str) -> None:
    state, path = with_keys(tmp_path)
    before = (state / "pki" / name).read_bytes()
    (state / "pki" / name).unlink()
    assert checking.keys_for(state, path, state / keys.IDENTITY) == [name]
    assert (state / "pki" / name).read_bytes() == before


def test_keys_are_missed_in_words(tmp_path: Path) -> None:
    state, path = with_keys(tmp_path)
    shutil.rmtree(state / "pki")
    with pytest.raises(KubeproofError, match="cannot be read"):
        checking.keys_for(state, path, tmp_path / "no-identity.txt")
    with pytest.raises(KubeproofError, match=r"lacks keys of the cluster, and .* has none"):
        checking.keys_for(state, made.backup(tmp_path / "without"), state / keys.IDENTITY)


def test_keys_of_another_cluster_than_the_snapshot(tmp_path: Path) -> None:
    state, path = with_keys(tmp_path)
    told = manifest.read(path)
    (path / "manifest.json").write_bytes(replace(told, authority="b" * 64).render())
    shutil.rmtree(state / "pki")
    with pytest.raises(KubeproofError, match="belong to another cluster than its snapshot"):
        checking.keys_for(state, path, state / keys.IDENTITY)
    assert not (state / "pki").exists()
