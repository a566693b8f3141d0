"""Units of ours are stopped in order, and leave no trace in systemd."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.uninstall import units
from ansible.module_utils.uninstall.account import Account, Unfinished
from ansible.module_utils.uninstall.units import Units

NAMES = ["etcd.service", "containerd.service", "kubelet.service"]


class Systemd:
    """Plays systemctl. ``stubborn`` units stop only once they are killed, ``immortal`` ones not even then."""

    def __init__(self, *, stubborn: str = "", immortal: str = "") -> None:
        self.active = dict.fromkeys(NAMES, "active")
        self.enabled = dict.fromkeys(NAMES, "enabled")
        self.stubborn, self.immortal = stubborn, immortal
        self.commands: list[str] = []

    def run(self, command: list[str]) -> str:
        verb, names = command[1], [word for word in command[2:] if word.endswith(".service")]
        if verb == "show":
            return "\n\n".join(self._shown(name) for name in names)
        self.commands.append(" ".join(command[1:]))
        for name in names:
            if verb == "stop" and name not in (self.stubborn, self.immortal):
                self.active[name] = "inactive"
            elif verb == "kill" and name != self.immortal:
                self.active[name] = "failed"
            elif verb == "disable":
                self.enabled[name] = "disabled"
        return ""

    def _shown(self, name: str) -> str:
        return f"Id={name}\nLoadState=loaded\nActiveState={self.active[name]}\nUnitFileState={self.enabled[name]}\n" + (
            f"ControlGroup=/other.slice/{name}" if name == "kubelet.service" else "ControlGroup="
        )


def entries(**more: Any) -> list[dict[str, Any]]:
    return [{"kind": "unit", "name": name, "backup": None, **more} for name in NAMES]


def play(monkeypatch: pytest.MonkeyPatch, systemd: Systemd, account: Account) -> Units:
    monkeypatch.setattr(units, "run", systemd.run)
    monkeypatch.setattr(units, "GRACE", 0.0)
    return Units(account, entries())


def test_the_last_to_be_installed_is_stopped_first(monkeypatch: pytest.MonkeyPatch) -> None:
    systemd, account = Systemd(), Account()
    play(monkeypatch, systemd, account).stop()
    assert systemd.commands == [
        "stop --no-block kubelet.service containerd.service etcd.service",
        "disable --quiet --no-reload etcd.service containerd.service kubelet.service",
    ]
    assert [change["what"] for change in account.changes] == ["stopped"] * 3 + ["disabled"] * 3


def test_a_unit_that_takes_too_long_is_killed_without_its_children(monkeypatch: pytest.MonkeyPatch) -> None:
    systemd = Systemd(stubborn="containerd.service")
    unit = play(monkeypatch, systemd, Account())
    unit.stop()
    assert "kill --kill-who=main --signal=KILL containerd.service" in systemd.commands
    unit.forget()
    assert systemd.commands[-2:] == ["daemon-reload", "reset-failed containerd.service"]


def test_nothing_is_removed_under_a_unit_that_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Unfinished, match=r"still running: etcd\.service"):
        play(monkeypatch, Systemd(immortal="etcd.service"), Account()).stop()


def test_check_mode_only_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    systemd, account = Systemd(), Account(check_mode=True)
    unit = play(monkeypatch, systemd, account)
    unit.stop()
    unit.forget()
    assert systemd.commands == []
    assert len(account.changes) == 6


def test_control_groups_are_known_even_of_units_that_are_off(monkeypatch: pytest.MonkeyPatch) -> None:
    assert play(monkeypatch, Systemd(), Account()).cgroups() == [
        "/system.slice/etcd.service", "/system.slice/containerd.service", "/other.slice/kubelet.service",
    ]  # fmt: skip


def test_units_that_ours_stood_in_for_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    systemd = Systemd()
    monkeypatch.setattr(units, "run", systemd.run)
    before = {"before": {"enabled": True, "active": False}}
    Units(Account(), entries(**before)[:1]).bring_back()
    assert systemd.commands == ["enable etcd.service"]


def test_what_systemd_remembers_of_a_timer_goes_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(units, "STAMPS", f"{tmp_path}/")
    of_ours, of_others = tmp_path / "stamp-etcd.service", tmp_path / "stamp-apt-daily.timer"
    of_ours.touch()
    of_others.touch()
    account = Account()
    play(monkeypatch, Systemd(), account).stop()
    assert {"path": str(of_ours), "what": "removed"} in account.changes
    assert not of_ours.exists()
    assert of_others.exists()


def test_a_directory_of_links_that_was_there_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wants = tmp_path / "timers.target.wants"
    wants.mkdir(mode=0o750)
    (wants / "etcd-backup.timer").symlink_to("/etc/systemd/system/etcd-backup.timer")

    def as_systemctl_does(_command: list[str]) -> str:
        (wants / "etcd-backup.timer").unlink()
        wants.rmdir()
        return ""

    monkeypatch.setattr(units, "run", as_systemctl_does)
    units.disable(["etcd-backup.timer"], str(tmp_path))
    assert wants.is_dir()
    assert wants.stat().st_mode & 0o777 == 0o750
