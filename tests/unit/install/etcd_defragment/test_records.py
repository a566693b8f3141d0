"""What is noted of runs, for people and for a monitoring agent."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from kubeproof.install.etcd_defragment import records
from kubeproof.install.etcd_defragment.job import Done

DONE = Done("700 bytes given back", before=1000, after=300, seconds=2.5, defragmented=True)
NOTHING = Done("nothing to do", before=300, after=300)


@pytest.fixture(autouse=True)
def umask_of_the_unit() -> Iterator[None]:
    before = os.umask(0o077)
    yield
    os.umask(before)


def test_a_run_is_noted_with_its_metrics(tmp_path: Path) -> None:
    records.note(tmp_path, DONE, "", now=1000)
    assert json.loads((tmp_path / "status.json").read_text()) == {
        "schema": 1,
        "attempt": {"at": 1000, "ok": True, "text": "700 bytes given back"},
        "failures": 0,
        "last": {"at": 1000, "seconds": 2.5, "before": 1000, "after": 300},
    }
    path = tmp_path / "metrics" / "etcd_defragment.prom"
    assert path.stat().st_mode & 0o777 == 0o644
    assert path.parent.stat().st_mode & 0o777 == 0o755
    lines = path.read_text().splitlines()
    assert [line for line in lines if not line.startswith("#")] == [
        "etcd_defragment_last_attempt_timestamp_seconds 1000",
        "etcd_defragment_last_attempt_success 1",
        "etcd_defragment_failures_total 0",
        "etcd_defragment_last_timestamp_seconds 1000",
        "etcd_defragment_last_duration_seconds 2.5",
        "etcd_defragment_last_before_bytes 1000",
        "etcd_defragment_last_after_bytes 300",
    ]
    assert lines[:2] == [
        "# HELP etcd_defragment_last_attempt_timestamp_seconds When a run ended last.",
        "# TYPE etcd_defragment_last_attempt_timestamp_seconds gauge",
    ]


def test_later_runs_leave_the_last_defragmentation(tmp_path: Path) -> None:
    records.note(tmp_path, DONE, "", now=1000)
    records.note(tmp_path, NOTHING, "", now=2000)
    records.note(tmp_path, None, "cp2 is not healthy", now=3000)
    status = records.read(tmp_path)
    assert status["last"]["at"] == 1000
    assert status["attempt"] == {"at": 3000, "ok": False, "text": "cp2 is not healthy"}
    assert status["failures"] == 1


def test_what_never_happened_has_no_value_and_a_damaged_record_counts_as_none(tmp_path: Path) -> None:
    (tmp_path / "status.json").write_text("{")
    records.note(tmp_path, NOTHING, "", now=2000)
    text = (tmp_path / "metrics" / "etcd_defragment.prom").read_text()
    assert "last_timestamp" not in text
    assert "etcd_defragment_last_attempt_success 1\n" in text
