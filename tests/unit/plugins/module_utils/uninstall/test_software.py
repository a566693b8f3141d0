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


def test_users_that_were_never_made_are_not_missed() -> None:
    account = Account()
    Software(account, [{"kind": "user", "name": "kubeproof-never-made"}]).undo()
    assert account.changes == []
