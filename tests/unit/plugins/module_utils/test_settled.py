"""Whether what a task left is still there: any damage shows."""

from __future__ import annotations

import getpass
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from ansible.module_utils import settled

SUBJECT_KINDS = ("files", "users", "modules", "sysctls", "images")


@pytest.fixture
def left(tmp_path: Path) -> Path:
    """A directory with a file, a link and nothing at ``gone``, as a task left them."""
    made = tmp_path / "etc"
    made.mkdir()
    (made / "config").write_text("a")
    (made / "link").symlink_to("config")
    # As of data that somebody has moved to another disk.
    (tmp_path / "disk" / "data").mkdir(parents=True)
    (made / "data").symlink_to(tmp_path / "disk" / "data")
    files = [str(made), *(str(made / name) for name in ("config", "link", "data", "gone"))]
    subject = {
        "files": files,
        "users": [getpass.getuser()],
        "modules": ["tmpfs"],
        "sysctls": ["kernel.ostype"],
        "images": ["/nowhere/ctr /nowhere/socket localhost/pause:1"],
    }
    keep("etcd: Install etcd", "abc", subject, {"answer": 1}, tmp_path / "settled")
    return made


def keep(task: str, digest: str, subject: dict[str, list[str]], answer: object, directory: Path) -> None:
    settled.save({"task": task, "digest": digest, "subject": subject}, answer, str(directory))


def seen(left: Path) -> dict[str, object]:
    found: dict[str, object] = settled.settled(str(left.parent / "settled"))
    return found


def test_what_is_as_it_was_left_is_settled(left: Path) -> None:
    assert seen(left) == {"abc": {"answer": 1}}


@pytest.mark.parametrize(
    "damage",
    [
        lambda left: (left / "config").write_text("b"),
        lambda left: (left / "config").chmod(0o600),
        lambda left: left.chmod(0o700),
        lambda left: (left / "config").unlink(),
        lambda left: (left / "gone").touch(),
        lambda left: (left / "link").unlink() or (left / "link").symlink_to("other"),
        lambda left: (left / "config").unlink() or (left / "config").symlink_to("link"),
        lambda left: (left.parent / "disk" / "data").chmod(0o777),
        lambda left: (left.parent / "disk" / "data").rmdir(),
    ],
)
def test_damage_to_files_shows(left: Path, damage: Callable[[Path], object]) -> None:
    damage(left)
    assert seen(left) == {}


@pytest.mark.parametrize("kind", SUBJECT_KINDS[1:])
def test_damage_to_anything_else_shows(left: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(settled.LOOKS, kind, lambda _name: "other")
    assert seen(left) == {}


def test_the_content_of_large_files_is_judged_by_what_every_change_moves(left: Path) -> None:
    large = left / "program"
    large.write_bytes(b"x" * (settled.LARGE + 1))
    before = settled.describe(str(large))
    status = large.stat()
    large.write_bytes(b"y" * (settled.LARGE + 1))
    os.utime(large, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert settled.describe(str(large)) != before


LISTED = """REF                       TYPE  DIGEST      SIZE    PLATFORMS   LABELS
localhost/pause:1         m     sha256:abc  4.2 MiB linux/amd64 io.cri-containerd.pinned=pinned
"""


@pytest.mark.parametrize(
    ("after", "settled_again"),
    [
        (LISTED, True),
        (LISTED.replace("abc", "def"), False),
        (LISTED.replace("=pinned", "=no"), False),
        ("REF\n", False),
    ],
)
def test_images_that_are_gone_other_ones_or_not_pinned_any_more_show(
    tmp_path: Path, after: str, settled_again: bool
) -> None:
    program, listed = tmp_path / "ctr", tmp_path / "listed"
    program.write_text(f"#!/bin/sh\ncat {listed}\n")
    program.chmod(0o755)
    listed.write_text(LISTED)
    subject = {"images": [f"{program} /run/socket localhost/pause:1"]}
    settled.images.cache_clear()
    keep("components: Import", "abc", subject, {}, tmp_path / "settled")
    listed.write_text(after)
    # Within one report it is asked once.
    settled.images.cache_clear()
    assert (settled.settled(str(tmp_path / "settled")) == {"abc": {}}) is settled_again


def test_a_containerd_that_hangs_holds_up_no_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settled, "IMAGES_SECONDS", 0.1)
    program = tmp_path / "ctr"
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    program.chmod(0o755)
    settled.images.cache_clear()
    assert settled.image(f"{program} /run/socket localhost/pause:1") is None


@pytest.mark.parametrize("content", ["", "{", "[]", '{"digest": "abc"}', '{"subject": {"other": []}, "observed": {}}'])
def test_a_damaged_record_settles_nothing(left: Path, content: str) -> None:
    (record,) = (left.parent / "settled").iterdir()
    assert record.stat().st_mode & 0o777 == 0o600
    record.write_text(content)
    assert seen(left) == {}


def test_a_task_has_one_record(left: Path) -> None:
    directory = left.parent / "settled"
    keep("etcd: Install etcd", "def", {"files": []}, {}, directory)
    keep("kubelet: Install the kubelet", "ghi", {"files": []}, {}, directory)
    assert seen(left) == {"def": {}, "ghi": {}}


def test_whether_a_run_has_asked_for_the_same_before(left: Path) -> None:
    directory = left.parent / "settled"

    def asked(task: str, digest: str) -> str:
        found: str = settled.asked_before({"task": task, "digest": digest}, str(directory))
        return found

    assert asked("etcd: Install etcd", "abc") == "same"
    assert asked("etcd: Install etcd", "other") == "otherwise"
    assert asked("etcd: Install another", "abc") == "never"
    # Also where the host has changed since, so that nothing is settled.
    (left / "config").write_text("b")
    assert asked("etcd: Install etcd", "abc") == "same"
    for damaged in ("{", "[]", "{}"):
        next(directory.glob("*.json")).write_text(damaged)
        assert asked("etcd: Install etcd", "abc") == "never"
