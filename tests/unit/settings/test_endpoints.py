"""Where components listen, and the names under which they are reached."""

from __future__ import annotations

from typing import Any

import pytest

from kubeproof.settings import endpoints

LOCAL = ("controller_manager_bind_address", "scheduler_bind_address")


def problems(setting: str, value: Any) -> list[str]:
    found = list(endpoints.problems({setting: value}))
    assert {name for name, _ in found} <= {setting}
    return [problem for _, problem in found]


@pytest.mark.parametrize("setting", ["apiserver_bind_address", *LOCAL])
@pytest.mark.parametrize("address", ["0.0.0.0", "::"])
def test_all_addresses(setting: str, address: str) -> None:
    assert problems(setting, address) == []


def test_loopback_is_enough_for_what_nobody_else_asks() -> None:
    for setting in LOCAL:
        assert problems(setting, "127.0.0.1") == []
    [problem] = problems("apiserver_bind_address", "127.0.0.1")
    assert "which others ask one" in problem
    assert problem.endswith("use 0.0.0.0 or ::")


@pytest.mark.parametrize("address", ["192.0.2.1", "::1", "127.0.0.2"])
def test_an_address_without_127_0_0_1(address: str) -> None:
    for setting in LOCAL:
        [problem] = problems(setting, address)
        assert "leaves out 127.0.0.1" in problem
        assert problem.endswith("use 127.0.0.1, 0.0.0.0 or ::")
    assert len(problems("apiserver_bind_address", address)) == 1


@pytest.mark.parametrize("address", ["", "localhost", "0.0.0.0:6443", "0.0.0.0/0", "fe80::1%eth0"])
def test_what_is_no_address(address: str) -> None:
    for setting in ("apiserver_bind_address", *LOCAL):
        [problem] = problems(setting, address)
        assert f"{address!r} is not an IP address" in problem


@pytest.mark.parametrize(
    "names",
    [
        [],
        ["api.example.org", "192.0.2.9", "2001:db8::9", "*.example.org", "API.Example.org", "k8s_api", "localhost"],
        ["192.0.2.9", "*.example.org"],
    ],
)
def test_names_and_addresses_of_the_api(names: list[str]) -> None:
    assert problems("cluster_api_names", names) == []


@pytest.mark.parametrize(
    "name",
    [
        "api.example.org:6443", "https://api.example.org", "api.example.org/", "b\u00fccher.example", "[2001:db8::9]",
        "", "api example", "api.example.org.", "192.0.2.256", "192.0.2.0/24", "a.*.example.org", "*", "-api", "a" * 64,
        "fe80::1%eth0", "*.192.0.2.9",
    ],
)  # fmt: skip
def test_what_is_no_name_of_the_api(name: str) -> None:
    [problem] = problems("cluster_api_names", ["api.example.org", name])
    assert problem.startswith(f"{name!r} is neither an IP address nor a DNS name")


def test_the_first_name_is_a_server() -> None:
    [problem] = problems("cluster_api_names", ["*.example.org", "api.example.org"])
    assert "'*.example.org' is no server" in problem


@pytest.mark.parametrize("networks", [[], ["primary"], ["192.0.2.0/24", "2001:db8::/64"], ["192.0.2.7/24"]])
def test_networks_of_node_ports(networks: list[str]) -> None:
    assert problems("kube_proxy_node_port_networks", networks) == []


@pytest.mark.parametrize(
    ("network", "told"),
    [
        ("192.0.2.0/255.255.255.0", "has a netmask; write 192.0.2.0/24"),
        ("192.0.2.1", "is an address, not a network"),
        ("primary", "is not a network"),
        ("eth0", "is not a network"),
    ],
)
def test_what_is_no_network_of_node_ports(network: str, told: str) -> None:
    [problem] = problems("kube_proxy_node_port_networks", ["192.0.2.0/24", network])
    assert told in problem
