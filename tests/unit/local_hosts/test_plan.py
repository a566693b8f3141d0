"""What inventories of local hosts may say, and how wrong ones are refused."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Any

import pytest
from ansible.template import trust_as_template

from kubeproof.core.errors import KubeproofError
from kubeproof.local_hosts import network as segments
from kubeproof.local_hosts.plan import HostKind, Network, PublishedPort, VmSettings, has_local_hosts, plan
from kubeproof.settings.inventory import Host, Inventory

NETWORK = {"name": "lab", "subnet": "10.213.99.0/24"}
VM = {"ansible_host": "10.213.99.11", "local_host_kind": "vm"}


def described(network: Any = NETWORK, **hosts: dict[str, Any]) -> Inventory:
    """An inventory of hosts, each with its own variables."""
    made = {
        name: Host(
            name,
            frozenset({"all"}),
            {"local_host_network": network, "inventory_dir": "/inventories/lab", **variables},
        )
        for name, variables in (hosts or {"a": {"ansible_host": "10.213.99.11"}}).items()
    }
    return Inventory(Path("/inventories/lab/hosts.yml"), made)


def test_a_host_is_planned_with_its_settings() -> None:
    settings = {
        "ansible_host": "10.213.99.11",
        "local_host_memory": "2g",
        "local_host_ports": [{"port": 80, "published": 8080}],
    }
    planned = plan(described(a=settings))
    (host,) = planned.hosts
    assert host.unique_name == "lab-a"
    assert host.memory == "2g"
    assert host.ports == (PublishedPort(port=80, published=8080),)
    assert planned.state == Path("/inventories/lab/.kubeproof")


def test_cluster_networks_come_from_the_role_where_the_inventory_is_silent() -> None:
    own = {"ansible_host": "10.213.99.11", "cluster_pod_network": "10.50.0.0/16"}
    planned = plan(described(a=own))
    assert ipaddress.IPv4Network("10.50.0.0/16") in planned.virtual_networks
    assert len(planned.virtual_networks) == 2


def test_addresses_of_a_segment() -> None:
    network = Network("lab", ipaddress.IPv4Network("10.213.99.0/24"))
    assert str(network.machine_address) == "10.213.99.1"
    assert str(network.gateway) == "10.213.99.254"
    assert len(network.interface) <= 15


IPV6 = {**NETWORK, "subnet_ipv6": "fd00:10:213:99::/64"}
# As inventories write it, which are trusted.
OWN = trust_as_template("fd00:10:213:99::{{ ansible_host.split('.')[3] }}")
BOTH = {"ansible_host": "10.213.99.11", "cluster_host_address_ipv6": OWN}


def test_hosts_have_a_second_address_where_the_segment_has_a_second_subnet() -> None:
    planned = plan(described(IPV6, a=BOTH))
    (host,) = planned.hosts
    assert list(map(str, host.addresses(planned.network))) == ["10.213.99.11/24", "fd00:10:213:99::11/64"]
    assert list(map(str, planned.network.machine_addresses)) == ["10.213.99.1/24", "fd00:10:213:99::1/64"]
    assert list(map(str, planned.network.gateways)) == ["10.213.99.254/24", "fd00:10:213:99::fe/64"]


ALONE = {"name": "lab", "subnet_ipv6": "fd00:10:213:99::/64"}


def test_hosts_have_ipv6_addresses_alone_where_the_segment_has_no_other_subnet() -> None:
    planned = plan(
        described(ALONE, a={"ansible_host": "fd00:10:213:99::11"}, b={"ansible_host": "fd00:10:213:99::1:b"})
    )
    network = planned.network
    assert (network.ipv6, network.subnet_ipv6, network.isolated) == (True, None, True)
    assert list(map(str, network.machine_addresses)) == ["fd00:10:213:99::1/64"]
    found = [
        (list(map(str, each.addresses(network))), list(map(str, each.gateways(network)))) for each in planned.hosts
    ]
    assert found == [
        (["fd00:10:213:99::11/64"], ["fd00:10:213:99::fe/64"]),
        (["fd00:10:213:99::1:b/64"], ["fd00:10:213:99::fe/64"]),
    ]
    ports = [segments.port(network, host) for host in planned.hosts]
    assert ports[0] == "port11"
    assert len(set(ports)) == 2
    assert all(len(port) <= 15 for port in ports)


@pytest.mark.parametrize(
    ("network", "host", "complaint"),
    [
        ({}, {"ansible_host": "10.213.99.11"}, "ansible_host '10.213.99.11' is not an IPv6 address"),
        ({}, {"ansible_host": "fd00:10:213:98::11"}, "is not an address for a host in"),
        ({}, {"ansible_host": "fd00:10:213:99::1"}, "is not an address for a host in"),
        ({}, {"ansible_host": "fd00:10:213:99::fe"}, "is not an address for a host in"),
        ({"subnet_ipv6": "2001:db8::/64"}, {}, "not a unique local network"),
        ({"isolated": False}, {}, "isolated is false, and there is no subnet"),
        ({"further_subnets": ["10.213.98.0/24"]}, {}, "further_subnets need subnet"),
        ({}, {"local_host_ports": [{"port": 80}]}, "local_host_ports is set"),
    ],
)
def test_hosts_that_cannot_have_ipv6_addresses_alone(
    network: dict[str, Any], host: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(KubeproofError, match=complaint):
        plan(described({**ALONE, **network}, a={"ansible_host": "fd00:10:213:99::11", **host}))


FURTHER = {**NETWORK, "further_subnets": ["10.213.98.0/25", "10.213.98.128/25"]}


def test_hosts_are_on_the_segment_that_has_their_address() -> None:
    own = {"a": "10.213.99.11", "b": "10.213.98.11", "c": "10.213.98.139"}
    planned = plan(described(FURTHER, **{name: {"ansible_host": address} for name, address in own.items()}))
    found = {
        host.name: (*map(str, host.addresses(planned.network)), *map(str, host.gateways(planned.network)))
        for host in planned.hosts
    }
    assert found == {
        "a": ("10.213.99.11/24", "10.213.99.254/24"),
        "b": ("10.213.98.11/25", "10.213.98.126/25"),
        "c": ("10.213.98.139/25", "10.213.98.254/25"),
    }
    assert len({segments.port(planned.network, host) for host in planned.hosts}) == 3


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"further_subnets": "10.213.98.0/24"}, "is not a list"),
        ({"further_subnets": ["nonsense"]}, "further_subnets: 'nonsense' is not an IPv4 network"),
        ({"further_subnets": ["10.213.99.128/25"]}, "10.213.99.128/25 overlaps 10.213.99.0/24"),
        ({"further_subnets": ["10.213.98.0/24", "10.213.98.0/25"]}, "10.213.98.0/25 overlaps 10.213.98.0/24"),
        ({"further_subnets": ["10.213.98.0/24"], "subnet_ipv6": "fd00:10:213:99::/64"}, "cannot be set together"),
    ],
)
def test_further_segments_that_cannot_be_are_refused(settings: dict[str, Any], complaint: str) -> None:
    with pytest.raises(KubeproofError, match=complaint):
        plan(described({**NETWORK, **settings}, a=BOTH))


@pytest.mark.parametrize("address", ["10.213.98.1", "10.213.98.126", "10.213.97.5"])
def test_addresses_that_no_host_may_have_on_a_further_segment(address: str) -> None:
    with pytest.raises(KubeproofError, match=r"10\.213\.99\.0/24 or 10\.213\.98\.0/25"):
        plan(described(FURTHER, a={"ansible_host": address}))


def test_without_one_they_have_what_they_had() -> None:
    planned = plan(described(a=BOTH))
    (host,) = planned.hosts
    assert list(map(str, host.addresses(planned.network))) == ["10.213.99.11/24"]
    assert list(map(str, planned.network.machine_addresses)) == ["10.213.99.1/24"]
    assert list(map(str, planned.network.gateways)) == ["10.213.99.254/24"]


def test_networks_of_both_ip_families_are_kept_on_the_segment() -> None:
    own = {**BOTH, "cluster_pod_network": "10.244.0.0/16,fd00:10:244::/56"}
    own["cluster_service_network"] = ["10.96.0.0/16", "fd00:10:96::/112"]
    found = plan(described(IPV6, a=own)).virtual_networks
    assert list(map(str, found)) == ["10.96.0.0/16", "10.244.0.0/16", "fd00:10:96::/112", "fd00:10:244::/56"]


@pytest.mark.parametrize(
    "address", [None, "", "10.213.99.11", "fd00::11", *(f"fd00:10:213:99::{n}" for n in ("", "1", "fe"))]
)
def test_second_addresses_that_are_none_are_refused(address: str | None) -> None:
    with pytest.raises(KubeproofError, match="cluster_host_address_ipv6"):
        plan(described(IPV6, a={"ansible_host": "10.213.99.11", "cluster_host_address_ipv6": address}))


def test_two_hosts_cannot_have_one_second_address() -> None:
    other = {**BOTH, "ansible_host": "10.213.99.12", "cluster_host_address_ipv6": "fd00:10:213:99::11"}
    with pytest.raises(KubeproofError, match="hosts a and b have the same address"):
        plan(described(IPV6, a=BOTH, b=other))


def test_networks_with_long_and_similar_names_have_interfaces_of_their_own() -> None:
    subnet = ipaddress.IPv4Network("10.213.99.0/24")
    assert Network("a-rather-long-name-1", subnet).interface != Network("a-rather-long-name-2", subnet).interface


@pytest.mark.parametrize(
    ("network", "complaint"),
    [
        ("lab", "must be the same for all hosts"),
        ({"name": "Lab", "subnet": "10.213.99.0/24"}, "lower-case"),
        ({"name": "lab.x", "subnet": "10.213.99.0/24"}, "lower-case"),
        ({"name": "lab"}, "is not an IPv4 network"),
        ({"name": "lab", "subnet": "10.213.99.1/24"}, "is not an IPv4 network"),
        ({"name": "lab", "subnet": "192.0.2.0/30"}, "not a private network"),
        ({"name": "lab", "subnet": "8.8.8.0/24"}, "not a private network"),
        ({**NETWORK, "subnet_ipv6": "10.213.98.0/24"}, "is not an IPv6 network"),
        # Addresses of others, and some that could be.
        ({**NETWORK, "subnet_ipv6": "2001:db8::/64"}, "not a unique local network"),
        ({**NETWORK, "subnet_ipv6": "fd00::/48"}, "not a unique local network"),
        ({"name": "lab", "subnet": "10.213.99.0/24", "isolated": "no"}, "neither true nor false"),
        ({"name": "lab", "subnet": "10.213.99.0/24", "gateway": "x"}, "unknown setting gateway"),
    ],
)
def test_wrong_networks_are_refused(network: Any, complaint: str) -> None:
    with pytest.raises(KubeproofError, match=complaint):
        plan(described(network))


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({}, "is not an IPv4 address"),
        ({"ansible_host": "w1.example"}, "is not an IPv4 address"),
        ({"ansible_host": "10.213.98.11"}, "not an address for a host"),
        ({"ansible_host": "10.213.99.1"}, "not an address for a host"),
        ({"ansible_host": "10.213.99.254"}, "not an address for a host"),
        ({"ansible_host": "10.213.99.11", "local_host_memory": "2 GB"}, "is not a size"),
        ({"ansible_host": "10.213.99.11", "local_host_port": 80}, "unknown setting local_host_port"),
        ({"ansible_host": "10.213.99.11", "local_host_ports": [80]}, "is not like"),
        ({"ansible_host": "10.213.99.11", "local_host_ports": [{"port": 0}]}, "not a port number"),
        ({"ansible_host": "10.213.99.11", "local_host_ports": [{"port": 1, "protocol": "sctp"}]}, "neither tcp"),
        ({"ansible_host": "10.213.99.11", "local_host_ports": [{"port": 1, "address": "x"}]}, "not an IPv4"),
        ({"ansible_host": "10.213.99.11", "local_host_kind": "jail"}, "'jail' is none of container, vm"),
        ({"ansible_host": "10.213.99.11", "local_host_cpus": 1}, "local_host_cpus is a setting of virtual machines"),
        ({"ansible_host": "10.213.99.11", "ansible_user": "ubuntu"}, "has no user but root"),
        ({**VM, "local_host_cpus": 0}, "not a number of processors"),
        ({**VM, "local_host_cpus": True}, "not a number of processors"),
        ({**VM, "local_host_disk": "10 GB"}, "is not a size"),
        ({**VM, "local_host_system": "debian-11"}, "none of debian-12, debian-13"),
        ({**VM, "local_host_system": "container-os"}, "only there for containers"),
        ({**VM, "local_host_preinstalled": "yes"}, "neither true nor false"),
        ({**VM, "local_host_image": "/no/such.qcow2"}, "not the absolute path of a disk image"),
    ],
)
def test_wrong_hosts_are_refused(settings: dict[str, Any], complaint: str) -> None:
    with pytest.raises(KubeproofError, match=complaint):
        plan(described(a=settings))


def test_two_hosts_cannot_have_one_address() -> None:
    same = {"ansible_host": "10.213.99.11"}
    with pytest.raises(KubeproofError, match="hosts a and b have the same address"):
        plan(described(a=same, b=same))


def test_two_hosts_cannot_publish_one_port() -> None:
    ports = [{"port": 80, "published": 8080}]
    hosts = {
        "a": {"ansible_host": "10.213.99.11", "local_host_ports": ports},
        "b": {"ansible_host": "10.213.99.12", "local_host_ports": ports},
    }
    with pytest.raises(KubeproofError, match="hosts a and b have the same published port"):
        plan(described(**hosts))


def test_hosts_that_name_different_networks_are_refused() -> None:
    hosts: dict[str, dict[str, Any]] = {
        "a": {"ansible_host": "10.213.99.11"},
        "b": {"ansible_host": "10.213.99.12", "local_host_network": {"name": "x", "subnet": "10.1.0.0/24"}},
    }
    with pytest.raises(KubeproofError, match="must be the same for all hosts"):
        plan(described(**hosts))


def test_hosts_of_the_users_own_are_no_containers() -> None:
    own = Inventory(Path("hosts.yml"), {"a": Host("a", frozenset(), {"ansible_host": "192.0.2.1"})})
    assert not has_local_hosts(own)
    assert has_local_hosts(described())


def test_a_virtual_machine_is_planned_with_its_login() -> None:
    own = {**VM, "ansible_user": "operator", "ansible_become_password": "secret", "local_host_cpus": 1}
    (host,) = plan(described(a=own)).hosts
    assert host.kind is HostKind.VM
    assert host.vm == VmSettings(cpus=1)
    assert (host.user, host.sudo_password, host.memory) == ("operator", "secret", "2g")
    assert "secret" not in repr(host)


def test_a_setting_under_its_former_name_is_refused_with_the_new_one() -> None:
    former = Host("a", frozenset(), {"container_host_network": NETWORK})
    with pytest.raises(KubeproofError, match="container_host_network is now called local_host_network"):
        has_local_hosts(Inventory(Path("hosts.yml"), {"a": former}))
