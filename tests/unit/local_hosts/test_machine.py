"""What the machine is given back when the last local host leaves."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.local_hosts import virtual

from kubeproof.core.errors import KubeproofError
from kubeproof.local_hosts import lifecycle, machine


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine that does not forward packets, with all modules and few watchers; returns its /proc/sys."""
    sys = tmp_path / "sys"
    for name, value in (("net/ipv4/ip_forward", 0), ("fs/inotify/max_user_instances", 128)):
        (sys / name).parent.mkdir(parents=True)
        (sys / name).write_text(f"{value}\n")
    monkeypatch.setattr(machine, "RUN", tmp_path / "run")
    monkeypatch.setattr(machine, "_SETTINGS", sys)
    monkeypatch.setattr(machine, "_LIMITS", {"fs.inotify.max_user_instances": 1000})
    monkeypatch.setattr(machine, "_MODULES", {"overlay": str(tmp_path)})
    monkeypatch.setattr(machine, "_INTERFACES", tmp_path / "net")
    monkeypatch.setattr(machine, "_SYSCTL_CONF", tmp_path / "sysctl.conf")
    monkeypatch.setattr(machine, "_SYSCTL_DIRECTORIES", (tmp_path / "sysctl.d",))
    return sys


def value(settings: Path, name: str) -> int:
    return int((settings / name).read_text())


def test_settings_are_put_back_by_the_last_network(settings: Path) -> None:
    for name in ("one", "two"):
        machine.claim(name)
        machine.forward_packets(name)
    machine.release("one")
    assert value(settings, "net/ipv4/ip_forward") == 1
    assert value(settings, "fs/inotify/max_user_instances") == 1000
    machine.release("two")
    assert value(settings, "net/ipv4/ip_forward") == 0
    assert value(settings, "fs/inotify/max_user_instances") == 128
    assert not machine.RUN.exists()


def test_a_setting_is_put_back_with_the_last_network_that_needs_it(settings: Path) -> None:
    """Not only with the last of all: an isolated cluster may stay for weeks."""
    for name in ("isolated", "open"):
        machine.claim(name)
    remembered = set(machine.RUN.rglob("*"))
    machine.forward_packets("open")
    machine.release("open")
    assert set(machine.RUN.rglob("*")) == remembered - {machine.RUN / "networks" / "open"}
    assert value(settings, "net/ipv4/ip_forward") == 0
    assert value(settings, "fs/inotify/max_user_instances") == 1000
    machine.forward_packets("isolated")
    machine.release("isolated")
    assert value(settings, "net/ipv4/ip_forward") == 0
    assert value(settings, "fs/inotify/max_user_instances") == 128


def test_a_network_of_an_earlier_version_keeps_what_it_may_need(settings: Path) -> None:
    machine.claim("new")
    machine.forward_packets("new")
    (machine.RUN / "networks" / "old").touch()
    machine.release("new")
    assert value(settings, "net/ipv4/ip_forward") == 1
    assert value(settings, "fs/inotify/max_user_instances") == 1000
    machine.release("old")
    assert value(settings, "net/ipv4/ip_forward") == 0


def test_settings_that_were_high_enough_stay(settings: Path) -> None:
    (settings / "net/ipv4/ip_forward").write_text("1\n")
    (settings / "fs/inotify/max_user_instances").write_text("5000\n")
    machine.claim("one")
    machine.forward_packets("one")
    machine.release("one")
    assert value(settings, "net/ipv4/ip_forward") == 1
    assert value(settings, "fs/inotify/max_user_instances") == 5000


def test_releasing_what_was_never_claimed_is_no_error(settings: Path) -> None:
    machine.release("one")
    assert value(settings, "net/ipv4/ip_forward") == 0


def test_a_module_that_cannot_be_loaded_is_named(
    settings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "_MODULES", {"br_netfilter": str(tmp_path / "absent")})
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(KubeproofError, match="no br_netfilter"):
        machine.claim("one")


@pytest.mark.parametrize(
    ("file", "line"), [("sysctl.d/50-own.conf", "-net/ipv4/ip_forward = 1"), ("sysctl.conf", "net.ipv4.*=1")]
)
def test_what_others_set_at_boot_as_well_stays(settings: Path, tmp_path: Path, file: str, line: str) -> None:
    machine.claim("one")
    machine.forward_packets("one")
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text(f"# net.ipv4.ip_forward = 0\n{line}\n")
    (told,) = machine.release("one")
    assert told.startswith("net.ipv4.ip_forward stays 1, and was 0: others set it as well")
    assert value(settings, "net/ipv4/ip_forward") == 1
    assert value(settings, "fs/inotify/max_user_instances") == 128


def test_what_others_have_changed_meanwhile_stays(settings: Path) -> None:
    machine.claim("one")
    (settings / "fs/inotify/max_user_instances").write_text("2000\n")
    (told,) = machine.release("one")
    assert "stays 2000, and was 128: others have changed it" in told
    assert value(settings, "fs/inotify/max_user_instances") == 2000


def test_packets_are_forwarded_for_who_came_later(settings: Path, tmp_path: Path) -> None:
    """Docker finds it switched on, and sets nothing."""
    (tmp_path / "net" / "br0" / "bridge").mkdir(parents=True)
    for late, stays in (("", False), ("docker0", True)):
        machine.claim("one")
        machine.forward_packets("one")
        if late:
            (tmp_path / "net" / late / "bridge").mkdir(parents=True)
        told = machine.release("one")
        assert value(settings, "net/ipv4/ip_forward") == stays
        assert bool(told) == stays
    assert "docker0 may rely on it" in told[0]


def test_only_root_is_told_of_local_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(KubeproofError, match="only root"):
        lifecycle.status(virtual.planned(virtual.machine()))
