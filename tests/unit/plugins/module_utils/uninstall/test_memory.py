"""What an install writes down, so that a reset can put it back."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.manifest import Manifest

import install_component


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> install_component.Host:
    monkeypatch.setattr(install_component, "run", lambda _command: "")
    return install_component.Host(check_mode=False, manifest=Manifest(str(tmp_path / "state")))


def remembered(host: install_component.Host) -> list[dict[str, Any]]:
    path = Path(host.manifest.path)
    return list(json.loads(path.read_text())["entries"]) if path.exists() else []


def test_owner_and_mode_of_what_was_there(host: install_component.Host, tmp_path: Path) -> None:
    found, made = tmp_path / "found", tmp_path / "made"
    found.mkdir(mode=0o755)
    for path in (found, made):
        for mode in (0o755, 0o700, 0o711):
            host.directory(str(path), os.getuid(), os.getgid(), mode)
    assert remembered(host) == [
        {"kind": "attributes", "path": str(found), "uid": os.getuid(), "gid": os.getgid(), "mode": 0o755},
        {"kind": "directory", "path": str(made)},
    ]


def test_a_file_that_is_removed(host: install_component.Host, tmp_path: Path) -> None:
    (tmp_path / "theirs").write_text("theirs")
    host.absent(str(tmp_path / "theirs"))
    (entry,) = remembered(host)
    assert (entry["kind"], Path(entry["backup"]).read_text()) == ("file", "theirs")


def test_a_unit_that_ours_stands_in_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(install_component, "run", lambda _command: "ActiveState=inactive\nUnitFileState=enabled\n")
    assert install_component.unit_before("x.service") == {"before": {"enabled": True, "active": False}}
    monkeypatch.setattr(install_component, "run", lambda _command: "ActiveState=inactive\nUnitFileState=\n")
    assert install_component.unit_before("x.service") == {}


def test_chains_that_were_there(host: install_component.Host, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = {
        "nftables": [
            {"metainfo": {}},
            {"table": {"family": "ip", "name": "filter"}},
            {"chain": {"family": "ip", "table": "filter", "name": "INPUT"}},
            {"rule": {"family": "ip", "table": "filter", "chain": "INPUT"}},
            {"table": {"family": "ip", "name": "nat"}},
        ]
    }
    monkeypatch.setattr(install_component, "run", lambda _command: json.dumps(listed))
    host.remember({"firewall": True})
    listed["nftables"].clear()
    host.remember({"firewall": True})
    assert remembered(host) == [
        {"kind": "firewall", "name": "nft", "before": {"ip filter": ["INPUT"], "ip nat": []}},
    ]


def test_settings_that_components_change(host: install_component.Host, monkeypatch: pytest.MonkeyPatch) -> None:
    values = {"/proc/sys/net/ipv4/conf/all/route_localnet": b"0\n", "/proc/sys/kernel/panic": b"0\n"}
    monkeypatch.setattr(install_component, "read", values.get)
    names = {"sysctls": ["net.ipv4.conf.all.route_localnet", "kernel.panic", "net.netfilter.not_loaded"]}
    exists = os.path.exists
    for container, kept in ((True, 1), (False, 2)):
        monkeypatch.setattr(
            "os.path.exists", lambda path, here=container: here if path == "/run/systemd/container" else exists(path)
        )
        host.remember(names)
        assert len(host.manifest.entries) == kept, "a container's other settings are its machine's"
    assert host.manifest.entries[0]["before"] == "0"


def test_check_mode_remembers_nothing(tmp_path: Path) -> None:
    host = install_component.Host(check_mode=True, manifest=Manifest(str(tmp_path / "state")))
    host.remember({"firewall": True, "sysctls": ["net.ipv4.ip_forward"]})
    assert not (tmp_path / "state").exists()
