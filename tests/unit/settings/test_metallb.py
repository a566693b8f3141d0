"""Addresses for Services of type LoadBalancer: which are accepted, and what is said of the others."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest

from kubeproof.settings import metallb

NETWORKS = {"cluster_pod_network": "10.244.0.0/16", "cluster_service_network": "10.96.0.0/16"}
DUAL: dict[str, Any] = {
    "cluster_pod_network": "10.244.0.0/16,fd00:1::/56",
    "cluster_service_network": ["10.96.0.0/16", "fd00:2::/112"],
}


def said(*addresses: Any, hosts: dict[str, list[str]] | None = None, **values: Any) -> list[str]:
    return list(metallb.problems({**NETWORKS, **values, "metallb_addresses": list(addresses)}, hosts or {}))


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("192.0.2.64/28", "192.0.2.64", "192.0.2.79"),
        ("192.0.2.7/32", "192.0.2.7", "192.0.2.7"),
        ("192.0.2.7-192.0.2.9", "192.0.2.7", "192.0.2.9"),
        ("192.0.2.7 - 192.0.2.7", "192.0.2.7", "192.0.2.7"),
        ("2001:db8::40/124", "2001:db8::40", "2001:db8::4f"),
        ("2001:db8:0::40/124", "2001:db8::40", "2001:db8::4f"),
        ("2001:db8::1-2001:db8::ff", "2001:db8::1", "2001:db8::ff"),
    ],
)
def test_networks_and_ranges(text: str, first: str, last: str) -> None:
    found = metallb.parsed(text)
    assert (str(found.first), str(found.last)) == (first, last)
    assert ipaddress.ip_address(last) in found
    assert ipaddress.ip_address("192.0.2.80") not in found


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("192.0.2.7", "is one address; write 192.0.2.7/32"),
        ("2001:db8::1", "is one address; write 2001:db8::1/128"),
        ("192.0.2.7/28", "is not the beginning of a network; 192.0.2.0/28 is one"),
        ("192.0.2.64/255.255.255.240", "has a netmask; write 192.0.2.64/28"),
        ("192.0.2.9-192.0.2.7", "ends before it begins; write 192.0.2.7-192.0.2.9"),
        ("192.0.2.9-2001:db8::1", "different IP families"),
        ("somewhere", "is neither a network nor a range"),
        ("192.0.2.0/33", "is neither a network nor a range"),
        ("192.0.2.7-79", "is neither a network nor a range"),
        ("fe80::1-fe80::9", "at which no host is reached"),
        ("fe80::1%eth0-fe80::9", "names an interface"),
        ("127.0.0.0/24", "at which no host is reached"),
        ("224.0.0.0/28", "at which no host is reached"),
        ("", "is neither a network nor a range"),
    ],
)
def test_what_is_no_range(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        metallb.parsed(text)
    [told] = said(text)
    assert problem in told


def test_good_settings() -> None:
    assert said() == []
    assert (
        said("192.0.2.64/28", "192.0.2.80-192.0.2.90", hosts={"w1": ["192.0.2.63"], "w2": ["name.example.org"]}) == []
    )
    assert said("192.0.2.64/28", "2001:db8::40/124", **DUAL) == []


@pytest.mark.parametrize(
    ("addresses", "problem"),
    [
        (["192.0.2.64/28", "192.0.2.70-192.0.2.99"], "192.0.2.64/28 and 192.0.2.70-192.0.2.99 overlap"),
        (["10.244.7.0/24"], "10.244.7.0/24 overlaps cluster_pod_network 10.244.0.0/16"),
        (["10.95.255.1-10.96.0.1"], "10.95.255.1-10.96.0.1 overlaps cluster_service_network 10.96.0.0/16"),
        (["2001:db8::40/124"], "has IPv6 addresses, but Services have none"),
        (["192.0.2.0/24"], "192.0.2.0/24 has 192.0.2.3 in it, which is an address of w1"),
        (["198.51.100.0/24"], "198.51.100.0/24 has 198.51.100.9 in it, which is cluster_virtual_address"),
    ],
)
def test_addresses_of_others(addresses: list[str], problem: str) -> None:
    [told] = said(*addresses, hosts={"w1": ["192.0.2.3"]}, cluster_virtual_address="198.51.100.9")
    assert told.startswith(problem)


def test_ipv6_networks_count_as_well() -> None:
    [told] = said("fd00:1::4:0/112", **DUAL)
    assert told.startswith("fd00:1::4:0/112 overlaps cluster_pod_network fd00:1::/56")


def test_ipv4_addresses_are_of_no_use_to_ipv6_alone() -> None:
    alone: dict[str, Any] = {"cluster_pod_network": "fd00:1::/56", "cluster_service_network": "fd00:2::/112"}
    assert said("2001:db8::40/124", **alone) == []
    [told] = said("192.0.2.64/28", **alone)
    assert told == "has IPv4 addresses, but Services have none: cluster_service_network has no IPv4 network"


def test_settings_that_are_wrong_are_left_to_others() -> None:
    assert said("192.0.2.64/28", cluster_pod_network="somewhere") == []
    assert not metallb.on({})
    assert metallb.on({"metallb_addresses": ["x"]})
