"""Taking a Python to a host: what is asked for when, and how a failure becomes a fact."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from plugins.action.host_python import ActionModule

from kubeproof.components import portable_python
from kubeproof.components.cache import Blob
from kubeproof.core.errors import KubeproofError

BARE = "machine x86_64\n"


class Host:
    """What the action says to a host, and what that answers."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, answer: str, *, check: bool = False) -> None:
        self.sent: list[tuple[str, bytes | None]] = []
        archive = tmp_path / "archive"
        archive.write_bytes(b"archive")
        self.archives: list[tuple[str, str]] = []
        plugin = ActionModule.__new__(ActionModule)
        plugin._task = SimpleNamespace(args={}, check_mode=check)
        plugin._variables = {"inventory_hostname": "h1"}

        def command(program: str, data: bytes | None = None) -> str:
            self.sent.append((program, data))
            return answer

        def obtain(_: Any, origin: Any, arch: str, *_rest: Any) -> Blob:
            self.archives.append((origin.source, arch))
            return Blob("d1", 7, archive)

        monkeypatch.setattr(plugin, "_command", command)
        monkeypatch.setattr(portable_python, "obtain", obtain)
        self.plugin = plugin

    def told(self, **arguments: Any) -> dict[str, Any]:
        self.plugin._task.args = {"state_directory": "/nowhere", "source": "go", **arguments}
        found: dict[str, Any] = self.plugin.act()
        return found


def problem(result: dict[str, Any]) -> tuple[str, str]:
    assert not result["brought"]
    fact = result["ansible_facts"]["kubeproof_host"]
    return fact["problem"], fact["remediation"]


def test_a_bare_host_is_sent_the_archive_of_its_architecture(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    host = Host(monkeypatch, tmp_path, "machine aarch64\n")
    assert host.told()["brought"]
    assert host.archives == [("go", "arm64")]
    assert [data for _, data in host.sent] == [None, b"archive"]


def test_one_that_has_it_by_now_is_sent_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    host = Host(monkeypatch, tmp_path, f"{BARE}digest d1\npython\n")
    assert host.told()["brought"]
    assert len(host.sent) == 1


def test_check_mode_sends_nothing_and_fetches_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    host = Host(monkeypatch, tmp_path, BARE, check=True)
    told, hint = problem(host.told(why="it has no Python"))
    assert told.startswith("it has no Python; a run first puts one into /opt/kubeproof/python")
    assert "--limit '!h1'" in hint
    assert (host.archives, len(host.sent)) == ([], 1)


def test_an_interpreter_that_the_inventory_names_is_its_to_correct(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    host = Host(monkeypatch, tmp_path, BARE)
    host.plugin._variables["ansible_python_interpreter"] = "/usr/bin/python3"
    told, hint = problem(host.told())
    assert "ansible_python_interpreter is /usr/bin/python3, which is not there" in told
    assert "correct it" in hint
    assert host.sent == []


def test_why_there_is_none_is_a_fact(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    told, hint = problem(Host(monkeypatch, tmp_path, f"{BARE}lacks tar\n").told())
    assert told == "it has no Python, and it lacks tar, without which no Python can be unpacked there"
    assert "add these programs" in hint


def test_a_failure_on_the_way_is_one_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    host = Host(monkeypatch, tmp_path, BARE)
    monkeypatch.setattr(portable_python, "obtain", lambda *_: (_ for _ in ()).throw(KubeproofError("gone")))
    assert problem(host.told())[0] == "it has no Python, and gone"


@pytest.mark.parametrize(
    ("answer", "check", "sent", "changed"),
    [
        (BARE, False, 1, False),
        (f"{BARE}digest d1\npython\n", False, 2, True),
        (f"{BARE}digest d1\npython\n", True, 1, True),
        (f"{BARE}partial\n", False, 2, True),
    ],
)
def test_it_is_removed_where_it_was_taken(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, answer: str, check: bool, sent: int, changed: bool
) -> None:
    host = Host(monkeypatch, tmp_path, answer, check=check)
    assert host.told(state="absent")["changed"] is changed
    assert len(host.sent) == sent


def test_a_state_that_there_is_not_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(KubeproofError, match="one of present, absent, asked"):
        Host(monkeypatch, tmp_path, BARE).told(state="gone")
