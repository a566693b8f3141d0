"""Filters on networks and addresses."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError

from kubeproof.settings import families, proxies
from kubeproof.settings.addresses import ipv6_of_hosts, of_hosts
from kubeproof.settings.urls import in_url


def nth_address(network: Any, number: int) -> str:
    """Of a network, one address by its number: the 10th of ``10.96.0.0/16`` is ``10.96.0.10``.

    Of a setting with several networks, it is the first one's.
    """
    try:
        return str(ipaddress.ip_network(families.listed(network)[0])[number])
    except (ValueError, IndexError) as error:
        raise AnsibleFilterError(f"nth_address: {network!r} has no address number {number}: {error}") from error


def pod_routes(
    addresses: Mapping[str, str], networks: Mapping[str, Any], host: str, ipv6: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The gateway to each pod network but a host's own. ``networks`` is by the API paths of the nodes that exist.

    A node has one network, or a list with one of each family. ``ipv6``: the nodes' IPv6 addresses, where these are
    not the only ones.
    """
    gateways = {4: addresses, 6: ipv6 or addresses}
    others = {name: networks.get(f"/api/v1/nodes/{name}") for name in sorted(addresses) if name != host}
    return {
        network: gateways[ipaddress.ip_network(network).version][name]
        for name, found in others.items()
        for network in families.listed(found or [])
    }


def network_of_family(value: Any, version: int) -> str:
    """The first network or address of IP version 4 or 6; empty if there is none."""
    return families.of_family(value, version)


def other_addresses(addresses: Mapping[str, str], host: str) -> list[str]:
    """The addresses of all hosts but one, in the order of names."""
    return [address for name, address in sorted(addresses.items()) if name != host]


def health_checks(addresses: list[str], url: str, **more: str) -> list[dict[str, str]]:
    """``component_service``'s ``gate``: one check for each address, which goes where ``url`` has ``{}``."""
    return [{"url": url.format(in_url(address)), **more} for address in addresses]


def interface_of(report: Mapping[str, Any], address: str) -> str:
    """The network interface that has an address, of those in a host's report; the default route's if none has."""
    for name, interface in report["interfaces"].items():
        if address in {entry.partition("/")[0] for entry in interface["addresses"]}:
            return str(name)
    route = report["default_route_ipv6" if ":" in address else "default_route"]
    return str((route or {}).get("interface", ""))


def ip_addresses(values: list[str]) -> list[str]:
    """Those of the values that are IP addresses."""
    return [value for value in values if _is_address(value)]


def dns_names(values: list[str]) -> list[str]:
    """Those of the values that are no IP addresses."""
    return [value for value in values if not _is_address(value)]


def _is_address(value: str) -> bool:
    try:
        ipaddress.ip_address(value)
    except ValueError:
        return False
    return True


class FilterModule:
    """Registers the filters."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {
            "nth_address": nth_address,
            "network_list": families.listed,
            "network_of_family": network_of_family,
            "host_addresses": of_hosts,
            "host_addresses_ipv6": ipv6_of_hosts,
            "pod_routes": pod_routes,
            "other_addresses": other_addresses,
            "health_checks": health_checks,
            "in_url": in_url,
            "interface_of": interface_of,
            "ip_addresses": ip_addresses,
            "dns_names": dns_names,
            "environment_file": proxies.environment_file,
            "proxy_environment": proxies.environment,
        }
