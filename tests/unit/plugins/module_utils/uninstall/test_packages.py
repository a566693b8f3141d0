"""Of packages a reset removes what our transaction brought and nobody uses. By the real dpkg, in a root of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.commands import CommandFailed
from ansible.module_utils.transaction import Transaction
from ansible.module_utils.uninstall import packages, software
from ansible.module_utils.uninstall.account import Account
from ansible.module_utils.uninstall.software import Software
from tests.unit.plugins.module_utils import debian
from tests.unit.plugins.module_utils.debian import Debian

import reset_host

pytestmark = pytest.mark.skipif(not debian.available(), reason="there is no apt here")


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Debian:
    made = Debian(tmp_path, monkeypatch)
    made.offer(
        "tool", Depends="library",
        files={"/etc/tool/tool.conf": "default\n", "/lib/systemd/system/tool.service": "", "/var/lib/tool/readme": ""},
    )  # fmt: skip
    made.offer("library", architecture="amd64", Multi_Arch="same")
    made.offer("theirs", Depends="tool")
    made.offer("database", files={"/etc/database.conf": "default\n"})
    Transaction(made.apt, str(made.root / "state")).install(["tool"], 5)
    monkeypatch.setattr(software, "database", lambda: made.dpkg)
    return made


def reset(system: Debian) -> dict[str, str]:
    """What stays, and why."""
    account = Account()
    Software(account, reset_host.read_manifest(str(system.root / "state"))).undo()
    assert account.problems == []
    return {kept["path"].removeprefix("package "): kept["why"] for kept in account.kept}


def test_nothing_is_left_of_what_nobody_touched(system: Debian) -> None:
    system.install_manually("database")
    assert reset(system) == {}
    assert system.states() == {"database": "installed"}
    assert not (system.root / "etc/tool").exists()
    assert reset(system) == {}


def test_what_others_have_come_to_need_stays(system: Debian) -> None:
    system.install_manually("theirs")
    assert set(reset(system)) == {"tool", "library:amd64"}
    assert set(system.states().values()) == {"installed"}


@pytest.mark.parametrize("text", ["mine\n", None])
def test_what_is_configured_stays_with_what_it_needs(system: Debian, text: str | None) -> None:
    path = system.root / "etc/tool/tool.conf"
    path.write_text(text) if text else path.unlink()
    assert reset(system) == {
        "tool": "its configuration was changed: /etc/tool/tool.conf",
        "library:amd64": "other packages have come to need it",
    }


@pytest.mark.parametrize("place", ["etc/tool/conf.d/mine.conf", "var/lib/tool/data"])
def test_what_has_somebodys_files_in_its_directories_stays(system: Debian, place: str) -> None:
    path = system.root / place
    path.parent.mkdir(exist_ok=True)
    path.touch()
    (system.root / "etc/elsewhere").touch()
    assert reset(system)["tool"] == f"its directories have files of others: /{place}"
    assert path.exists()


def test_what_somebody_runs_stays(system: Debian, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(software, "switched_on", lambda names: [name for name in names if name == "tool.service"])
    assert reset(system)["tool"] == "tool.service has been switched on"


def test_configuration_that_was_there_before_stays(tmp_path: Path, system: Debian) -> None:
    assert reset(system) == {}
    (system.root / "state/manifest.json").unlink()
    system.install_manually("library")
    system.install_manually("tool")
    (system.root / "etc/tool/tool.conf").write_text("mine\n")
    system.run("dpkg", "--remove", "tool")
    Transaction(system.apt, str(system.root / "state")).install(["tool"], 5)
    (system.root / "etc/tool/tool.conf").write_text("default\n")
    assert reset(system) == {}
    assert system.states()["tool"] == "config-files"


def test_what_an_earlier_kubeproof_took_for_its_own_stays(system: Debian) -> None:
    system.install_manually("database")
    account = Account()
    Software(account, [{"kind": "package", "name": "database"}]).undo()
    assert [kept["why"] for kept in account.kept] == ["it is not known whether kubeproof installed it"]
    assert system.states()["database"] == "installed"


def test_another_program_at_work_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "POLL_SECONDS", 0.01)
    answers = ["dpkg: error: dpkg frontend lock was locked by another process", ""]

    def run(_command: list[str], **_: Any) -> str:
        said = answers.pop(0)
        if said:
            raise CommandFailed(said)
        return said

    monkeypatch.setattr(packages, "run", run)
    packages.unlocked(["dpkg", "--purge", "tool"])
    assert answers == []


def test_rpm_tells_what_is_needed_and_what_was_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    said = {
        "--erase": "error: Failed dependencies:\n\tliblua.so.5()(64bit) is needed by (installed) theirs-1-1.x86_64",
        "--verify": "S.5....T.  c /etc/haproxy/haproxy.cfg\n.......T.  c /etc/sysconfig/haproxy\nmissing   c /etc/gone",
    }

    def run(command: list[str], **_: Any) -> str:
        for word, complaint in said.items():
            if word in command:
                raise CommandFailed(f"`rpm` ended with 1: {complaint}")
        return "lua-libs\n" if command[-2:] == ["--whatprovides", "liblua.so.5()(64bit)"] else ""

    monkeypatch.setattr(packages, "run", run)
    assert packages.Rpm().needed(["haproxy", "lua-libs"]) == ["lua-libs"]
    assert packages.Rpm().changed("haproxy") == ["/etc/haproxy/haproxy.cfg", "/etc/gone"]
