"""Filters that make what roles hand to modules."""

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError
from plugins.filter import backup, etcd, host_settings, networks, packages


def test_the_others_are_asked() -> None:
    addresses = {"b": "10.0.0.2", "a": "10.0.0.1", "c": "10.0.0.3"}
    others = networks.other_addresses(addresses, "b")
    assert networks.health_checks(others, "https://{}:6443/readyz", expect="ok") == [
        {"url": "https://10.0.0.1:6443/readyz", "expect": "ok"},
        {"url": "https://10.0.0.3:6443/readyz", "expect": "ok"},
    ]


FILTERS = networks.FilterModule().filters()


def test_nodes_that_do_not_exist_yet_have_no_routes() -> None:
    addresses = {"w1": "10.0.0.1", "w2": "10.0.0.2", "w3": "10.0.0.3", "w4": "10.0.0.4"}
    found = {"/api/v1/nodes/w1": "10.244.1.0/24", "/api/v1/nodes/w2": "10.244.2.0/24", "/api/v1/nodes/w3": None}
    assert networks.pod_routes(addresses, found, "w1") == {"10.244.2.0/24": "10.0.0.2"}


def test_nodes_with_two_networks_have_a_route_of_each_family() -> None:
    addresses = {"w1": "10.0.0.1", "w2": "10.0.0.2", "w3": "10.0.0.3"}
    found = {"/api/v1/nodes/w1": ["10.244.1.0/24", "fd00:1::/64"], "/api/v1/nodes/w2": ["10.244.2.0/24", "fd00:2::/64"]}
    assert networks.pod_routes(addresses, found, "w1", {"w1": "fd00::1", "w2": "fd00::2"}) == {
        "10.244.2.0/24": "10.0.0.2",
        "fd00:2::/64": "fd00::2",
    }


def test_an_address_by_number_is_of_the_first_network() -> None:
    assert networks.nth_address("10.96.0.0/16,fd00:10:96::/112", 10) == "10.96.0.10"
    assert networks.nth_address(["fd00:10:96::/112"], 10) == "fd00:10:96::a"


def test_hosts_without_a_second_address_are_left_out() -> None:
    addresses = FILTERS["host_addresses_ipv6"]
    hostvars = {"w1": {"cluster_host_address_ipv6": "fd00::1"}, "w2": {}, "w3": {"cluster_host_address_ipv6": ""}}
    assert addresses(["w1", "w2", "w3"], hostvars, {}) == {"w1": "fd00::1"}
    assert addresses(["w1", "w2"], {}, {"w1": "fd00::9", "w2": ""}) == {"w1": "fd00::9"}


def test_hosts_whose_address_is_known_are_not_asked() -> None:
    hostvars = {"w2": {"ansible_host": "10.0.0.2"}, "w3": {"cluster_host_address": "10.0.1.3", "ansible_host": "w3.x"}}
    addresses = FILTERS["host_addresses"]
    assert addresses(["w1", "w2", "w3"], hostvars, {"w1": "10.0.0.1"}) == {
        "w1": "10.0.0.1",
        "w2": "10.0.0.2",
        "w3": "10.0.1.3",
    }
    with pytest.raises(KeyError, match="w1"):
        addresses(["w1"], hostvars, {})


def test_hosts_that_are_left_out_or_unreachable_are_not_examined() -> None:
    reports = {"w1": {"arch": "amd64"}, "w2": {"unreachable": True, "problem": "no route"}}
    hostvars = {name: {"ansible_facts": {"kubeproof_host": report}} for name, report in reports.items()}
    assert host_settings.examined(["w2", "w1", "w3"], {**hostvars, "w3": {}}) == ["w1"]
    assert host_settings.unreachable(["w2", "w1", "w3"], {**hostvars, "w3": {}}) == ["w2"]


@pytest.mark.parametrize(
    ("amount", "lost", "besides"),
    [("1", 0, 1), (2, 0, 2), ("25%", 0, "25%"), ("1", 2, 3), ("25%", 1, 3), ("20", 1, 11)],
)
def test_nodes_that_are_lost_do_not_stop_a_rollout_to_the_others(amount: int | str, lost: int, besides: int) -> None:
    assert host_settings.at_once_besides(amount, 10, lost) == besides


def test_an_amount_of_nodes_that_is_none_is_named() -> None:
    with pytest.raises(AnsibleFilterError, match="cluster_nodes_at_once: 'some' is neither"):
        host_settings.at_once_besides("some", 10, 0)


def test_the_interface_that_has_an_address() -> None:
    interfaces = {
        "lo": {"addresses": ["127.0.0.1/8"]},
        "eth0": {"addresses": ["198.51.100.7/24"]},
        "eth1": {"addresses": ["192.0.2.10/24", "192.0.2.1/32"]},
    }
    report = {"interfaces": interfaces, "default_route": {"interface": "eth0"}}
    assert networks.interface_of(report, "192.0.2.1") == "eth1"
    assert networks.interface_of(report, "203.0.113.9") == "eth0", "one behind address translation"
    both = {**report, "default_route_ipv6": {"interface": "eth2"}}
    assert networks.interface_of(both, "2001:db8::1") == "eth2"
    assert networks.interface_of(both, "203.0.113.9") == "eth0"


def test_addresses_of_ipv6_are_in_brackets_in_urls() -> None:
    members = {"a": "2001:db8::1", "b": "2001:db8::2"}
    assert etcd.etcd_client_urls(members, 2379) == "https://[2001:db8::1]:2379,https://[2001:db8::2]:2379"
    assert etcd.etcd_initial_cluster(members, 2380) == "a=https://[2001:db8::1]:2380,b=https://[2001:db8::2]:2380"
    assert etcd.etcd_peer_urls(members, 2380)["b"] == "https://[2001:db8::2]:2380"
    assert networks.health_checks(["2001:db8::1"], "https://{}:6443/readyz") == [
        {"url": "https://[2001:db8::1]:6443/readyz"}
    ]


def test_routes_of_nodes_that_have_ipv6_addresses_alone() -> None:
    addresses = {"a": "2001:db8::1", "b": "2001:db8::2"}
    answers = {"/api/v1/nodes/a": "fd00::/64", "/api/v1/nodes/b": "fd00:1::/64"}
    assert networks.pod_routes(addresses, answers, "a", {}) == {"fd00:1::/64": "2001:db8::2"}


def test_packages_are_missing_by_the_commands_and_files_that_they_bring() -> None:
    wanted = {"nft": "nftables", "/etc/protocols": "netbase", "ssh": "openssh-client"}
    found = {"nft": "/usr/sbin/nft", "/etc/protocols": None, "ssh": None}
    report = {"commands": found, "os": {"id": "debian", "like": []}}
    assert packages.missing_packages(wanted, report, ["workers"]) == ["netbase"]


def test_a_rehearsal_has_the_clusters_admission_plugins_that_need_no_file() -> None:
    extra = {"v": 2, "enable-admission-plugins": "AlwaysPullImages,EventRateLimit", "runtime-config": "api/all=true"}
    assert backup.rehearsal_flags(extra, "10.96.0.0/16") == [
        "--service-cluster-ip-range=10.96.0.0/16",
        "--runtime-config=api/all=true",
        "--enable-admission-plugins=AlwaysPullImages",
    ]
    assert backup.rehearsal_flags({}, "10.96.0.0/16") == ["--service-cluster-ip-range=10.96.0.0/16"]


@pytest.mark.parametrize(
    ("versions", "former", "moved"),
    [
        (["3.6.0", "3.6.0"], "3.6.16", ""),
        (["3.7.0", None], "3.6.16", "3.7"),
        ([None, None], "3.6.16", ""),
        (["3.7.0"], "3.7.1", ""),
        (["not_decided"], "3.6.16", ""),
        (["3.7.0"], "", ""),
    ],
)
def test_a_member_is_not_put_back_in_a_cluster_that_has_moved_on(
    versions: list[str | None], former: str, moved: str
) -> None:
    looks = [{"etcd": {"version": {"etcdcluster": each} if each else None}} for each in versions]
    assert etcd.etcd_moved_on([*looks, {"etcd": {}}, {"unreachable": True}], former) == moved
