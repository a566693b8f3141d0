"""A restore that did not get to its end is found again, and only that."""

from __future__ import annotations

import datetime
from dataclasses import asdict
from pathlib import Path

from tests.unit.restore import made

from kubeproof.restore.record import Records, Restore, manifest_of

MEMBERS = {"cp1": "https://10.0.0.1:2380", "cp2": "https://10.0.0.2:2380"}
NOW = datetime.datetime(2026, 11, 21, 20, 0, 3, tzinfo=datetime.UTC)


def restore(path: Path, identity: str = "20261121T200000Z") -> Restore:
    return Restore(
        id=identity,
        request="latest",
        name=path.name,
        path=str(path),
        kept="/var/lib/etcd/kept-X",
        members=MEMBERS,
        token="example",  # noqa: S106 - etcd's word for a cluster's name
        bump=1,
        manifest=asdict(made.manifest()),
        began="2026-11-21T20:00:00+00:00",
    )


def test_one_that_was_begun_is_gone_on_with(tmp_path: Path) -> None:
    records = Records(tmp_path)
    begun = restore(records.fetched("20261121T200000Z", "B"))
    records.save(begun)
    assert records.unfinished("latest", MEMBERS) == begun
    assert begun.initial_cluster == "cp1=https://10.0.0.1:2380,cp2=https://10.0.0.2:2380"
    assert manifest_of(begun.manifest) == made.manifest()


def test_another_one_is_not(tmp_path: Path) -> None:
    records = Records(tmp_path)
    assert records.unfinished("latest", MEMBERS) is None
    records.save(restore(records.fetched("20261121T200000Z", "B")))
    assert records.unfinished("cp1:20261121T174502Z-cp1", MEMBERS) is None
    assert records.unfinished("latest", {"cp1": MEMBERS["cp1"]}) is None


def test_nor_one_that_is_through_and_its_copy_goes(tmp_path: Path) -> None:
    records = Records(tmp_path)
    copy = records.fetched("20261121T200000Z", "B")
    (copy / "snapshot.db").write_bytes(b"x")
    records.save(restore(copy))
    assert records.finish("20261121T200000Z", NOW).done == "2026-11-21T20:00:03+00:00"
    assert records.unfinished("latest", MEMBERS) is None
    assert not copy.exists()


def test_nor_one_whose_backup_is_gone(tmp_path: Path) -> None:
    records = Records(tmp_path)
    records.save(restore(tmp_path / "unplugged"))
    assert records.unfinished("latest", MEMBERS) is None


def test_copies_that_nobody_agreed_to_go(tmp_path: Path) -> None:
    """What an unfinished restore has fetched may be the only one left, whatever is asked for now."""
    records = Records(tmp_path)
    kept, dropped = records.fetched("20261121T200000Z", "one"), records.fetched("B", "two")
    records.save(restore(kept))
    records.drop_leftovers()
    assert kept.is_dir()
    assert not dropped.exists()


def test_a_copy_that_is_restored_from_stays(tmp_path: Path) -> None:
    records = Records(tmp_path)
    read, dropped = records.fetched("A", "one"), records.fetched("B", "two")
    records.drop_leftovers(str(read.resolve()))
    assert read.is_dir()
    assert not dropped.exists()


def test_all_are_over_once_the_cluster_goes_on_without_them(tmp_path: Path) -> None:
    records = Records(tmp_path)
    copies = [records.fetched(identity, "B") for identity in ("20261121T200000Z", "20261122T200000Z")]
    for copy in copies:
        records.save(restore(copy, copy.parent.name))
    assert [each.id for each in records.close(NOW)] == ["20261121T200000Z", "20261122T200000Z"]
    assert records.unfinished("latest", MEMBERS) is None
    assert not any(copy.exists() for copy in copies)
    assert records.close(NOW) == []


def test_a_record_that_cannot_be_read_is_none(tmp_path: Path) -> None:
    records = Records(tmp_path)
    begun = restore(records.fetched("20261121T200000Z", "B"))
    records.save(begun)
    for name, content in (("cut", "{"), ("foreign", "{}")):
        (records.directory / f"{name}.json").write_text(content)
    assert records.all() == [begun]
    assert begun.first_revision == 1001


def test_nobody_else_reads_them(tmp_path: Path) -> None:
    records = Records(tmp_path)
    copy = records.fetched("A", "one")
    records.save(restore(copy, "A"))
    assert {path.stat().st_mode & 0o077 for path in (records.directory, copy, records.directory / "A.json")} == {0}
