"""What the module ``etcd_restore`` does to a host's files; with etcd itself it is tried in tests/disaster."""

from __future__ import annotations

import getpass
import os
import shutil
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils import etcd_member

import etcd_restore
from etcd_restore import Failed, Host
from kubeproof.backup.agent.backups import PARTIAL


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    """A host with data of etcd's."""
    monkeypatch.setattr(etcd_restore, "USER", getpass.getuser())
    (tmp_path / "data" / "member" / "snap").mkdir(parents=True)
    (tmp_path / "data" / "member" / "snap" / "db").write_bytes(b"old")
    return Host(parameters(tmp_path))


def parameters(tmp_path: Path, **changes: Any) -> dict[str, Any]:
    return {
        "data_directory": str(tmp_path / "data"),
        "backup_directory": str(tmp_path / "backups"),
        "bin_directory": str(tmp_path / "bin"),
        "id": "20261121T200000Z",
        "manifest": {"size": 1},
        "timeout": 5,
        **changes,
    }


def data(host: Host) -> list[str]:
    return names(Path(host.data))


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_old_data_is_moved_and_never_over_what_is_there(host: Host, tmp_path: Path) -> None:
    etcd_restore.set_aside(host)
    assert data(host) == ["kept-20261121T200000Z"]
    (tmp_path / "data" / "member").mkdir()
    etcd_restore.set_aside(host)
    etcd_restore.set_aside(host)
    assert data(host) == ["kept-20261121T200000Z", "kept-20261121T200000Z.2"]
    assert (tmp_path / "data" / "kept-20261121T200000Z" / "member" / "snap" / "db").read_bytes() == b"old"
    assert etcd_restore.kept(host) == [str(tmp_path / "data" / name) for name in data(host)]


def test_a_host_whose_data_is_moved_away_knows_of_no_member(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(etcd_restore.Systemd, "state", staticmethod(lambda _unit: "inactive"))
    monkeypatch.setattr(etcd_member, "LIVED", str(tmp_path / "lived"))
    (tmp_path / "lived").write_text("/var/lib/etcd\n")
    assert etcd_restore.aside(host)["changed"]
    assert not (tmp_path / "lived").exists()
    assert not etcd_restore.aside(host)["changed"]


def test_data_of_this_restore_is_not_replaced(host: Host, tmp_path: Path) -> None:
    assert host.placed() == ""
    (tmp_path / "data" / "member" / etcd_restore.MARK).write_text("20261121T200000Z\n")
    assert host.placed() == host.id
    assert etcd_restore.stage(host) == {"path": ""}
    assert etcd_restore.check(host) == {}
    assert etcd_restore.place(host) == {"changed": False, "kept": []}
    assert (tmp_path / "data" / "member" / "snap" / "db").read_bytes() == b"old"


def test_a_host_that_never_had_etcd_is_seen_as_one(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(etcd_restore, "USER", "etcd-is-not-here")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert host.placed() == ""


def test_data_is_not_touched_while_etcd_may_run(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    for state in ("active", "activating", "deactivating"):
        monkeypatch.setattr(etcd_restore.Systemd, "state", staticmethod(lambda _unit, state=state: state))
        for change in (etcd_restore.place, etcd_restore.aside):
            with pytest.raises(Failed, match=f"etcd.service is {state}: its data is not touched"):
                change(host)
    assert data(host) == ["member"]


def test_what_came_to_nothing_goes_and_nothing_else(host: Host, tmp_path: Path) -> None:
    (tmp_path / "data" / "restoring-20260101T000000Z" / "new").mkdir(parents=True)
    (tmp_path / "data" / "kept-20260101T000000Z").mkdir()
    assert etcd_restore.stage(host) == {"path": str(tmp_path / "data" / "restoring-20261121T200000Z" / "snapshot.db")}
    assert data(host) == ["kept-20260101T000000Z", "member", "restoring-20261121T200000Z"]


def test_a_disk_that_would_be_filled(host: Host, tmp_path: Path) -> None:
    with pytest.raises(Failed, match=r"MiB are free, and \d+ are needed"):
        etcd_restore.stage(Host(parameters(tmp_path, manifest={"size": 1 << 60})))
    assert data(host) == ["member"]


def test_what_arrived_must_be_what_was_sent(host: Host, tmp_path: Path) -> None:
    path = Path(etcd_restore.stage(host)["path"])
    path.write_bytes(b"cut")
    wanted = {"size": 1, "files": {"snapshot.db": {"sha256": "0" * 64}}}
    with pytest.raises(Failed, match="another SHA-256 than the backup's"):
        etcd_restore.check(Host(parameters(tmp_path, manifest=wanted)))


def test_backups_are_listed_newest_first_finished_or_not(tmp_path: Path) -> None:
    assert etcd_restore.backups(str(tmp_path / "nothing")) == []
    for name in ("20261121T100000Z-cp1", "20261121T110000Z-cp1", ".partial-20261121T120000Z-cp1"):
        (tmp_path / name).mkdir()
    (tmp_path / "20261121T100000Z-cp1" / "manifest.json").write_text("{}")
    assert etcd_restore.backups(str(tmp_path)) == [
        {"name": "20261121T110000Z-cp1", "manifest": "", "files": {}},
        {"name": "20261121T100000Z-cp1", "manifest": "{}", "files": {"manifest.json": 2}},
    ]


def test_a_host_without_backups_is_no_obstacle(host: Host) -> None:
    assert "makes no backups" in etcd_restore.backup(host)["said"]


def test_a_backup_that_fails_is(tmp_path: Path, host: Host) -> None:
    program = tmp_path / "bin" / "kubeproof-backup"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho 'kubeproof-backup: the disk is full' >&2\nexit 1\n")
    program.chmod(0o755)
    with pytest.raises(Failed, match=r"nothing was stopped .*the disk is full.* -e restore_backup_first=false"):
        etcd_restore.backup(host)


@pytest.mark.parametrize(("leader", "stopped"), [(True, False), (False, True)])
def test_a_member_that_serves_is_not_stopped_for_a_copy(
    host: Host, monkeypatch: pytest.MonkeyPatch, leader: bool, stopped: bool
) -> None:
    def no_room(*_: Any) -> Any:
        raise Failed("no space left on device")

    copied: list[str] = []
    monkeypatch.setattr(etcd_restore.Systemd, "state", staticmethod(lambda _unit: "active"))
    monkeypatch.setattr(etcd_restore, "saved", no_room)
    monkeypatch.setattr(etcd_restore, "alive", lambda _host: ({"leader": leader}, ""))
    monkeypatch.setattr(etcd_restore, "copy", lambda _host, target: copied.append(target))
    monkeypatch.setattr(etcd_restore, "from_copy", lambda *_: {})
    if leader:
        with pytest.raises(Failed, match="no space left"):
            etcd_restore.snapshot(host)
    else:
        etcd_restore.snapshot(host)
    assert bool(copied) == stopped


@pytest.mark.parametrize("there", [False, True])
def test_a_member_that_was_added_already_is_no_change(
    host: Host, monkeypatch: pytest.MonkeyPatch, *, there: bool
) -> None:
    other = {"ID": 1, "name": "cp1", "peerURLs": ["https://10.0.0.1:2380"]}
    added = {"ID": 2, "name": "", "peerURLs": ["https://10.0.0.2:2380"], "isLearner": True}
    members = [other, added] if there else [other]

    def ctl(self: Host, *arguments: str, **_: Any) -> Any:
        if arguments[:2] == ("member", "add"):
            members.append(added)
        return {"members": members}

    monkeypatch.setattr(Host, "ctl", ctl)
    host.parameters |= {"name": "cp2", "peer_url": "https://10.0.0.2:2380", "endpoints": []}
    assert etcd_restore.join(host) == {
        "changed": not there,
        "initial_cluster": "cp1=https://10.0.0.1:2380,cp2=https://10.0.0.2:2380",
    }


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A kubeproof-backup that fetches, and says where to."""
    path = tmp_path / "bin" / "kubeproof-backup"
    path.parent.mkdir()
    path.write_text('#!/bin/sh\nmkdir -p "$4/$3"\necho new > "$4/$3/snapshot.db"\necho "$*"\n')
    path.chmod(0o755)
    (tmp_path / "backups").mkdir()
    return path


def fetching(tmp_path: Path) -> Host:
    return Host(parameters(tmp_path, target="far", name="20261121T100000Z-cp1"))


def test_a_copy_is_fetched_though_there_is_one_of_that_name(tmp_path: Path, program: Path) -> None:
    damaged = tmp_path / "backups" / "20261121T100000Z-cp1"
    damaged.mkdir()
    fetched = etcd_restore.fetch(fetching(tmp_path))
    assert Path(fetched["path"], "snapshot.db").read_text() == "new\n"
    assert list(damaged.iterdir()) == []
    # Neither a backup, nor what a backup that begins takes for unfinished ones.
    (private,) = (path for path in (tmp_path / "backups").iterdir() if path != damaged)
    assert private.name == ".fetch-20261121T200000Z"
    assert private == Path(fetched["path"]).parent
    assert not private.name.startswith(PARTIAL)


def test_what_was_fetched_goes_and_nothing_else(tmp_path: Path, program: Path) -> None:
    for name in (".fetch-20260101T000000Z", ".partial-20261121T100000Z-cp1", "20261121T100000Z-cp1"):
        (tmp_path / "backups" / name / "inside").mkdir(parents=True)
    host = fetching(tmp_path)
    etcd_restore.fetch(host)
    left = [".partial-20261121T100000Z-cp1", "20261121T100000Z-cp1"]
    assert names(tmp_path / "backups") == [".fetch-20261121T200000Z", *left]
    assert etcd_restore.discard(host) == {"changed": True}
    assert names(tmp_path / "backups") == left
    assert etcd_restore.discard(host) == {"changed": False}
    assert etcd_restore.discard(Host(parameters(tmp_path / "nothing"))) == {"changed": False}


def test_a_full_database_can_be_read_from_a_copy(host: Host, tmp_path: Path) -> None:
    """The alarm is stored in it, and etcd is never well again until somebody disarms it."""
    etcdctl = tmp_path / "bin" / "etcdctl"
    etcdctl.parent.mkdir()
    etcdctl.write_text(
        '#!/bin/sh\ncase "$*" in *"endpoint health"*) echo "alarm:NOSPACE" >&2; exit 1;; *) echo "{}";; esac\n'
    )
    etcdctl.chmod(0o755)
    with subprocess.Popen(["sleep", "60"]) as process, (tmp_path / "log").open("w+b") as log:
        timer = threading.Timer(2, process.kill)
        timer.start()
        try:
            etcd_restore.await_scratch(host, "unix://nowhere", process, log)
            assert process.poll() is None
        finally:
            timer.cancel()
            process.kill()


SOMEBODY = "nobody"
ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")


@pytest.fixture
def taken_over(tmp_path: Path, host: Host, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A host whose etcd has been taken over, and something precious that its user may neither read nor write."""
    monkeypatch.setattr(etcd_restore, "USER", SOMEBODY)
    monkeypatch.setattr(etcd_restore.Systemd, "state", staticmethod(lambda _unit: "inactive"))
    for path in tmp_path.parents[:3]:
        if path.stat().st_mode & 0o077 == 0:
            path.chmod(0o711)
    tmp_path.chmod(0o711)
    for path in (tmp_path / "data", *(tmp_path / "data").rglob("*")):
        shutil.chown(path, SOMEBODY, "nogroup")
    precious = tmp_path / "precious"
    precious.mkdir(mode=0o700)
    (precious / "key").write_text("secret")
    (precious / "key").chmod(0o600)
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, does in (("etcdutl", 'mkdir -p "$5/member"; echo "$(id -un)" > "$5/member/by"'), ("etcd", "id -un >&2")):
        (programs / name).write_text(f"#!/bin/sh\n{does}\n")
        (programs / name).chmod(0o755)
    return precious


@ROOT
def test_a_copy_takes_links_as_links(taken_over: Path, host: Host, tmp_path: Path) -> None:
    (tmp_path / "data/member/snap/key").symlink_to(taken_over / "key")
    os.lchown(tmp_path / "data/member/snap/key", 65534, 65534)
    target = Path(etcd_restore.fresh_staging(host)) / "copy"
    etcd_restore.copy(host, str(target))
    assert (target / "snap/key").is_symlink()
    assert (target / "snap/db").read_bytes() == b"old"
    assert (target / "snap/db").owner() == SOMEBODY


@ROOT
def test_programs_that_read_untrusted_data_are_not_root(taken_over: Path, host: Host, tmp_path: Path) -> None:
    names = ("name", "initial_cluster", "token", "peer_url")
    host.parameters |= {**dict.fromkeys(names, "x"), "bump": 0}
    etcd_restore.fresh_staging(host)
    assert etcd_restore.place(host)["changed"]
    assert (tmp_path / "data/member/by").read_text() == f"{SOMEBODY}\n"
    assert (tmp_path / "data/member" / etcd_restore.MARK).owner() == SOMEBODY
    scratch = tmp_path / "data" / "scratch"
    scratch.mkdir()
    shutil.chown(scratch, SOMEBODY, "nogroup")
    with pytest.raises(Failed, match=f"ended. Its last words: {SOMEBODY}"):
        etcd_restore.from_copy(host, str(scratch), str(scratch / "snapshot.db"))
    assert os.geteuid() == 0


@ROOT
def test_nothing_is_written_where_a_link_of_etcds_leads(taken_over: Path, host: Host, tmp_path: Path) -> None:
    host.parameters |= {**dict.fromkeys(("name", "initial_cluster", "token", "peer_url"), "x"), "bump": 0}
    (tmp_path / "data" / f"restoring-{host.id}").symlink_to(taken_over)
    with pytest.raises(Failed):
        etcd_restore.place(host)
    assert etcd_restore.stage(host)["path"].startswith(str(tmp_path / "data"))
    assert not (tmp_path / "data" / f"restoring-{host.id}").is_symlink()
    assert [path.name for path in taken_over.iterdir()] == ["key"]
    (tmp_path / "data/member" / etcd_restore.MARK).symlink_to(taken_over / "key")
    assert host.placed() == ""
