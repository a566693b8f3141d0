"""Filters that make what roles hand to modules."""

from __future__ import annotations

from plugins.filter import networks, packages


def test_the_others_are_asked() -> None:
    addresses = {"b": "10.0.0.2", "a": "10.0.0.1", "c": "10.0.0.3"}
    others = networks.other_addresses(addresses, "b")
    assert networks.health_checks(others, "https://{}:6443/readyz", expect="ok") == [
        {"url": "https://10.0.0.1:6443/readyz", "expect": "ok"},
        {"url": "https://10.0.0.3:6443/readyz", "expect": "ok"},
    ]


def test_the_interface_that_has_an_address() -> None:
    interfaces = {
        "lo": {"addresses": ["127.0.0.1/8"]},
        "eth0": {"addresses": ["198.51.100.7/24"]},
        "eth1": {"addresses": ["192.0.2.10/24", "192.0.2.1/32"]},
    }
    report = {"interfaces": interfaces, "default_route": {"interface": "eth0"}}
    assert networks.interface_of(report, "192.0.2.1") == "eth1"
    assert networks.interface_of(report, "203.0.113.9") == "eth0", "one behind address translation"


def test_packages_are_missing_by_the_commands_and_files_that_they_bring() -> None:
    wanted = {"nft": "nftables", "/etc/protocols": "netbase", "ssh": "openssh-client"}
    found = {"nft": "/usr/sbin/nft", "/etc/protocols": None, "ssh": None}
    report = {"commands": found, "os": {"id": "debian", "like": []}}
    assert packages.missing_packages(wanted, report, ["workers"]) == ["netbase"]
