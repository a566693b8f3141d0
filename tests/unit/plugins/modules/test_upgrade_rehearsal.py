"""What a host does for a rehearsal."""

from __future__ import annotations

import hashlib
import json
import os
import pwd
from pathlib import Path

import pytest
from ansible.module_utils.commands import CommandFailed

import upgrade_rehearsal as module

GIB = 1 << 30


@pytest.mark.parametrize(
    ("size", "disk", "memory", "limit", "problem"),
    [
        (10 << 20, GIB, GIB, GIB, ""),
        (GIB, 2 * GIB, 16 * GIB, 16 * GIB, "a rehearsal needs 2560: free disk space"),
        (10 << 20, GIB, GIB // 2, GIB, "512 MiB of memory are available, and a rehearsal needs 828: free memory"),
        (GIB, 8 * GIB, 16 * GIB, 2 * GIB, "upgrade_rehearsal_memory is 2048 MiB, and this rehearsal needs 6912"),
    ],
)
def test_what_is_too_little_is_refused(size: int, disk: int, memory: int, limit: int, problem: str) -> None:
    found = module.shortage(size, disk, memory, limit)
    assert problem in found
    assert bool(problem) is bool(found)


def test_memory_that_is_available() -> None:
    assert module.free_memory("MemTotal: 9 kB\nMemAvailable:     2048 kB\n") == 2 << 20


def test_the_newest_snapshot_counts(tmp_path: Path) -> None:
    assert module.snapshot_bytes(str(tmp_path / "none")) == 0
    for name, size in (("20260101T000000Z-cp1", 5), ("20260102T000000Z-cp1", 7), (".partial-2", 9)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "snapshot.db").write_bytes(b"x" * size)
    assert module.snapshot_bytes(str(tmp_path)) == 7


def test_a_program_is_staged_or_installed_or_neither(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = hashlib.sha256(b"new").hexdigest()
    monkeypatch.setattr(module, "STAGED", str(tmp_path / "staged"))
    with pytest.raises(module.Refused, match="the target's etcd is not staged"):
        module.find("etcd", digest, str(tmp_path))
    (tmp_path / "etcd").write_bytes(b"new")
    assert module.find("etcd", digest, str(tmp_path)) == str(tmp_path / "etcd")
    (tmp_path / "staged").mkdir()
    (tmp_path / "staged" / digest).write_bytes(b"old")
    assert module.find("etcd", digest, str(tmp_path)) == str(tmp_path / "etcd")
    (tmp_path / "staged" / digest).write_bytes(b"new")
    assert module.find("etcd", digest, str(tmp_path)) == str(tmp_path / "staged" / digest)


def test_a_program_is_copied_where_it_cannot_be_linked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "etcd").write_bytes(b"new")
    assert Path(module.provide(str(tmp_path / "etcd"), str(tmp_path / "one"))).stat().st_nlink == 2

    def refuse(*_: str) -> None:
        raise OSError

    monkeypatch.setattr(os, "link", refuse)
    copied = Path(module.provide(str(tmp_path / "etcd"), str(tmp_path / "two")))
    assert (copied.read_bytes(), copied.stat().st_mode & 0o777) == (b"new", 0o755)


def test_the_unit_has_limits_and_cleans_up() -> None:
    words = module.command({"memory": GIB, "timeout": 1800, "backup_directory": "/var/backups/etcd", "backup": ""})
    for wanted in ("User=etcd-backup", f"MemoryMax={GIB}", "CPUWeight=10", "RuntimeMaxSec=1800", "PrivateNetwork=yes"):
        assert f"--property={wanted}" in words
    (removal,) = (word for word in words if "ExecStopPost" in word)
    assert module.DIRECTORY in removal
    assert "encryption.yaml" in removal


def test_a_backup_of_another_host_is_read_where_it_was_brought(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    me = pwd.getpwuid(os.geteuid()).pw_name
    monkeypatch.setattr(module, "OTHER_USER", me)
    for name in ("DIRECTORY", "RUNTIME", "STAGED"):
        monkeypatch.setattr(module, name, str(tmp_path / name))
    staged, installed = tmp_path / "STAGED", tmp_path / "bin"
    for directory in (staged, installed):
        directory.mkdir()
    digests = {name: hashlib.sha256(name.encode()).hexdigest() for name in ("etcd", "etcdutl", "kube-apiserver")}
    for name, digest in digests.items():
        (staged / digest).write_bytes(name.encode())
    (installed / "kube-apiserver").write_bytes(b"old")
    given = {
        "backup": "20260101T000000Z-e1",
        "backup_directory": "/var/backups/etcd",
        "bin_directory": str(installed),
        "versions": {"kubernetes": "1.37.2", "etcd": "3.7.3"},
        "arguments": [],
        "encryption": str(tmp_path / "none"),
        "timeout": 1800,
        "memory": GIB,
        "forward": True,
        "_name": "one",
        "_present": "1.36.3",
        "_programs": {name: digests[name] for name in ("etcd", "kube-apiserver")},
        "_etcd": {name: digests[name] for name in ("etcd", "etcdutl")},
    }
    found = module.prepare(given)
    assert found["backup"] == str(tmp_path / "DIRECTORY" / "backups" / "20260101T000000Z-e1")
    assert Path(found["backup"]).stat().st_mode & 0o777 == 0o700
    settings = json.loads((tmp_path / "RUNTIME" / "settings.json").read_text())
    assert settings["directory"] == str(Path(found["backup"]).parent)
    read = {name: Path(settings["present"][name]).read_bytes() for name in digests}
    assert read == {"etcd": b"etcd", "etcdutl": b"etcdutl", "kube-apiserver": b"old"}
    words = module.command(given)
    assert f"--property=User={me}" in words
    assert any(word.startswith("--property=ReadWritePaths=") and settings["directory"] in word for word in words)


@pytest.mark.parametrize(
    ("there", "name", "removed"),
    [("one", "one", True), ("another", "one", False), ("", "one", True), ("another", "", True)],
    ids=["its own", "of the next run", "has no name yet", "any"],
)
def test_a_run_that_was_killed_removes_no_other_s_rehearsal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: str, name: str, removed: bool
) -> None:
    monkeypatch.setattr(module, "run", lambda *_, **__: "")
    for each in ("DIRECTORY", "RUNTIME"):
        monkeypatch.setattr(module, each, str(tmp_path / each))
        (tmp_path / each).mkdir()
    if there:
        (tmp_path / "RUNTIME" / "owner").write_text(there)
    module.remove(name)
    assert (list(tmp_path.iterdir()) == []) is removed


def test_what_a_killed_rehearsal_has_left_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[list[str]] = []

    def nothing(command: list[str], timeout: float) -> str:
        commands.append(command)
        raise CommandFailed("not loaded")

    monkeypatch.setattr(module, "run", nothing)
    for name in ("DIRECTORY", "RUNTIME"):
        monkeypatch.setattr(module, name, str(tmp_path / name))
        (tmp_path / name / "work").mkdir(parents=True)
    module.remove()
    assert [command[1] for command in commands] == ["stop", "reset-failed"]
    assert list(tmp_path.iterdir()) == []
