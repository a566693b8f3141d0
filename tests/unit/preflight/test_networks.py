"""Checks of networks, addresses and names."""

from __future__ import annotations

import ipaddress
from dataclasses import replace
from typing import Any

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID
from tests.unit.preflight.builders import host, interface

from kubeproof.preflight import networks
from kubeproof.preflight.model import Host

GOOD = {
    "cluster_domain": "cluster.local",
    "cluster_pod_network": "10.244.0.0/16",
    "cluster_pod_network_prefix": 24,
    "cluster_service_network": "10.96.0.0/16",
    "cluster_dns_address": "10.96.0.10",
    "kubelet_max_pods": 110,
}
KNOWN = networks.cluster_networks(GOOD)


def found(nodes: int = 3, **changes: Any) -> list[tuple[str, str]]:
    return [(finding.id, finding.subject) for finding in networks.check_networks({**GOOD, **changes}, nodes)]


def test_nothing_is_found_in_good_settings() -> None:
    assert found() == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"cluster_service_network": "10.244.128.0/20", "cluster_dns_address": "10.244.128.10"},
         ("network-overlap", "cluster_service_network")),
        ({"cluster_pod_network": "10.0.0.0/8"}, ("network-overlap", "cluster_service_network")),
        ({"cluster_pod_network": "10.244.0.1/16"}, ("network", "cluster_pod_network")),
        ({"cluster_pod_network": "somewhere"}, ("network", "cluster_pod_network")),
        ({"cluster_service_network": "10.96.0.0/33"}, ("network", "cluster_service_network")),
        ({"cluster_pod_network": "fd00:1::/56"}, ("ipv6", "cluster_service_network")),
        ({"cluster_pod_network": ["fd00:1::/56", "10.244.0.0/16"]}, ("ipv6", "cluster_pod_network")),
        ({"cluster_pod_network": "10.244.0.0/16,10.245.0.0/16"}, ("ipv6", "cluster_pod_network")),
        ({"cluster_pod_network": "10.244.0.0/16,fd00:1::/56,fd00:2::/56"}, ("ipv6", "cluster_pod_network")),
        ({"cluster_pod_network": []}, ("network", "cluster_pod_network")),
        ({"cluster_service_network": "10.96.0.0/16,fd00:2::/108"}, ("ipv6", "cluster_service_network")),
        ({"cluster_pod_network": "10.244.0.0/16,fd00:1::/56"}, ("ipv6", "cluster_service_network")),
        ({"cluster_pod_network_prefix": 15}, ("network-prefix", "cluster_pod_network_prefix")),
        ({"cluster_pod_network_prefix": 30}, ("network-prefix", "cluster_pod_network_prefix")),
        ({"cluster_pod_network": "10.244.0.0/23"}, ("network-small", "cluster_pod_network")),
        ({"kubelet_max_pods": 254}, ("network-small", "cluster_pod_network_prefix")),
        ({"cluster_service_network": "10.96.0.0/11", "cluster_dns_address": "10.96.0.10"},
         ("network-prefix", "cluster_service_network")),
        ({"cluster_service_network": "10.96.0.0/30"}, ("network-prefix", "cluster_service_network")),
        ({"cluster_dns_address": "10.97.0.10"}, ("dns-address", "cluster_dns_address")),
        ({"cluster_dns_address": "10.96.0.0"}, ("dns-address", "cluster_dns_address")),
        ({"cluster_dns_address": "10.96.0.1"}, ("dns-address", "cluster_dns_address")),
        ({"cluster_dns_address": "10.96.255.255"}, ("dns-address", "cluster_dns_address")),
        ({"cluster_dns_address": "dns"}, ("dns-address", "cluster_dns_address")),
        ({"cluster_dns_address": ""}, ("dns-address", "cluster_dns_address")),
        ({"cluster_dns_address": "fd00::a"}, ("dns-address", "cluster_dns_address")),
        ({"cluster_domain": "Cluster.Local"}, ("domain", "cluster_domain")),
        ({"cluster_domain": "cluster.local."}, ("domain", "cluster_domain")),
        ({"cluster_domain": ""}, ("domain", "cluster_domain")),
        ({"cluster_domain": ".".join(["a" * 49] * 5) + ".abcd"}, ("domain", "cluster_domain")),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)  # fmt: skip
def test_each_fault_is_one_finding(changes: dict[str, Any], expected: tuple[str, str]) -> None:
    assert found(**changes) == [expected]


@pytest.mark.parametrize(
    "changes",
    [
        {"cluster_domain": ".".join(["a" * 49] * 5) + ".abc"},
        {"cluster_pod_network": "10.244.0.0/22"},
        {"kubelet_max_pods": 253},
        {"cluster_service_network": "10.96.0.0/12"},
        {"cluster_service_network": "10.96.0.0/29", "cluster_dns_address": "10.96.0.6"},
    ],
)
def test_what_just_fits(changes: dict[str, Any]) -> None:
    assert found(nodes=4, **changes) == []


TWO: dict[str, Any] = {
    **GOOD,
    "cluster_pod_network": ["10.244.0.0/16", "fd00:10:244::/56"],
    "cluster_pod_network_prefix_ipv6": 64,
    "cluster_service_network": "10.96.0.0/16,fd00:10:96::/112",
}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"cluster_service_network": "10.96.0.0/16,fd00:10:244::/112"}, ("network-overlap", "cluster_service_network")),
        ({"cluster_service_network": "10.96.0.0/16,fd00:10:96::/107"}, ("network-prefix", "cluster_service_network")),
        ({"cluster_service_network": "10.96.0.0/16,fd00:10:96::/125"}, ("network-prefix", "cluster_service_network")),
        ({"cluster_pod_network_prefix_ipv6": 55}, ("network-prefix", "cluster_pod_network_prefix_ipv6")),
        # More bits for nodes than kube-controller-manager numbers.
        ({"cluster_pod_network_prefix_ipv6": 73}, ("network-prefix", "cluster_pod_network_prefix_ipv6")),
        ({"cluster_pod_network": "10.244.0.0/16,fd00:10:244::/63"}, ("network-small", "cluster_pod_network")),
        ({"cluster_pod_network": "10.244.0.0/16,fd00:10:244::/110", "cluster_pod_network_prefix_ipv6": 122},
         ("network-small", "cluster_pod_network_prefix_ipv6")),
        ({"cluster_pod_network_prefix": 15}, ("network-prefix", "cluster_pod_network_prefix")),
        ({"cluster_dns_address": "fd00:10:96::a"}, ("dns-address", "cluster_dns_address")),
    ],
    ids=str,
)  # fmt: skip
def test_each_fault_of_two_families_is_one_finding(changes: dict[str, Any], expected: tuple[str, str]) -> None:
    assert found(**TWO) == []
    assert found(**{**TWO, **changes}) == [expected]


@pytest.mark.parametrize(
    "changes",
    [
        {"cluster_service_network": ["10.96.0.0/16", "fd00:10:96::/108"]},
        {"cluster_service_network": ["10.96.0.0/16", "fd00:10:96::/124"]},
        {"cluster_pod_network_prefix_ipv6": 72},
        {"cluster_pod_network": "10.244.0.0/16,fd00:10:244::/110", "cluster_pod_network_prefix_ipv6": 120},
    ],
)
def test_what_just_fits_of_two_families(changes: dict[str, Any]) -> None:
    assert found(**{**TWO, **changes}) == []


def test_new_pods_are_not_isolated_in_a_second_family() -> None:
    policy = {"network_policy_engine": "kube-router", "network_policy_new_pods": "isolated"}
    assert list(networks.check_policies({**GOOD, **policy, "pod_network_plugin": "bridge"})) == []
    (finding,) = networks.check_policies({**TWO, **policy, "pod_network_plugin": "bridge"})
    assert (finding.id, finding.severity) == ("network-policy", "error")


IPV6: dict[str, Any] = {
    **GOOD,
    "cluster_pod_network": "fd00:10:244::/56",
    "cluster_pod_network_prefix_ipv6": 64,
    "cluster_service_network": "fd00:10:96::/112",
    "cluster_dns_address": "fd00:10:96::a",
    "pod_network_plugin": "bridge",
}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"cluster_service_network": "10.96.0.0/16", "cluster_dns_address": "10.96.0.10"},
         ("ipv6", "cluster_service_network")),
        ({"cluster_service_network": "fd00:10:244::/112", "cluster_dns_address": "fd00:10:244::a"},
         ("network-overlap", "cluster_service_network")),
        ({"cluster_service_network": "fd00:10:96::/107"}, ("network-prefix", "cluster_service_network")),
        ({"cluster_pod_network_prefix_ipv6": 73}, ("network-prefix", "cluster_pod_network_prefix_ipv6")),
        ({"cluster_dns_address": "10.96.0.10"}, ("dns-address", "cluster_dns_address")),
        ({"cluster_dns_address": "fd00:10:97::a"}, ("dns-address", "cluster_dns_address")),
        ({"cluster_dns_address": "fd00:10:96::1"}, ("dns-address", "cluster_dns_address")),
        ({"pod_network_plugin": "calico"}, ("ipv6", "pod_network_plugin")),
        ({"pod_network_plugin": "cilium"}, ("ipv6", "pod_network_plugin")),
    ],
    ids=str,
)  # fmt: skip
def test_each_fault_of_ipv6_alone_is_one_finding(changes: dict[str, Any], expected: tuple[str, str]) -> None:
    assert found(**IPV6) == []
    assert found(**{**IPV6, **changes}) == [expected]


def test_new_pods_are_not_isolated_in_ipv6_alone() -> None:
    policy = {"network_policy_engine": "kube-router", "network_policy_new_pods": "isolated"}
    (finding,) = networks.check_policies({**IPV6, **policy})
    assert (finding.id, finding.severity) == ("network-policy", "error")


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("2001:db8::1", ""),
        ("192.0.2.1", "is an IPv4 address"),
        ("fe80::1%eth0", "holds on one link only"),
        ("::1", "is not an address at which"),
        ("2001:DB8::1", "is not written in its short form"),
        ("2001:db8:0:0::1", "is not written in its short form"),
        ("fd00:10:244::9", "is within cluster_pod_network"),
        ("here", "is not an IP address"),
    ],
)
def test_hosts_of_ipv6_alone_are_reached_by_ipv6(address: str, told: str) -> None:
    one = Host("one", frozenset(["etcd"]), address)
    wrong = [finding.problem for finding in networks.check_addresses([one], networks.cluster_networks(IPV6))]
    assert [told in each for each in wrong] == ([True] if told else [])


def test_two_hosts_of_ipv6_alone_with_one_address() -> None:
    hosts = [Host(name, frozenset(["workers"]), "2001:db8::1") for name in ("one", "two")]
    (finding,) = networks.check_addresses(hosts, networks.cluster_networks(IPV6))
    assert (finding.id, finding.host) == ("duplicate-address", "two")


@pytest.mark.parametrize("address", ["192.0.2.9", "2001:db8::9"])
def test_no_address_moves_between_hosts_of_ipv6_alone(address: str) -> None:
    (finding,) = networks.check_virtual_address(address, [], networks.cluster_networks(IPV6))
    assert (finding.id, finding.subject) == ("address", "cluster_virtual_address")
    assert list(networks.check_virtual_address("", [], networks.cluster_networks(IPV6))) == []


class TestSecondAddresses:
    def found(self, *addresses: str, dual: bool = True, group: str = "workers") -> list[tuple[str, str]]:
        hosts = [
            Host(f"h{number}", frozenset([group]), f"192.0.2.{number}", address_ipv6=address)
            for number, address in enumerate(addresses)
        ]
        known = networks.cluster_networks(TWO)
        return [(finding.id, finding.host) for finding in networks.check_ipv6_addresses(hosts, known, dual=dual)]

    def test_good(self) -> None:
        assert self.found("2001:db8::1", "2001:db8::2") == []

    def test_a_node_that_has_none(self) -> None:
        assert self.found("2001:db8::1", "") == [("address-ipv6", "h1")]
        assert self.found("", group="etcd") == [], "etcd is reached by IPv4"
        assert self.found("", dual=False) == []

    def test_what_the_host_has_is_proposed(self) -> None:
        lacking = host(interfaces={"eth0": interface("192.0.2.1/24", "2001:db8::7/64")})
        (finding,) = networks.check_ipv6_addresses([lacking], networks.cluster_networks(TWO), dual=True)
        assert finding.remediation == "Set it to 2001:db8::7."

    @pytest.mark.parametrize("address", ["fe80::1", "::1", "::", "ff02::1", "192.0.2.1", "::ffff:192.0.2.1", "here"])
    def test_not_one_that_others_reach(self, address: str) -> None:
        assert self.found(address) == [("address-ipv6", "h0")]

    def test_two_hosts_with_one_however_it_is_written(self) -> None:
        assert self.found("2001:db8::1", "2001:db8:0::0001") == [("duplicate-address", "h1")]

    def test_within_a_network_of_the_cluster(self) -> None:
        assert self.found("fd00:10:244::9") == [("network-overlap", "h0")]


def test_settings_that_are_not_known_yet_are_left_out() -> None:
    assert list(networks.check_networks({}, 3)) == []
    assert networks.cluster_networks({}) == {}


def test_the_dns_address_that_is_proposed_is_a_good_one() -> None:
    small = {**GOOD, "cluster_service_network": "10.96.0.0/29", "cluster_dns_address": "10.96.0.1"}
    (finding,) = networks.check_networks(small, 3)
    assert finding.remediation == "For example 10.96.0.6."
    assert found(cluster_service_network="10.96.0.0/29", cluster_dns_address="10.96.0.6") == []


class TestAddresses:
    def found(self, *addresses: str) -> list[tuple[str, str]]:
        hosts = [Host(f"h{number}", frozenset(["workers"]), address) for number, address in enumerate(addresses)]
        return [(finding.id, finding.host) for finding in networks.check_addresses(hosts, KNOWN)]

    def test_good(self) -> None:
        assert self.found("192.0.2.1", "192.0.2.2") == []

    def test_two_hosts_with_one(self) -> None:
        assert self.found("192.0.2.1", "192.0.2.2", "192.0.2.1") == [("duplicate-address", "h2")]

    @pytest.mark.parametrize("address", ["cp1.example.org", "0.0.0.0", "224.0.0.1", "127.0.0.1", "fd00::1"])
    def test_not_one_that_others_reach(self, address: str) -> None:
        assert self.found("192.0.2.1", address) == [("address", "h1")]

    def test_not_loopback_not_even_alone(self) -> None:
        assert self.found("127.0.0.1") == [("address", "h0")]
        (finding,) = networks.check_addresses([Host("h0", frozenset(["workers"]), "127.0.1.1")], KNOWN)
        assert "loopback" in finding.problem
        assert finding.remediation.startswith("Set cluster_host_address to the address of an interface of the host")

    def test_within_a_network_of_the_cluster(self) -> None:
        assert self.found("10.244.3.1", "10.96.0.1") == [("network-overlap", "h0"), ("network-overlap", "h1")]

    def test_not_known_yet(self) -> None:
        assert self.found("", "") == []


class TestInterfaces:
    def found(self, *hosts: Host) -> list[tuple[str, str, str]]:
        return [(entry.id, entry.subject, entry.host) for entry in networks.check_interfaces(hosts, KNOWN)]

    def test_apart(self) -> None:
        assert self.found(host()) == []

    def test_overlapping(self) -> None:
        entry = host(interfaces={"tun0": interface("10.96.7.1/24", "fd00::1/64")})
        assert self.found(entry) == [("network-overlap", "cluster_service_network", "host1")]

    def test_the_wider_network_may_be_the_host_s(self) -> None:
        entry = replace(host(interfaces={"eth0": interface("10.1.2.3/8")}), address="10.1.2.3")
        assert [finding[1] for finding in self.found(entry)] == ["cluster_pod_network", "cluster_service_network"]

    def test_our_own_bridge_is_where_it_should_be(self) -> None:
        bridge = {"cni0": interface("10.244.0.1/24", kind="bridge")}
        assert self.found(host(interfaces=bridge, installed={"manifest": True})) == []

    def test_another_s_bridge_is_not(self) -> None:
        (finding,) = networks.check_interfaces(
            [host(interfaces={"cni0": interface("10.244.0.1/24", kind="bridge")})], KNOWN
        )
        assert "left cni0 behind" in finding.remediation

    def test_the_way_to_other_hosts_never_is_ours(self) -> None:
        entry = host(interfaces={"eth0": interface("10.244.9.9/24")}, installed={"manifest": True})
        assert self.found(entry) == [("network-overlap", "cluster_pod_network", "host1")]

    def test_no_report(self) -> None:
        assert self.found(Host("w9", frozenset(["workers"]), "10.0.0.9")) == []


class TestBalanced:
    """Addresses for Services against those of hosts and their segments."""

    def found(self, addresses: list[str], *hosts: Host) -> list[tuple[str, str]]:
        findings = networks.check_balanced_hosts({"metallb_addresses": addresses}, hosts)
        return [(finding.id, finding.severity) for finding in findings]

    def test_on_a_segment_of_the_nodes_and_free(self) -> None:
        entry = host(interfaces={"eth0": interface("192.0.2.1/24", "2001:db8::1/64")})
        assert self.found(["192.0.2.64/28", "2001:db8::40/124"], entry) == []
        assert self.found([], entry) == []

    def test_an_address_that_a_host_has_besides(self) -> None:
        entry = host(interfaces={"eth1": interface("192.0.2.65/24")})
        assert self.found(["192.0.2.64/28"], entry) == [("invalid-setting", "error")]
        # Of that in the inventory another check tells.
        assert self.found(["192.0.2.64/28"], replace(entry, address="192.0.2.65")) == []

    def test_on_no_segment(self) -> None:
        entry = host(interfaces={"eth0": interface("192.0.2.1/24")})
        assert self.found(["198.51.100.0/28", "192.0.2.250-192.0.3.1"], entry) == [("balanced-segment", "warning")] * 2

    def test_where_nothing_is_known_of_hosts(self) -> None:
        assert self.found(["198.51.100.0/28"], Host("w9", frozenset(["workers"]), "10.0.0.9")) == []


@pytest.mark.parametrize("name", ["w1", "node-1.example.org", "a" * 52])
def test_node_names(name: str) -> None:
    assert list(networks.check_names([Host(name, frozenset(["workers"]), "")])) == []


@pytest.mark.parametrize("name", ["W1", "node_1", "-w1", "w1-", "w1.", "a" * 53, "höst", ""])
def test_names_that_no_node_can_have(name: str) -> None:
    (finding,) = networks.check_names([Host(name, frozenset(["workers"]), "")])
    assert finding.id == "node-name"


def test_hosts_that_are_no_nodes_may_have_any_name_that_a_certificate_takes() -> None:
    assert list(networks.check_names([Host("etcd_1", frozenset(["etcd"]), "")])) == []
    (finding,) = networks.check_names([Host("e" * 65, frozenset(["etcd"]), "")])
    assert finding.id == "host-name"


def test_the_longest_names_are_those_that_certificates_take() -> None:
    """The library refuses longer ones, which would be in the middle of an installation."""
    longest = "system:node:" + "n" * networks.NODE_NAME_LENGTH, "c" * networks.CLUSTER_NAME_LENGTH + " front-proxy CA"
    for text in longest:
        x509.NameAttribute(NameOID.COMMON_NAME, text)
        with pytest.raises(ValueError, match="64"):
            x509.NameAttribute(NameOID.COMMON_NAME, text + "x")


def test_nodes_are_counted_once() -> None:
    assert networks.node_count({"etcd": ["a", "b"], "control_plane": ["c"], "workers": ["c", "d"]}) == 2
    assert networks.node_count({}) == 0


def test_networks_are_what_they_say() -> None:
    assert KNOWN["cluster_pod_network"] == [ipaddress.ip_network("10.244.0.0/16")]


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("", []),
        ("192.0.2.100", []),
        ("192.0.2.11", ["duplicate-address"]),
        ("10.96.0.20", ["network-overlap"]),
        ("api.example.org", ["address"]),
        ("fd00::a", ["address"]),
        ("127.0.0.1", ["address"]),
    ],
)
def test_a_virtual_address_is_free_and_in_none_of_the_clusters_networks(address: str, expected: list[str]) -> None:
    hosts = [replace(host(number), address=f"192.0.2.{number}") for number in (11, 12)]
    found = list(networks.check_virtual_address(address, hosts, KNOWN))
    assert [finding.id for finding in found] == expected
    assert {finding.subject for finding in found} <= {"cluster_virtual_address"}
