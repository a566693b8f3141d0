"""Settings of the cluster's DNS, and which of them are refused before any host is touched."""

from __future__ import annotations

from typing import Any

import pytest

from kubeproof.settings import dns

GOOD: dict[str, Any] = {
    "cluster_dns_address": "10.96.0.10",
    "cluster_domain": "cluster.local",
    "cluster_pod_network": "10.244.0.0/16",
    "cluster_service_network": "10.96.0.0/16",
    "dns_cache_seconds": 30,
    "dns_extra_config": "",
    "dns_forwarders": [],
    "dns_hosts": {},
    "dns_nodes_per_replica": 16,
    "dns_replicas": 0,
    "dns_stale_seconds": 0,
    "dns_stub_domains": {},
}
BLOCKS = "example.net:53 other.example {\n    forward . 192.0.2.53\n}\n"


def found(**changes: Any) -> list[tuple[str, str]]:
    return list(dns.problems({**GOOD, **changes}))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"dns_replicas": 3, "dns_cache_seconds": 0},
        {"dns_forwarders": ["192.0.2.53", "10.0.0.1:5353"]},
        # A server that runs in the cluster has an address of a Service.
        {"dns_stub_domains": {"consul.example": ["10.96.3.3"]}},
        {"dns_stub_domains": {"_msdcs.Corp.Example.": ["192.0.2.53"], "16.172.in-addr.arpa": ["192.0.2.53"]}},
        {"dns_stub_domains": {"local.example": ["192.0.2.53"], "xcluster.local": ["192.0.2.53"]}},
        {"dns_hosts": {"a.example": "192.0.2.1", "B.example": ["192.0.2.1", "2001:db8::1"], "registry": "192.0.2.1"}},
        {"dns_stub_domains": {"example.org": ["192.0.2.53"]}, "dns_extra_config": BLOCKS},
        {"dns_cache_seconds": 30, "dns_stale_seconds": 3600},
    ],
    ids=str,
)
def test_nothing_is_wrong(changes: dict[str, Any]) -> None:
    assert found(**changes) == []


@pytest.mark.parametrize(
    ("changes", "setting", "words"),
    [
        ({"dns_replicas": -1}, "dns_replicas", "below 0"),
        ({"dns_cache_seconds": -1}, "dns_cache_seconds", "below 0"),
        ({"dns_nodes_per_replica": 0}, "dns_nodes_per_replica", "below 1"),
        ({"dns_cache_seconds": 0, "dns_stale_seconds": 60}, "dns_stale_seconds", "dns_cache_seconds is 0"),
        ({"dns_forwarders": ["resolver.example"]}, "dns_forwarders", "is not an IPv4 address"),
        ({"dns_forwarders": ["2001:db8::53"]}, "dns_forwarders", "asked by IPv4"),
        ({"dns_forwarders": ["tls://192.0.2.53"]}, "dns_forwarders", "is not an IPv4 address"),
        ({"dns_forwarders": ["/etc/resolv.conf"]}, "dns_forwarders", "is not an IPv4 address"),
        ({"dns_forwarders": ["192.0.2.300"]}, "dns_forwarders", "is not an IPv4 address"),
        ({"dns_forwarders": ["192.0.2.53:0"]}, "dns_forwarders", "has port 0"),
        ({"dns_forwarders": ["192.0.2.53:65536"]}, "dns_forwarders", "has port 65536"),
        ({"dns_forwarders": ["127.0.0.53"]}, "dns_forwarders", "it would ask itself"),
        ({"dns_forwarders": ["0.0.0.0"]}, "dns_forwarders", "it would ask itself"),
        ({"dns_forwarders": ["224.0.0.251:5353"]}, "dns_forwarders", "no address of a server"),
        ({"dns_forwarders": ["10.96.0.10"]}, "dns_forwarders", "it would ask itself"),
        ({"dns_forwarders": [f"192.0.2.{n}" for n in range(1, 17)]}, "dns_forwarders", "more than 15"),
        ({"dns_stub_domains": {".": ["192.0.2.53"]}}, "dns_stub_domains", "set dns_forwarders"),
        ({"dns_stub_domains": {"exa mple": ["192.0.2.53"]}}, "dns_stub_domains", "is not a domain name"),
        ({"dns_stub_domains": {"*.example": ["192.0.2.53"]}}, "dns_stub_domains", "is not a domain name"),
        ({"dns_stub_domains": {"cluster.local": ["192.0.2.53"]}}, "dns_stub_domains", "the cluster's own domain"),
        ({"dns_stub_domains": {"svc.Cluster.local.": ["192.0.2.53"]}}, "dns_stub_domains", "the cluster's own domain"),
        # CoreDNS looks a name up in the block of the longest zone: all of cluster.local would be in this one.
        ({"dns_stub_domains": {"local": ["192.0.2.53"]}}, "dns_stub_domains", "the cluster's own domain"),
        ({"dns_stub_domains": {"10.in-addr.arpa": ["192.0.2.53"]}}, "dns_stub_domains", "cluster_pod_network"),
        ({"dns_stub_domains": {"0.96.10.in-addr.arpa": ["192.0.2.53"]}}, "dns_stub_domains", "cluster_service_network"),
        ({"dns_stub_domains": {"in-addr.arpa": ["192.0.2.53"]}}, "dns_stub_domains", "cluster_pod_network"),
        ({"dns_stub_domains": {"a.example": [], }}, "dns_stub_domains", "not an empty one"),
        ({"dns_stub_domains": {"a.example": "192.0.2.53"}}, "dns_stub_domains", "are a list"),
        ({"dns_stub_domains": {"a.example": ["127.0.0.1"]}}, "dns_stub_domains", "a.example: '127.0.0.1' is CoreDNS"),
        ({"dns_stub_domains": {"a.example": ["192.0.2.1"], "A.example.": ["192.0.2.1"]}}, "dns_stub_domains", "twice"),
        ({"dns_stub_domains": {"example.net": ["192.0.2.1"]}, "dns_extra_config": BLOCKS}, "dns_stub_domains", "too"),
        ({"dns_stub_domains": {"other.example": ["192.0.2.1"]}, "dns_extra_config": BLOCKS}, "dns_stub_domains", "too"),
        ({"dns_hosts": {"-a.example": "192.0.2.1"}}, "dns_hosts", "is not a name of a host"),
        ({"dns_hosts": {"a.example": "nowhere"}}, "dns_hosts", "'nowhere' is not an IP address"),
        ({"dns_hosts": {"a.example": []}}, "dns_hosts", "no address"),
        ({"dns_hosts": {"a.example": "192.0.2.1", "A.example": "192.0.2.2"}}, "dns_hosts", "twice"),
        ({"dns_hosts": {"db.default.svc.cluster.local": "192.0.2.1"}}, "dns_hosts", "those of its Services"),
    ],
    ids=str,
)  # fmt: skip
def test_what_is_wrong_is_said(changes: dict[str, Any], setting: str, words: str) -> None:
    [(name, problem)] = found(**changes)
    assert name == setting
    assert words in problem


IPV6: dict[str, Any] = {
    "cluster_dns_address": "fd00:10:96::a",
    "cluster_pod_network": "fd00:10:244::/56",
    "cluster_service_network": "fd00:10:96::/112",
}
OF_PODS = "4.2.0.0.1.0.0.0.0.d.f.ip6.arpa"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"dns_forwarders": ["2001:db8::53", "[2001:db8::53]:5353", "[2001:db8::54]"]}, ""),
        ({"dns_stub_domains": {"8.b.d.0.1.0.0.2.ip6.arpa": ["2001:db8::53"]}}, ""),
        ({"dns_forwarders": ["192.0.2.53"]}, "is not an IPv6 address, or one with [ADDRESS]:PORT"),
        ({"dns_forwarders": ["[2001:db8::53]:0"]}, "has port 0"),
        ({"dns_forwarders": ["::1"]}, "it would ask itself"),
        ({"dns_forwarders": ["fe80::53"]}, "holds on one link only"),
        ({"dns_forwarders": ["fd00:10:96::a"]}, "it would ask itself"),
        ({"dns_stub_domains": {"ip6.arpa": ["2001:db8::53"]}}, "cluster_pod_network fd00:10:244::/56"),
        ({"dns_stub_domains": {"arpa": ["2001:db8::53"]}}, "cluster_pod_network fd00:10:244::/56"),
        ({"dns_stub_domains": {OF_PODS: ["2001:db8::53"]}}, "cluster_pod_network fd00:10:244::/56"),
    ],
    ids=str,
)
def test_servers_of_ipv6_alone(changes: dict[str, Any], words: str) -> None:
    told = [problem for _, problem in found(**IPV6, **changes)]
    assert [words in each for each in told] == ([True] if words else [])


def test_servers_of_two_families() -> None:
    both = {name: f"{GOOD[name]},{IPV6[name]}" for name in ("cluster_pod_network", "cluster_service_network")}
    assert found(**both, dns_forwarders=["192.0.2.53", "2001:db8::53"]) == []
    [(_, problem)] = found(**both, dns_forwarders=["resolver.example"])
    assert "is not an IPv4 or IPv6 address, or one with :PORT or [ADDRESS]:PORT" in problem


def test_settings_that_are_of_the_wrong_type_are_left_out() -> None:
    """The checks give what is right of the rest."""
    assert list(dns.problems({})) == []


def test_a_name_is_in_the_block_of_the_longest_zone() -> None:
    stubs = {"example": ["192.0.2.1"], "Sub.Example.": ["192.0.2.2"]}
    hosts = {"a.sub.example": "192.0.2.7", "b.example": ["192.0.2.8", "192.0.2.9"], "c.test": "192.0.2.6"}
    assert dns.servers(["192.0.2.53"], stubs, hosts) == [
        {"zone": ".", "forwarders": ["192.0.2.53"], "hosts": ["192.0.2.6 c.test"]},
        {"zone": "example", "forwarders": ["192.0.2.1"], "hosts": ["192.0.2.8 b.example", "192.0.2.9 b.example"]},
        {"zone": "sub.example", "forwarders": ["192.0.2.2"], "hosts": ["192.0.2.7 a.sub.example"]},
    ]


@pytest.mark.parametrize(
    ("wanted", "nodes", "expected"), [(0, 1, 2), (0, 32, 2), (0, 33, 3), (0, 100, 7), (1, 100, 1), (9, 3, 9)]
)
def test_pods_by_size(wanted: int, nodes: int, expected: int) -> None:
    assert dns.replicas(wanted, nodes, 16) == expected
