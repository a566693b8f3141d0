"""Files and directories: ours go, others' stay, and what was there before us comes back."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.uninstall.account import Account
from ansible.module_utils.uninstall.files import Files


def entry(kind: str, path: Path, **more: Any) -> dict[str, Any]:
    return {"kind": kind, "path": str(path), **more}


def undo(*entries: dict[str, Any], check_mode: bool = False, busy: bool = False) -> Account:
    account = Account(check_mode)
    Files(account, list(entries), lambda _path: busy).undo()
    return account


def made(path: Path, text: str = "ours") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_what_we_made_goes(tmp_path: Path) -> None:
    file = made(tmp_path / "a/b/file")
    link = tmp_path / "a/link"
    link.symlink_to(file)
    account = undo(
        entry("directory", tmp_path / "a"), entry("directory", tmp_path / "a/b"),
        entry("file", file, backup=None), entry("file", link, backup=None),
    )  # fmt: skip
    assert list(tmp_path.iterdir()) == []
    assert [Path(change["path"]).name for change in account.changes] == ["file", "link", "b", "a"]
    assert not account.problems


def test_a_second_run_and_a_half_done_install_have_less_to_do(tmp_path: Path) -> None:
    entries = [entry("directory", tmp_path / "a"), entry("file", tmp_path / "a/never-written", backup=None)]
    (tmp_path / "a").mkdir()
    assert [change["path"] for change in undo(*entries).changes] == [str(tmp_path / "a")]
    assert undo(*entries).changes == []


def test_what_a_killed_install_was_just_writing_goes(tmp_path: Path) -> None:
    file = made(tmp_path / "bin/tool")
    made(tmp_path / "bin/.kubeproof-x7f3")
    made(tmp_path / "bin/.kubeproof-scratch/copy")
    undo(entry("directory", tmp_path / "bin"), entry("file", file, backup=None))
    assert list(tmp_path.iterdir()) == []


def test_others_files_stay_with_the_directories_they_are_in(tmp_path: Path) -> None:
    file = made(tmp_path / "etc/ours/conf")
    made(tmp_path / "etc/ours/notes.txt", "theirs")
    account = undo(
        entry("directory", tmp_path / "etc"),
        entry("directory", tmp_path / "etc/ours"),
        entry("file", file, backup=None),
    )
    assert (tmp_path / "etc/ours/notes.txt").read_text() == "theirs"
    assert account.kept == [
        {"path": str(tmp_path / "etc/ours"), "why": "others put something in it: notes.txt"},
        {"path": str(tmp_path / "etc"), "why": "others put something in it: ours"},
    ]


def test_a_replaced_file_is_put_back_with_owner_and_mode(tmp_path: Path) -> None:
    file, backup = made(tmp_path / "conf"), made(tmp_path / "backup/conf", "theirs")
    backup.chmod(0o640)
    replaced = entry("file", file, backup=str(backup))
    assert undo(replaced).changes == [{"path": str(file), "what": "put back as it was"}]
    assert file.read_text() == "theirs"
    assert file.stat().st_mode & 0o777 == 0o640
    assert undo(replaced).changes == []


def test_what_was_put_back_stays_once_its_backup_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reset that was killed while it forgot, or could forget only half, is run again."""
    monkeypatch.setattr("ansible.module_utils.uninstall.files.UNITS", f"{tmp_path}/")
    file, unit = made(tmp_path / "conf", "theirs"), made(tmp_path / "some.service", "theirs")
    gone = str(tmp_path / "backup/gone")
    account = undo(entry("file", file, backup=gone), {"kind": "unit", "name": unit.name, "backup": gone})
    assert (file.read_text(), unit.read_text()) == ("theirs", "theirs")
    assert (account.changes, account.kept, account.problems) == ([], [], [])


def test_a_replaced_link_is_put_back_as_a_link(tmp_path: Path) -> None:
    file, backup = made(tmp_path / "tool"), tmp_path / "backup"
    backup.symlink_to("/nonexistent/tool")
    undo(entry("file", file, backup=str(backup)))
    assert file.readlink() == Path("/nonexistent/tool")


def test_a_file_that_others_made_a_directory_stays(tmp_path: Path) -> None:
    (tmp_path / "conf").mkdir()
    assert undo(entry("file", tmp_path / "conf", backup=None)).kept[0]["why"] == "it was a file, and is a directory now"


def test_data_goes_and_its_directory_only_if_we_made_it(tmp_path: Path) -> None:
    for name in ("ours", "theirs"):
        made(tmp_path / name / "deep/er/file")
        (tmp_path / name / "link").symlink_to(tmp_path)
    undo(entry("data", tmp_path / "ours"), entry("directory", tmp_path / "ours"), entry("data", tmp_path / "theirs"))
    assert [path.name for path in tmp_path.rglob("*")] == ["theirs"]


def test_what_a_file_system_has_by_itself_stays(tmp_path: Path) -> None:
    made(tmp_path / "disk/file")
    (tmp_path / "disk/lost+found").mkdir()
    undo(entry("data", tmp_path / "disk"))
    assert [path.name for path in (tmp_path / "disk").iterdir()] == ["lost+found"]
    assert undo(entry("data", tmp_path / "disk")).changes == []


def test_data_in_which_something_is_mounted_is_not_touched(tmp_path: Path) -> None:
    made(tmp_path / "data/users-disk/file")
    account = undo(entry("data", tmp_path / "data"), entry("directory", tmp_path / "data"), busy=True)
    assert (tmp_path / "data/users-disk/file").exists()
    assert account.problems == [f"{tmp_path}/data was not emptied: something is still mounted in it"]


def test_owner_and_mode_of_what_was_there_come_back(tmp_path: Path) -> None:
    path = tmp_path / "found"
    path.mkdir(mode=0o700)
    before = entry("attributes", path, uid=path.stat().st_uid, gid=path.stat().st_gid, mode=0o755)
    assert undo(before).changes == [{"path": str(path), "what": "mode put back"}]
    assert path.stat().st_mode & 0o777 == 0o755
    assert undo(before, entry("attributes", tmp_path / "gone", uid=0, gid=0, mode=0o755)).changes == []


def test_check_mode_says_the_same_and_does_nothing(tmp_path: Path) -> None:
    made(tmp_path / "data/file")
    entries = [
        entry("data", tmp_path / "data"), entry("directory", tmp_path / "data"), entry("directory", tmp_path / "a"),
        entry("directory", tmp_path / "a/b"), entry("file", made(tmp_path / "a/b/file"), backup=None),
    ]  # fmt: skip
    asked = undo(*entries, check_mode=True, busy=True)
    assert len(list(tmp_path.rglob("*"))) == 5
    assert undo(*entries).changes == asked.changes


def test_one_failure_does_not_keep_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = made(tmp_path / "one"), made(tmp_path / "other")
    unlink = os.unlink

    def refuse(name: str, *, dir_fd: int) -> None:
        if name == one.name:
            raise PermissionError("read-only file system")
        unlink(name, dir_fd=dir_fd)

    monkeypatch.setattr("os.unlink", refuse)
    account = undo(entry("file", one, backup=None), entry("file", other, backup=None))
    assert account.problems == [f"{one} could not be removed: read-only file system"]
    assert not other.exists()
