"""What is noted of an upgrade that has begun."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from tests.unit.upgrade.worlds import NEW, OLD, goal

from kubeproof.core.versions import Version
from kubeproof.upgrade.record import Record


def begun(state: Path) -> Record:
    record = Record(state)
    record.begin(goal(), {})
    record.note_backup(goal().key, "cp1")
    record.note_rehearsal("1.37.2", "this")
    return record


def test_a_backup_counts_once_it_is_noted_and_so_do_its_rehearsals(tmp_path: Path) -> None:
    found = begun(tmp_path).backup("cp1")
    assert found is not None
    assert found.goal == goal().key
    assert found.readable == {Version(1, 37, 2): True}
    assert 0 <= found.age < 60


def test_one_on_another_host_does_not(tmp_path: Path) -> None:
    assert begun(tmp_path).backup("cp2") is None


def test_an_old_one_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record, now = begun(tmp_path), time.time()
    monkeypatch.setattr(time, "time", lambda: now + 86500)
    assert record.backup("cp1") is None


def test_another_backup_is_rehearsed_again(tmp_path: Path) -> None:
    record = begun(tmp_path)
    record.note_backup(goal().key, "cp1")
    found = record.backup("cp1")
    assert found is not None
    assert found.readable == {}


def test_of_other_versions_nothing_is_known(tmp_path: Path) -> None:
    record = begun(tmp_path)
    record.begin(goal(), {})
    assert record.backup("cp1") is not None, "it is the same upgrade"
    record.begin(goal({**NEW, "kubernetes": OLD["kubernetes"]}), {})
    assert record.backup("cp1") is None


def test_after_a_rehearsal_that_failed_there_is_none(tmp_path: Path) -> None:
    record = begun(tmp_path)
    record.forget_backup()
    assert record.backup("cp1") is None
    assert record.unfinished


def test_without_an_upgrade_nothing_is_noted(tmp_path: Path) -> None:
    record = Record(tmp_path)
    record.note_backup("forward", "cp1")
    record.forget_backup()
    assert not record.path.exists()


def test_what_was_rehearsed_before_it_holds_for_an_hour(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record, now = Record(tmp_path), time.time()
    assert record.rehearsed == {}
    record.note_rehearsal("1.36.3", "this")
    monkeypatch.setattr(time, "time", lambda: now + 3000)
    record.note_rehearsal("1.37.2", "this")
    record.note_rehearsal("1.37.2", "that")
    assert record.unfinished == {}, "no upgrade has begun"
    both = frozenset({Version(1, 36, 3), Version(1, 37, 2)})
    assert record.rehearsed == {"this": both, "that": frozenset({Version(1, 37, 2)})}
    monkeypatch.setattr(time, "time", lambda: now + 3700)
    assert record.rehearsed == {"that": frozenset({Version(1, 37, 2)})}


def test_after_a_rehearsal_that_failed_none_holds(tmp_path: Path) -> None:
    record = begun(tmp_path)
    record.forget_backup()
    assert record.rehearsed == {}


def test_a_backup_of_what_was_rehearsed_is_readable_at_once(tmp_path: Path) -> None:
    record = begun(tmp_path)
    record.note_backup(goal().key, "cp1", ["1.37.2"])
    found = record.backup("cp1")
    assert found is not None
    assert found.readable == {Version(1, 37, 2): True}
