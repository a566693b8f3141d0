"""What the module ``etcd_restore`` does to a host's files; with etcd itself it is tried in tests/disaster."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils import etcd_member

import etcd_restore
from etcd_restore import Failed, Host


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
    return sorted(path.name for path in Path(host.data).iterdir())


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
