"""Settings, users and packages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.uninstall import software
from ansible.module_utils.uninstall.account import Account
from ansible.module_utils.uninstall.software import Software


def test_a_system_without_a_database_that_we_know_keeps_its_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(software, "database", lambda: None)
    account = Account()
    Software(account, [{"kind": "package", "name": "haproxy", "version": "1"}]).undo()
    assert account.changes == []


def setting(tmp_path: Path, value: str, before: str) -> Account:
    path = tmp_path / "sys/net/ipv4/ip_forward"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(value)
    account = Account()
    entries: list[dict[str, Any]] = [
        {"kind": "sysctl", "name": "net.ipv4.ip_forward", "before": before},
        {"kind": "sysctl", "name": "net.bridge.gone", "before": "1"},
        {"kind": "module", "name": "br_netfilter"},
    ]
    Software(account, entries, str(tmp_path)).undo()
    assert path.read_text().split() == before.split()
    return account


def test_settings_come_back_and_modules_stay(tmp_path: Path) -> None:
    account = setting(tmp_path, "1\n", "0")
    assert account.changes == [{"path": "sysctl net.ipv4.ip_forward", "what": "put back: 1 -> 0"}]
    assert [kept["path"] for kept in account.kept] == ["kernel module br_netfilter"]
    assert setting(tmp_path, "4096\t131072\n", "4096 131072").changes == []


def forwarding(tmp_path: Path, *, check_mode: bool = False, **entry: Any) -> Account:
    """After a reset of a host whose forwarding is 1 now; its files of sysctl.d are below ``tmp_path``."""
    path = tmp_path / "proc/sys/net/ipv4/ip_forward"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("1\n")
    account = Account(check_mode)
    entries: list[dict[str, Any]] = [
        {"kind": "sysctl", "name": "net.ipv4.ip_forward", "before": "0", **entry},
        {"kind": "file", "path": "/etc/sysctl.d/99-zz-kubeproof.conf"},
    ]
    Software(account, entries, str(tmp_path / "proc"), str(tmp_path)).undo()
    assert path.read_text().strip() == ("0" if account.changes and not check_mode else "1")
    return account


def configured(tmp_path: Path, file: str, text: str) -> None:
    path = tmp_path / file.lstrip("/")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_a_setting_is_put_back_while_it_is_what_it_was_set_to(tmp_path: Path) -> None:
    assert forwarding(tmp_path, set="1").changes != []
    account = forwarding(tmp_path, set="2")
    assert account.changes == []
    assert account.kept == [
        {"path": "sysctl net.ipv4.ip_forward", "why": "it is 1, and was set to 2: others have changed it"}
    ]


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("/etc/sysctl.d/50-vpn.conf", "net.ipv4.ip_forward = 1\n"),
        ("/etc/sysctl.conf", "# a comment = 1\n-net/ipv4/ip_forward=1\n"),
        ("/usr/lib/sysctl.d/docker.conf", "net.ipv4.ip_* = 1"),
        ("/run/sysctl.d/x.conf", "net.ipv4.ip_forward=0\nnet.ipv4.ip_forward=1\n"),
    ],
)
@pytest.mark.parametrize("entry", [{"set": "1"}, {}])
def test_a_setting_that_others_configure_stays(tmp_path: Path, file: str, text: str, entry: dict[str, Any]) -> None:
    configured(tmp_path, file, text)
    account = forwarding(tmp_path, **entry)
    assert account.changes == []
    assert account.kept == [{"path": "sysctl net.ipv4.ip_forward", "why": f"others set it as well: {file}"}]


@pytest.mark.parametrize(
    "text", ["#net.ipv4.ip_forward=1\n;net.ipv4.ip_forward=1\n", "net.ipv4.ip_forward = 0\n", "net.ipv6.ip_forward=1"]
)
def test_files_that_do_not_want_it_are_no_reason(tmp_path: Path, text: str) -> None:
    """Commented out, with the value that it is put back to, or of another setting."""
    configured(tmp_path, "/etc/sysctl.d/10-others.conf", text)
    assert [change["what"] for change in forwarding(tmp_path, set="1").changes] == ["put back: 1 -> 0"]


def test_in_check_mode_the_file_that_would_be_removed_is_no_reason(tmp_path: Path) -> None:
    configured(tmp_path, "/etc/sysctl.d/99-zz-kubeproof.conf", "net.ipv4.ip_forward = 1\n")
    assert forwarding(tmp_path, check_mode=True, set="1").changes != []
    # Otherwise it has been removed by now, or has others' content again.
    assert forwarding(tmp_path, set="1").kept != []


def test_users_that_were_never_made_are_not_missed() -> None:
    account = Account()
    Software(account, [{"kind": "user", "name": "kubeproof-never-made"}]).undo()
    assert account.changes == []
