"""Addresses for Services of type LoadBalancer: what is set, and what of it cannot be meant. No Ansible."""

from __future__ import annotations

import ipaddress
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kubeproof.settings import families

SETTING = "metallb_addresses"
# Settings with networks that have other purposes.
_NETWORKS = ("cluster_pod_network", "cluster_service_network")
_EXAMPLE = "192.0.2.64/28 or 192.0.2.64-192.0.2.79"

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True)
class Range:
    """Addresses from ``first`` to ``last``, both included, as ``text`` has them."""

    text: str
    first: Address
    last: Address

    def __contains__(self, address: Address) -> bool:
        """Whether it has an address."""
        return self.first.version == address.version and int(self.first) <= int(address) <= int(self.last)

    def overlaps(self, other: Range) -> bool:
        """Whether two have an address in common."""
        return other.first in self or self.first in other


def on(values: Mapping[str, Any]) -> bool:
    """Whether MetalLB is installed."""
    return bool(values.get(SETTING))


def parsed(text: str) -> Range:
    """A network, or two addresses joined by a dash. Raises ValueError, which says what is wrong with it."""
    first, dash, last = text.partition("-")
    if dash:
        ends = [_address(part.strip()) for part in (first, last)]
        if ends[0].version != ends[1].version:
            raise ValueError("begins and ends in different IP families")
        if int(ends[0]) > int(ends[1]):
            raise ValueError(f"ends before it begins; write {ends[1]}-{ends[0]}")
        return _usable(Range(text, ends[0], ends[1]))
    if "/" not in text:
        address = _address(text)
        raise ValueError(f"is one address; write {address}/{address.max_prefixlen}")
    try:
        network = ipaddress.ip_interface(text).network
    except ValueError:
        raise ValueError(f"is neither a network nor a range of addresses, like {_EXAMPLE}") from None
    if right := families.with_prefix(text):
        raise ValueError(f"has a netmask; write {right}")
    if ipaddress.ip_interface(text).ip != network[0]:
        raise ValueError(f"is not the beginning of a network; {network} is one")
    return _usable(Range(text, network[0], network[-1]))


def _address(text: str) -> Address:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise ValueError(f"is neither a network nor a range of addresses, like {_EXAMPLE}") from None
    if isinstance(address, ipaddress.IPv6Address) and address.scope_id:
        raise ValueError("names an interface")
    return address


def _usable(given: Range) -> Range:
    for address in (given.first, given.last):
        if address.is_loopback or address.is_unspecified or address.is_multicast or address.is_link_local:
            raise ValueError(f"has {address}, at which no host is reached from others")
    return given


def ranges(values: Mapping[str, Any]) -> list[Range]:
    """Those of the setting that are right."""
    found = []
    for each in values.get(SETTING) or []:
        try:
            found.append(parsed(str(each)))
        except ValueError:
            continue
    return found


def problems(values: Mapping[str, Any], hosts: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """What is wrong with the setting. ``hosts``: addresses by host, as the inventory or the host itself has them."""
    for each in values.get(SETTING) or []:
        try:
            parsed(str(each))
        except ValueError as error:
            yield f"{each!r} {error}"
    sound = ranges(values)
    for one, other in itertools.combinations(sound, 2):
        if one.overlaps(other):
            yield f"{one.text} and {other.text} overlap"
    for name, network in _networks(values):
        for each in sound:
            if each.overlaps(Range("", network[0], network[-1])):
                yield f"{each.text} overlaps {name} {network}, whose addresses are given away by Kubernetes"
    services = values.get(_NETWORKS[1], "")
    known = {version for version in (4, 6) if families.of_family(services, version)} or {4}
    for version in sorted({each.first.version for each in sound} - known):
        yield (
            f"has IPv{version} addresses, but Services have none: cluster_service_network has no IPv{version} network"
        )
    yield from taken(sound, hosts)
    virtual = str(values.get("cluster_virtual_address") or "")
    yield from taken(sound, {"cluster_virtual_address": [virtual]})


def taken(sound: Sequence[Range], hosts: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Ranges with addresses that are in use. What is no address is left out."""
    for host, addresses in hosts.items():
        for text in addresses:
            try:
                address = ipaddress.ip_address(text)
            except ValueError:
                continue
            for each in sound:
                if address in each:
                    yield f"{each.text} has {address} in it, which is {_whose(host)}"


def _whose(host: str) -> str:
    return host if host.startswith("cluster_") else f"an address of {host}"


def _networks(values: Mapping[str, Any]) -> Iterator[tuple[str, families.Network]]:
    for name in _NETWORKS:
        try:
            found = families.parsed(values.get(name, ""))
        except ValueError:
            continue
        yield from ((name, network) for network in found)
