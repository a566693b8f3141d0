"""What of a host report may be taken as an answer, and until when."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

from kubeproof.install.look import Look, digest

REPORT = {"settled": {"tasks": {"abc": {"/etc/x/client": {}}}, "units": {"etcd.service": "def"}}}


def test_a_task_that_asks_for_the_same_is_answered(tmp_path: Path) -> None:
    seen = Look(REPORT, tmp_path, "1")
    assert seen.task("abc") == {"/etc/x/client": {}}
    assert seen.task("other") is None
    assert seen.unit("etcd.service", "def")
    assert not seen.unit("etcd.service", "other")
    assert not seen.unit("kubelet.service", "def")


def test_a_change_outdates_it_for_all_hosts_of_the_run(tmp_path: Path) -> None:
    Look({}, tmp_path / "rolling", "1").outdate()
    assert Look(REPORT, tmp_path / "rolling", "1").task("abc") is None
    assert not Look(REPORT, tmp_path / "rolling", "1").unit("etcd.service", "def")
    # The next run has a report of its own.
    assert Look(REPORT, tmp_path / "rolling", "2").task("abc") is not None


def test_hosts_may_change_at_the_same_time(tmp_path: Path) -> None:
    def outdate() -> None:
        for _ in range(300):
            Look({}, tmp_path, "1").outdate()

    processes = [multiprocessing.Process(target=outdate) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4
    assert [path.name for path in tmp_path.iterdir()] == ["changed"]


def test_a_host_that_was_not_reported_has_to_be_asked(tmp_path: Path) -> None:
    assert Look({}, tmp_path, "1").task("abc") is None
    assert not Look({}, tmp_path, "1").unit("etcd.service", "def")


def test_digests_tell_requests_apart_and_not_their_order() -> None:
    assert digest({"a": 1, "b": [1]}) == digest({"b": [1], "a": 1})
    assert digest({"a": 1}) != digest({"a": 2})
