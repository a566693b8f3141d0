"""Pods' attachments are taken back by the plugins that made them; other networks are let be."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.uninstall import network
from ansible.module_utils.uninstall.account import Account
from ansible.module_utils.uninstall.network import Network

CONFIGURATION = {
    "cniVersion": "1.0.0",
    "name": "kubeproof",
    "plugins": [
        {"type": "bridge", "bridge": "cni7", "ipam": {"type": "host-local"}},
        {"type": "portmap", "capabilities": {"portMappings": True, "aliases": True}},
    ],
}
PLUGIN = """#!/bin/sh
echo "$(basename "$0") $CNI_COMMAND $CNI_CONTAINERID $CNI_IFNAME $CNI_ARGS $(cat)" >> {log}
"""


class Host:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.log = root / "log"
        (root / "results").mkdir()
        self.entries = [self._file("10-kubeproof.conflist", json.dumps(CONFIGURATION))]
        for name in ("bridge", "portmap"):
            self.entries.append(self._file(name, PLUGIN.format(log=self.log)))
            (root / name).chmod(0o755)

    def _file(self, name: str, content: str) -> dict[str, Any]:
        (self.root / name).write_text(content)
        return {"kind": "file", "path": str(self.root / name), "backup": None}

    def attach(self, container: str, configuration: dict[str, Any], interface: str = "eth0") -> Path:
        attachment = {
            "kind": "cniCacheV1",
            "containerId": container,
            "config": base64.b64encode(json.dumps(configuration).encode()).decode(),
            "ifName": interface,
            "networkName": configuration["name"],
            "netns": "/nonexistent",
            "cniArgs": [["K8S_POD_NAME", "x"], ["IgnoreUnknown", "1"]],
            "capabilityArgs": {"portMappings": [{"hostPort": 80}], "dns": {}},
            "result": {"ips": []},
        }
        path = self.root / "results" / f"{configuration['name']}-{container}-{interface}"
        path.write_text(json.dumps(attachment))
        return path

    def detach(self) -> Account:
        account = Account()
        Network(account, self.entries, str(self.root / "results")).detach_pods()
        return account


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_plugins_take_back_in_reverse_what_they_did(host: Host) -> None:
    cached = host.attach("c1", CONFIGURATION)
    assert host.detach().problems == []
    assert not cached.exists()
    calls = [line.split(" ", 5) for line in host.log.read_text().splitlines()]
    assert [call[:5] for call in calls] == [
        ["portmap", "DEL", "c1", "eth0", "K8S_POD_NAME=x;IgnoreUnknown=1"],
        ["bridge", "DEL", "c1", "eth0", "K8S_POD_NAME=x;IgnoreUnknown=1"],
    ]
    assert json.loads(calls[0][5]) == {
        "type": "portmap", "name": "kubeproof", "cniVersion": "1.0.0", "prevResult": {"ips": []},
        "runtimeConfig": {"portMappings": [{"hostPort": 80}]},
    }  # fmt: skip
    assert "runtimeConfig" not in json.loads(calls[1][5])


def test_other_networks_and_other_containers_loopbacks_stay(host: Host) -> None:
    loopback = {"cniVersion": "1.0.0", "name": "cni-loopback", "plugins": [{"type": "loopback"}]}
    host.attach("c1", CONFIGURATION)
    gone = host.attach("c1", loopback, "lo")
    stay = {host.attach("c2", {**CONFIGURATION, "name": "podman"}), host.attach("c2", loopback, "lo")}
    host.detach()
    assert not gone.exists()
    assert set((host.root / "results").iterdir()) == stay


def test_a_plugin_that_fails_is_reported_and_asked_again(host: Host) -> None:
    (host.root / "portmap").write_text("#!/bin/sh\necho broken; exit 1\n")
    cached = host.attach("c1", CONFIGURATION)
    (problem,) = host.detach().problems
    assert "broken" in problem
    assert cached.exists()


def test_a_host_without_our_configuration_has_no_network_of_ours(host: Host) -> None:
    (host.root / "10-kubeproof.conflist").unlink()
    host.attach("c1", CONFIGURATION)
    account = host.detach()
    Network(account, host.entries, str(host.root / "results")).remove_devices()
    assert account.changes == []


def test_our_bridge_goes_with_what_is_plugged_into_it(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    links = [
        {"ifname": "eth0"},
        {"ifname": "cni7", "linkinfo": {"info_kind": "bridge"}},
        {"ifname": "veth1", "master": "cni7", "linkinfo": {"info_kind": "veth"}},
        {"ifname": "eth1", "master": "cni7"},
        {"ifname": "docker0", "linkinfo": {"info_kind": "bridge"}},
        {"ifname": "veth2", "master": "docker0", "linkinfo": {"info_kind": "veth"}},
    ]
    commands: list[list[str]] = []

    def run(command: list[str]) -> str:
        commands.append(command)
        return json.dumps(links)

    monkeypatch.setattr(network, "run", run)
    Network(Account(), host.entries).remove_devices()
    assert [command[-1] for command in commands if "delete" in command] == ["veth1", "cni7"]


LINKS = [
    {"ifname": "eth0"},
    {"ifname": "flannel.1", "linkinfo": {"info_kind": "vxlan"}},
    {"ifname": "flannel-v6.1", "linkinfo": {"info_kind": "vxlan"}},
    {"ifname": "flannel-v6.7", "linkinfo": {"info_kind": "vxlan"}},
    {"ifname": "flannel.7", "linkinfo": {"info_kind": "vxlan"}},
    {"ifname": "cni7", "linkinfo": {"info_kind": "bridge"}},
]
ROUTES = [
    {"dst": "10.244.1.0/24", "gateway": "10.0.0.2", "dev": "eth0", "flags": []},
    {"dst": "10.244.2.0/24", "gateway": "10.0.0.3", "dev": "eth0", "protocol": "boot"},
    {"dst": "10.244.3.0/24", "gateway": "10.0.0.4", "dev": "eth0", "protocol": "bird"},
    {"dst": "10.244.0.0/24", "dev": "cni7", "protocol": "kernel"},
    {"dst": "10.244.9.0/24", "dev": "tun0", "protocol": "boot"},
]


@pytest.mark.parametrize(
    ("backend", "devices", "routes"),
    [
        ({"Type": "vxlan", "VNI": 1}, ["cni7", "flannel.1", "flannel-v6.1"], []),
        ({"Type": "host-gw"}, ["cni7"], ["10.244.1.0/24 via 10.0.0.2 dev eth0", "10.244.2.0/24 via 10.0.0.3 dev eth0"]),
        ({}, ["cni7"], []),
    ],
)
def test_what_flannel_leaves_goes_and_what_others_made_stays(
    host: Host, backend: dict[str, Any], devices: list[str], routes: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[str] = []

    def run(command: list[str]) -> str:
        commands.append(" ".join(command))
        if "link" in command:
            return json.dumps(LINKS) if "show" in command else ""
        # With a tunnel no route leads by another host.
        return json.dumps(ROUTES if routes else ROUTES[3:]) if "root" in command else ""

    monkeypatch.setattr(network, "run", run)
    if backend:
        (host.root / "flannel").mkdir()
        document = {"Network": "10.244.0.0/16", "Backend": backend}
        host.entries.append(host._file("flannel/net-conf.json", json.dumps(document)))
    account = Account()
    found = Network(account, host.entries, str(host.root / "results"))
    found.remove_devices()
    found.remove_routes()
    assert account.problems == []
    assert [each["path"] for each in account.changes] == [
        *(f"network device {device}" for device in devices),
        *(f"route {route}" for route in routes),
    ]
    assert [command for command in commands if "delete" in command] == [
        *(f"ip link delete dev {device}" for device in devices),
        *(f"ip -4 route delete {route}" for route in routes),
    ]


def test_what_flannel_leaves_of_a_second_ip_family_goes_too(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    left = {
        "fd00:10:244::/56": [{"dst": "fd00:10:244:1::/64", "gateway": "fd00::2", "dev": "eth0", "protocol": "boot"}]
    }
    commands: list[str] = []

    def run(command: list[str]) -> str:
        commands.append(" ".join(command))
        return json.dumps(left.get(command[-1], [])) if "root" in command else ""

    monkeypatch.setattr(network, "run", run)
    (host.root / "flannel").mkdir()
    document = {"Network": "10.244.0.0/16", "IPv6Network": "fd00:10:244::/56", "Backend": {"Type": "host-gw"}}
    host.entries.append(host._file("flannel/net-conf.json", json.dumps(document)))
    Network(Account(), host.entries, str(host.root / "results")).remove_routes()
    assert "ip -6 route delete fd00:10:244:1::/64 via fd00::2 dev eth0" in commands
