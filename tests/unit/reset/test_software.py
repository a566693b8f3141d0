"""Settings, users and packages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.undo import packages, software
from ansible.module_utils.undo.account import Account, CommandFailed
from ansible.module_utils.undo.software import Software


class Database:
    """Plays a package database: name to the names that it needs."""

    def __init__(self, **needs: list[str]) -> None:
        self.needs = needs
        self.removed: list[str] = []

    def installed(self) -> set[str]:
        return set(self.needs)

    def needed(self, names: list[str]) -> list[str]:
        others = {need for name, needs in self.needs.items() if name not in names for need in needs}
        return [name for name in names if name in others]

    def remove(self, names: list[str]) -> None:
        self.removed += names


def undo(database: Database | None, *names: str, monkeypatch: pytest.MonkeyPatch) -> Account:
    monkeypatch.setattr(software, "database", lambda: database)
    account = Account()
    Software(account, [{"kind": "package", "name": name} for name in names]).undo()
    return account


def test_our_packages_go_together(monkeypatch: pytest.MonkeyPatch) -> None:
    database = Database(haproxy=["lua"], lua=[], theirs=[])
    assert undo(database, "haproxy", "lua", "gone", monkeypatch=monkeypatch).kept == []
    assert database.removed == ["haproxy", "lua"]


def test_what_others_have_come_to_need_stays_with_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    database = Database(haproxy=["lua"], lua=[], theirs=["haproxy"], nftables=[])
    account = undo(database, "haproxy", "lua", "nftables", monkeypatch=monkeypatch)
    assert database.removed == ["nftables"]
    assert [kept["path"] for kept in account.kept] == ["package haproxy", "package lua"]


def test_a_system_without_a_database_that_we_know_keeps_its_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    assert undo(None, "haproxy", monkeypatch=monkeypatch).changes == []


def test_dpkg_names_what_others_need(monkeypatch: pytest.MonkeyPatch) -> None:
    said = (
        "dpkg: dependency problems prevent removal of liblua5.3-0:amd64:\n haproxy depends on liblua5.3-0.\n"
        "Errors were encountered while processing:\n liblua5.3-0:amd64"
    )

    def run(_command: list[str]) -> str:
        raise CommandFailed(said)

    monkeypatch.setattr(packages, "run", run)
    assert packages.Dpkg().needed(["liblua5.3-0:amd64", "nftables"]) == ["liblua5.3-0:amd64"]
    assert packages.Rpm().needed(["lua", "nftables"]) == ["lua", "nftables"]


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
