"""Settings of the cluster's DNS: servers for names outside, zones with servers of their own, hosts. No Ansible."""

from __future__ import annotations

import contextlib
import ipaddress
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from kubeproof.settings import families

PORT = 53
# Of CoreDNS's plugin forward.
MOST_FORWARDERS = 15
# One pod that is down, or is being replaced, must not be all of the cluster's DNS.
LEAST_PODS = 2
# RFC 1035, and the underscore of names that services of a directory have (_msdcs).
_LABEL = re.compile(r"[a-z0-9_]([-a-z0-9_]*[a-z0-9_])?")
_LABEL_LENGTH, _NAME_LENGTH = 63, 253
_FORWARDER = re.compile(r"(?:([0-9.]+)|\[([0-9a-fA-F:.]+)\])(?::([0-9]+))?")
_REVERSE, _REVERSE_IPV6 = ".in-addr.arpa", ".ip6.arpa"
# The first line of a server block: zones and an opening brace, at its beginning.
_BLOCK = re.compile(r"^(\S[^{}#\n]*?)\s*\{\s*(?:#.*)?$", re.MULTILINE)
_SETTINGS = ("cluster_pod_network", "cluster_service_network")


def replicas(wanted: int, nodes: int, nodes_per_replica: int) -> int:
    """The number of pods: what is wanted, or else one for each ``nodes_per_replica`` nodes and at least two."""
    return wanted or max(LEAST_PODS, math.ceil(nodes / max(nodes_per_replica, 1)))


def servers(
    forwarders: Sequence[str], stub_domains: Mapping[str, Sequence[str]], hosts: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """The server blocks of the Corefile: that of all names, and one for each stub domain.

    A name is looked up in the block of the longest zone that it is in and in no other, so each has its own hosts.
    """
    asked = {".": list(forwarders), **{normal(zone): list(given) for zone, given in stub_domains.items()}}
    lines: dict[str, list[str]] = {zone: [] for zone in asked}
    for name, addresses in sorted((normal(name), given) for name, given in hosts.items()):
        lines[_zone_of(name, asked)] += [f"{address} {name}" for address in _listed(addresses)]
    return [{"zone": zone, "forwarders": asked[zone], "hosts": lines[zone]} for zone in sorted(asked)]


def normal(name: str) -> str:
    """A name as CoreDNS compares it: in lower case, and without the dot at its end."""
    return str(name).lower().rstrip(".") or "."


def within(name: str, zone: str) -> bool:
    """Whether a name is a zone or in it; both as ``normal`` has them."""
    return zone in {".", name} or name.endswith(f".{zone}")


def _zone_of(name: str, zones: Iterable[str]) -> str:
    return max((zone for zone in zones if within(name, zone)), key=lambda zone: (zone != ".", len(zone)))


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def problems(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What is wrong with the settings of the cluster's DNS, by setting. Those that are missing are left out."""
    for name in ("dns_replicas", "dns_cache_seconds", "dns_stale_seconds"):
        if int(values.get(name, 0)) < 0:
            yield name, f"{values[name]} is below 0"
    if int(values.get("dns_nodes_per_replica", 1)) < 1:
        yield "dns_nodes_per_replica", f"{values['dns_nodes_per_replica']} is below 1"
    if int(values.get("dns_stale_seconds", 0)) and not int(values.get("dns_cache_seconds", 1)):
        yield "dns_stale_seconds", "nothing is kept that could grow stale: dns_cache_seconds is 0"
    for problem in _forwarders(values.get("dns_forwarders", ()), values):
        yield "dns_forwarders", problem
    yield from _stub_domains(values)
    yield from _hosts(values)


def _forwarders(given: Sequence[Any], values: Mapping[str, Any]) -> Iterator[str]:
    networks = values.get(_SETTINGS[0], "")
    families_known = tuple(version for version in (4, 6) if families.of_family(networks, version)) or (4,)
    for each in given:
        problem = _forwarder(str(each), str(values.get("cluster_dns_address", "")), families_known)
        if problem:
            yield f"{each!r} {problem}"
    if len(given) > MOST_FORWARDERS:
        yield f"{len(given)} are more than {MOST_FORWARDERS}, which is the most that CoreDNS asks"


def _forwarder(given: str, own: str, versions: Sequence[int]) -> str:
    """What is wrong with a server to be asked, as ADDRESS, ADDRESS:PORT or [ADDRESS]:PORT; empty if nothing is.

    ``versions``: of IP, those of which pods have addresses.
    """
    found = _FORWARDER.fullmatch(given)
    try:
        address = ipaddress.ip_address((found[1] or found[2]) if found else given)
    except ValueError:
        address = None
    if address is None or address.version not in versions:
        told = " or ".join(f"IPv{version}" for version in versions)
        port = " or ".join({4: ":PORT", 6: "[ADDRESS]:PORT"}[version] for version in versions)
        return f"is not an {told} address, or one with {port} (servers are asked by {told}, and none by TLS)"
    if isinstance(address, ipaddress.IPv6Address) and (address.scope_id or address.is_link_local):
        return "holds on one link only, and pods are not on it"
    if found and found[3] and not 1 <= int(found[3]) <= 65535:
        return f"has port {found[3]}, which is none"
    if address.is_loopback or address.is_unspecified:
        return "is CoreDNS itself, in its pods: it would ask itself"
    if address.is_multicast or str(address) == "255.255.255.255":
        return "is no address of a server"
    return "is the address of the cluster's DNS: it would ask itself" if str(address) == own else ""


def _stub_domains(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    setting, seen = "dns_stub_domains", set[str]()
    further = set(_blocks(str(values.get("dns_extra_config") or "")))
    for given, asked in sorted((values.get(setting) or {}).items(), key=str):
        zone = normal(given)
        problem = _zone_problem(str(given), values)
        if problem:
            yield setting, problem
        elif zone in seen:
            yield setting, f"{zone} is there twice"
        elif zone in further:
            yield setting, f"{zone} has a server block in dns_extra_config too, and CoreDNS takes one only"
        seen.add(zone)
        if not isinstance(asked, (list, tuple)) or not asked:
            yield setting, f"{given}: its servers are a list, and not an empty one, as in {{{given}: [192.0.2.53]}}"
            continue
        for told in _forwarders(asked, values):
            yield setting, f"{given}: {told}"


def _zone_problem(given: str, values: Mapping[str, Any]) -> str:
    zone = normal(given)
    if zone == ".":
        return "'.' is all names outside the cluster: set dns_forwarders for them"
    if not is_name(zone):
        return f"{given!r} is not a domain name"
    domain = normal(values.get("cluster_domain", ""))
    if domain != "." and (within(zone, domain) or within(domain, zone)):
        return f"{zone} would take names of the cluster's own domain, {domain}, to servers outside"
    for setting, network in ((setting, network) for network in _reversed(zone) for setting in _SETTINGS):
        try:
            own = ipaddress.ip_network(families.of_family(values.get(setting, ""), network.version))
        except ValueError:
            continue
        if network.overlaps(own):
            return f"{zone} would take the names of addresses in {setting} {own} to servers outside"
    return ""


def _reversed(zone: str) -> list[families.Network]:
    """The networks whose addresses have their names in a zone; none for other zones."""
    found: list[families.Network] = []
    if zone in {"arpa", _REVERSE[1:]}:
        found.append(ipaddress.IPv4Network("0.0.0.0/0"))
    if zone in {"arpa", _REVERSE_IPV6[1:]}:
        found.append(ipaddress.IPv6Network("::/0"))
    octets = zone.removesuffix(_REVERSE).split(".")[::-1] if zone.endswith(_REVERSE) else []
    # The labels of IPv6 are the digits of addresses, the last one first (RFC 3596, 2.5).
    digits = zone.removesuffix(_REVERSE_IPV6).split(".")[::-1] if zone.endswith(_REVERSE_IPV6) else []
    with contextlib.suppress(ValueError):
        if octets:
            found.append(ipaddress.IPv4Network((".".join([*octets, "0", "0", "0"][:4]), 8 * len(octets))))
        if digits:
            found.append(ipaddress.IPv6Network((int("".join(digits).ljust(32, "0"), 16), 4 * len(digits))))
    return found


def _hosts(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    setting, seen = "dns_hosts", set[str]()
    domain = normal(values.get("cluster_domain", ""))
    for given, addresses in sorted((values.get(setting) or {}).items(), key=str):
        name = normal(given)
        if not is_name(name):
            yield setting, f"{given!r} is not a name of a host"
        elif domain != "." and within(name, domain):
            yield setting, f"{name} is in the cluster's own domain, whose names are those of its Services"
        elif name in seen:
            yield setting, f"{name} is there twice"
        seen.add(name)
        listed = _listed(addresses)
        wrong = [each for each in listed if not _is_address(each)]
        if wrong or not listed:
            told = f"{wrong[0]!r} is not an IP address" if wrong else "it has no address"
            yield setting, f"{given}: {told}"


def is_name(name: str) -> bool:
    """Whether it is a DNS name, in lower case, as hosts and services have it."""
    labels = name.split(".")
    return len(name) <= _NAME_LENGTH and all(_LABEL.fullmatch(each) and len(each) <= _LABEL_LENGTH for each in labels)


def _is_address(value: Any) -> bool:
    try:
        ipaddress.ip_address(str(value))
    except ValueError:
        return False
    return True


def _blocks(further: str) -> Iterator[str]:
    """The zones of server blocks in a part of a Corefile."""
    for zones in _BLOCK.findall(further):
        for zone in re.split(r"[\s,]+", zones):
            yield normal(re.sub(r"^dns://", "", zone).partition(":")[0])
