"""What of a host report may be taken as an answer, and until when."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

from kubeproof.install.look import Look, digest

REPORT = {"settled": {"tasks": {"abc": {"/etc/x/client": {}}}, "units": {"etcd.service": "def"}}}


def test_a_task_that_asks_for_the_same_is_answered(tmp_path: Path) -> None:
    seen = Look(REPORT, tmp_path, "1", "cp1")
    assert seen.task("abc") == {"/etc/x/client": {}}
    assert seen.task("other") is None
    assert seen.unit("etcd.service", "def")
    assert not seen.unit("etcd.service", "other")
    assert not seen.unit("kubelet.service", "def")


def test_a_change_outdates_its_host_and_the_units_of_all_for_the_run(tmp_path: Path) -> None:
    Look({}, tmp_path / "rolling", "1", "cp1").outdate()
    assert Look(REPORT, tmp_path / "rolling", "1", "cp1").task("abc") is None
    assert not Look(REPORT, tmp_path / "rolling", "1", "cp1").unit("etcd.service", "def")
    other = Look(REPORT, tmp_path / "rolling", "1", "w1")
    assert other.task("abc") is not None, "files of this one are as they were"
    assert not other.unit("etcd.service", "def"), "a unit may have failed for what another host has lost"
    # The next run has a report of its own.
    assert Look(REPORT, tmp_path / "rolling", "2", "cp1").task("abc") is not None


def test_it_holds_again_once_all_have_reported_again(tmp_path: Path) -> None:
    seen = Look(REPORT, tmp_path, "1", "cp1")
    seen.outdate()
    seen.renew()
    assert seen.task("abc") is not None
    assert seen.unit("etcd.service", "def")
    seen.renew()


def test_hosts_may_change_at_the_same_time(tmp_path: Path) -> None:
    def outdate() -> None:
        for _ in range(300):
            Look({}, tmp_path, "1", "cp1").outdate()

    processes = [multiprocessing.Process(target=outdate) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")} == {
        "changed", "changed-on", "changed-on/cp1",
    }  # fmt: skip


def test_a_host_that_was_not_reported_has_to_be_asked(tmp_path: Path) -> None:
    assert Look({}, tmp_path, "1", "cp1").task("abc") is None
    assert not Look({}, tmp_path, "1", "cp1").unit("etcd.service", "def")


def test_digests_tell_requests_apart_and_not_their_order() -> None:
    assert digest({"a": 1, "b": [1]}) == digest({"b": [1], "a": 1})
    assert digest({"a": 1}) != digest({"a": 2})
