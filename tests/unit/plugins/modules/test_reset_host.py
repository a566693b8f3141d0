"""The module as a whole: what it needs to know, and that it forgets last."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.commands import CommandFailed
from ansible.module_utils.uninstall import files, mounts, units
from ansible.module_utils.uninstall.account import Account

import reset_host


@pytest.fixture(autouse=True)
def commands(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    called: list[list[str]] = []

    def remember(command: list[str]) -> str:
        called.append(command)
        return ""

    monkeypatch.setattr(units, "run", remember)
    return called


def state(tmp_path: Path, *entries: dict[str, Any], version: int = 1) -> Path:
    directory = tmp_path / "state"
    (directory / "backup").mkdir(parents=True)
    (directory / "manifest.json").write_text(json.dumps({"version": version, "entries": list(entries)}))
    return directory


def reset(directory: Path, *, check_mode: bool = False) -> Account:
    account = Account(check_mode)
    reset_host.reset(account, str(directory))
    return account


def test_a_host_that_never_had_anything_has_nothing_to_do(tmp_path: Path, commands: list[list[str]]) -> None:
    account = reset(tmp_path / "state")
    assert (account.changes, account.kept, account.problems) == ([], [], [])
    assert commands == []


def test_the_memory_goes_when_all_is_undone(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    directory = state(tmp_path, {"kind": "file", "path": str(tmp_path / "file"), "backup": None})
    assert len(reset(directory, check_mode=True).changes) == 2
    assert (tmp_path / "file").exists()
    assert [change["path"] for change in reset(directory).changes] == [str(tmp_path / "file"), str(directory)]
    assert list(tmp_path.iterdir()) == []


def test_the_memory_stays_while_something_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = state(tmp_path, {"kind": "data", "path": str(tmp_path / "data")})
    (tmp_path / "data/disk").mkdir(parents=True)
    monkeypatch.setattr(mounts.Mounts, "busy", lambda _self, _path: True)
    assert "still mounted" in reset(directory).problems[0]
    assert (directory / "manifest.json").exists()
    monkeypatch.undo()
    assert reset(directory).problems == []


def test_a_reset_that_was_killed_while_it_forgot_is_finished(tmp_path: Path) -> None:
    directory = state(tmp_path)
    (directory / "manifest.json").unlink()
    assert [change["what"] for change in reset(directory).changes] == ["removed"]
    assert not directory.exists()


def test_the_manifest_is_the_last_to_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = state(tmp_path)

    def killed(paths: list[str]) -> None:
        assert [Path(path).name for path in paths] == ["backup"]
        raise CommandFailed("killed")

    monkeypatch.setattr(reset_host, "remove_all", killed)
    reset(directory)
    assert (directory / "manifest.json").exists()


def test_a_reset_that_forgot_half_takes_nothing_that_it_has_put_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, backup = tmp_path / "conf", tmp_path / "state/backup/conf"
    directory = state(tmp_path, {"kind": "file", "path": str(file), "backup": str(backup)})
    file.write_text("ours")
    backup.write_text("theirs")

    def killed(paths: list[str]) -> None:
        files.remove_all(paths)
        raise CommandFailed("killed")

    with monkeypatch.context() as patch:
        patch.setattr(reset_host, "remove_all", killed)
        reset(directory)
    assert not backup.exists()
    assert reset(directory).problems == []
    assert file.read_text() == "theirs"
    assert not directory.exists()


def test_what_an_interrupted_rehearsal_has_left_goes_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left = tmp_path / "rehearsal"
    (left / "work").mkdir(parents=True)
    monkeypatch.setattr(reset_host, "REHEARSAL", str(left))
    directory = state(tmp_path)
    assert str(left) in [change["path"] for change in reset(directory, check_mode=True).changes]
    assert left.exists()
    reset(directory)
    assert not left.exists()


def test_a_manifest_of_another_version_is_not_guessed_at(tmp_path: Path) -> None:
    directory = state(tmp_path, version=2)
    assert "reset with the kubeproof that wrote it" in reset(directory).problems[0]
    assert directory.exists()


@pytest.mark.parametrize("content", ["", "[]", '{"version": 1}'])
def test_a_damaged_manifest_is_not_taken_for_none(tmp_path: Path, content: str) -> None:
    directory = state(tmp_path)
    (directory / "manifest.json").write_text(content)
    assert reset(directory).problems == [
        f"{directory}/manifest.json is damaged; what was done to this host is not known"
    ]
