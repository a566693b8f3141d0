"""Two IP families: what needs no kernel of its own."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest

from kubeproof.install.pod_network import host_ports, kube_proxy, routes
from kubeproof.install.pod_network.attachments import Attachments
from kubeproof.install.pod_network.configuration import Configuration
from kubeproof.install.pod_network.host_ports import HostPorts
from kubeproof.install.pod_network.kube_proxy import KubeProxy
from kubeproof.install.pod_network.ruleset import Rule, Ruleset
from kubeproof.install.pod_network.state import Record, State
from kubeproof.install.pod_network.tunnel import Tunnel

DOCUMENT = {
    "routes": {},
    "protocol": 86,
    "table": "kubeproof",
    "rules": "rules.nft",
    "sysctls": {},
    "network": "kubeproof",
    "plugins": "/nonexistent",
}


class Rules(Ruleset):
    """Rules of one family, by table and chain."""

    def __init__(self, family: int, *present: tuple[str, str]) -> None:
        super().__init__(family)
        self.present = present

    def rules(self, table: str, chain: str = "") -> list[Rule]:
        return [Rule(chain, b"KUBE-SERVICES\0", b"\0\3c1\0") for each in self.present if each == (table, chain)]


def load(directory: Path, **changes: Any) -> Configuration:
    path = directory / "network.json"
    path.write_text(json.dumps({**DOCUMENT, **changes}))
    return Configuration.load(path, directory / "none", directory / "none")


def test_a_configuration_without_a_word_of_it_is_of_ipv4(tmp_path: Path) -> None:
    assert load(tmp_path).families() == ("ip",)
    assert load(tmp_path, ipv6=True, tunnel_ipv6="flannel-v6.1").families() == ("ip", "ip6")
    assert load(tmp_path, ipv4=False, ipv6=True).families() == ("ip6",)


def test_an_address_that_is_written_otherwise_is_the_same() -> None:
    wanted = {"fd00:10:244:1:0::/64": "fd00:9:0::2", "10.244.1.0/24": "10.9.0.2"}
    present = {"fd00:10:244:1::/64": "fd00:9::2", "10.244.1.0/24": "10.9.0.2"}
    assert routes.missing(wanted, present) == {}
    assert routes.surplus(wanted, present) == []
    assert routes.missing(wanted, {}) == present
    assert routes.surplus({}, present) == list(present)


@pytest.mark.parametrize(("family", "name"), [(socket.AF_INET, "IPv4"), (socket.AF_INET6, "IPv6")])
def test_kube_proxy_says_of_each_family_by_itself_that_its_rules_are_written(
    family: int, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = {"IPv4": "IPv6", "IPv6": "IPv4"}[name]
    told = {"/proxyMode": b"nftables", "/metrics": b""}
    monkeypatch.setattr(KubeProxy, "_ask", lambda _, path: told[path])
    proxy = KubeProxy("127.0.0.1:10249", Rules(family))
    line = 'kubeproxy_sync_proxy_rules_last_timestamp_seconds{ip_family="%s"} 1.7e+09\n'
    told["/metrics"] = (line % other).encode()
    assert not proxy.lost()
    told["/metrics"] = (line % name).encode()
    assert proxy.lost()
    present = Rules(family, (kube_proxy._TABLE, kube_proxy._CHAIN))
    assert not KubeProxy("127.0.0.1:10249", present).lost()


@pytest.mark.parametrize(
    ("addresses", "host_address", "missing_in", "lost"),
    [
        (["10.244.0.5/24"], "", socket.AF_INET, True),
        (["10.244.0.5/24"], "", socket.AF_INET6, False),
        (["10.244.0.5/24", "fd00::5/64"], "", socket.AF_INET6, True),
        (["10.244.0.5/24", "fd00::5/64"], "", socket.AF_INET, True),
        (["10.244.0.5/24", "fd00::5/64"], "192.0.2.1", socket.AF_INET6, False),
        (["10.244.0.5/24", "fd00::5/64"], "::", socket.AF_INET6, True),
        ([], "", socket.AF_INET, True),
    ],
)
def test_ports_of_pods_are_lost_in_the_families_that_they_have(
    addresses: list[str], host_address: str, missing_in: int, lost: bool, tmp_path: Path
) -> None:
    attachment = {
        "networkName": "kubeproof",
        "containerId": "c1",
        "netns": str(tmp_path),
        "capabilityArgs": {"portMappings": [{"hostPort": 80, "hostIP": host_address}]},
        "result": {"ips": [{"address": address} for address in addresses]},
    }
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "pod").write_text(json.dumps(attachment))
    [there] = {socket.AF_INET, socket.AF_INET6} - {missing_in}
    rulesets = [Rules(there, host_ports._CHAIN, host_ports._PORTS), Rules(missing_in)]
    assert bool(HostPorts(Attachments("kubeproof", tmp_path / "results"), tmp_path, rulesets).lost()) == lost


def test_rules_are_there_only_if_those_of_both_families_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = {socket.AF_INET: "one", socket.AF_INET6: ""}
    monkeypatch.setattr(Ruleset, "fingerprint", lambda self, _: found[self.family])
    alone, both = (State(load(tmp_path, **given), Record(tmp_path / "record")) for given in ({}, {"ipv6": True}))
    assert (alone._fingerprint(), both._fingerprint()) == ("one", "")
    assert (alone._tables(), both._tables()) == ("table ip kubeproof", "table ip kubeproof and table ip6 kubeproof")
    found[socket.AF_INET6] = "other"
    assert both._fingerprint() == "one other"
    ipv6 = State(load(tmp_path, ipv4=False, ipv6=True), Record(tmp_path / "record"))
    assert (ipv6._fingerprint(), ipv6._tables()) == ("other", "table ip6 kubeproof")
    assert list(ipv6._routes._families) == [socket.AF_INET6]


def test_a_tunnel_remembers_until_it_is_told_to_forget(monkeypatch: pytest.MonkeyPatch) -> None:
    present = [{"fd00:1::/64", "fe80::/64"}]
    asked = []

    def through(device: str, family: int) -> set[str]:
        asked.append((device, family))
        return present[0]

    monkeypatch.setattr("kubeproof.install.pod_network.tunnel.through", through)
    tunnel = Tunnel("flannel-v6.1", socket.AF_INET6)
    assert not tunnel.lost()
    present[0] = {"fe80::/64"}
    assert tunnel.lost()
    tunnel.forget()
    assert not tunnel.lost()
    assert set(asked) == {("flannel-v6.1", socket.AF_INET6)}
    assert not Tunnel("", socket.AF_INET6).lost()
