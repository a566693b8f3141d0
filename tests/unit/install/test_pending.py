"""What check mode would have changed, from task to task."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from kubeproof.install.pending import GONE, UNKNOWN, Pending, concerning

CONFIG = {"path": "/etc/etcd/etcd.yaml", "what": "content"}


def test_later_tasks_know_what_earlier_ones_would_have_changed(tmp_path: Path) -> None:
    Pending(tmp_path / "pending", "cp1", "1").add([CONFIG])
    Pending(tmp_path / "pending", "cp1", "1").add([{"path": "/bin/etcd", "what": "created"}], {"/bin/etcd": b"etcd"})
    Pending(tmp_path / "pending", "cp1", "1").add([{"path": "/etc/old", "what": "removed"}])
    assert Pending(tmp_path / "pending", "cp1", "1").paths() == {
        "/etc/etcd/etcd.yaml": UNKNOWN,
        "/bin/etcd": hashlib.sha256(b"etcd").hexdigest(),
        "/etc/old": GONE,
    }


def test_owner_and_mode_are_no_content(tmp_path: Path) -> None:
    pending = Pending(tmp_path, "cp1", "1")
    pending.add([{**CONFIG, "what": "owner"}, {"path": "/etc/etcd/pki/ca.crt", "what": "mode"}])
    assert pending.paths() == {"/etc/etcd/etcd.yaml": None, "/etc/etcd/pki/ca.crt": None}
    pending.add([CONFIG])
    pending.add([{**CONFIG, "what": "mode"}])
    assert pending.paths()["/etc/etcd/etcd.yaml"] == UNKNOWN


def test_what_an_earlier_task_would_have_changed_is_no_news(tmp_path: Path) -> None:
    shared = {"path": "/etc/kubernetes/pki/ca.crt", "what": "created"}
    directory, mode = {"path": "/etc/kubernetes/pki", "what": "created"}, {**CONFIG, "what": "mode"}
    pending = Pending(tmp_path, "w1", "1")
    given = [shared, directory, mode]
    assert pending.news(given, {shared["path"]: b"ca"}) == given
    pending.add(given, {shared["path"]: b"ca"})
    assert pending.news(given, {shared["path"]: b"ca"}) == []
    # Other content is, and so is content where only the mode would have changed.
    assert pending.news([shared, CONFIG], {shared["path"]: b"another", CONFIG["path"]: b"x"}) == [shared, CONFIG]
    assert pending.news([{**shared, "what": "removed"}]) == [{**shared, "what": "removed"}]


def test_other_hosts_and_other_runs_do_not_count(tmp_path: Path) -> None:
    Pending(tmp_path, "cp1", "1").add([CONFIG])
    assert Pending(tmp_path, "cp2", "1").paths() == {}
    assert Pending(tmp_path, "cp1", "2").paths() == {}


def test_two_runs_at_once_keep_what_each_of_them_noted(tmp_path: Path) -> None:
    Pending(tmp_path, "cp1", "1").add([CONFIG])
    Pending(tmp_path, "cp1", "2").add([{**CONFIG, "path": "/etc/other"}])
    assert list(Pending(tmp_path, "cp1", "1").paths()) == [CONFIG["path"]]
    assert list(Pending(tmp_path, "cp1", "2").paths()) == ["/etc/other"]


def test_what_is_of_runs_of_days_ago_is_removed(tmp_path: Path) -> None:
    for run in ("1", "2"):
        Pending(tmp_path, "cp1", run).add([CONFIG])
    (tmp_path / "cp1.json").write_text("{}")
    for name in ("1", "cp1.json"):
        os.utime(tmp_path / name, (0, 0))
    Pending(tmp_path, "cp1", "3").add([CONFIG])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["2", "3"]


def test_without_changes_nothing_is_written(tmp_path: Path) -> None:
    Pending(tmp_path / "pending", "cp1", "1").add([])
    assert not (tmp_path / "pending").exists()


def test_a_unit_that_was_announced_is_known_until_something_else_is_asked_of_it(tmp_path: Path) -> None:
    Pending(tmp_path, "cp1", "1").add([CONFIG])
    Pending(tmp_path, "cp1", "1").announce("etcd.service", "a")
    pending = Pending(tmp_path, "cp1", "1")
    pending.add([{"path": "/bin/etcd", "what": "created"}])
    assert pending.announced("etcd.service", "a")
    assert sorted(pending.paths()) == ["/bin/etcd", "/etc/etcd/etcd.yaml"]
    assert not pending.announced("etcd.service", "b")
    assert not pending.announced("kubelet.service", "a")
    assert not Pending(tmp_path, "cp1", "2").announced("etcd.service", "a")


def test_files_concern_the_inputs_that_they_are_or_are_in() -> None:
    noted: dict[str, str | None] = {"/etc/etcd/etcd.yaml": "a", "/etc/etcd2/x": "b", "/bin/etcd": None}
    assert concerning(["/etc/etcd", "/bin/etcd"], noted) == {"/etc/etcd/etcd.yaml": "a", "/bin/etcd": None}
