"""Which addresses the machine uses already."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest

from kubeproof.core.errors import KubeproofError
from kubeproof.local_hosts import network
from kubeproof.local_hosts.plan import Network

WANTED = Network("lab", ipaddress.IPv4Network("10.213.99.0/24"), subnet_ipv6=ipaddress.IPv6Network("fd00:99::/64"))


@pytest.fixture
def routes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The destinations of the machine's routes."""
    found: list[str] = []

    def shown(version: int) -> list[dict[str, Any]]:
        default = [{"dst": "default", "dev": "eth0"}]
        return default + [{"dst": each, "dev": "tun0"} for each in found if (":" in each) == (version == 6)]

    monkeypatch.setattr(network, "_routes", shown)
    return found


def test_what_a_vpn_has_in_the_place_of_a_default_route_takes_nothing(routes: list[str]) -> None:
    routes += ["0.0.0.0/1", "128.0.0.0/1", "::/1", "8000::/1", "2000::/3", "e000::/3", "0.0.0.0/2"]
    network.refuse_taken(WANTED)


@pytest.mark.parametrize("route", ["10.0.0.0/8", "10.213.99.7", "fd00::/8", "fc00::/7"])
def test_networks_of_others_are_taken(routes: list[str], route: str) -> None:
    routes.append(route)
    with pytest.raises(KubeproofError, match=f"in use on this machine: {route} on tun0"):
        network.refuse_taken(WANTED)
