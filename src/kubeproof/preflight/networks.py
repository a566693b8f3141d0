"""Checks of networks, addresses and names in DNS."""

from __future__ import annotations

import ipaddress
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kubeproof.preflight.findings import SETTINGS, Finding
from kubeproof.preflight.model import CONTROL_PLANE, WORKERS, Host, Network, interface_networks, main_interfaces

# k8s.io/kubernetes cmd/kube-apiserver/app/options/validation.go: at most 20 bits of addresses, and at least 8.
SERVICE_PREFIXES = range(12, 30)
# RFC 1123, as k8s.io/apimachinery/pkg/util/validation has it.
LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
LABEL_LENGTH, NAME_LENGTH = 63, 253
IPV6 = "kubeproof supports IPv4 only so far: no IPv6 and no dual stack."


def valid_name(name: str) -> bool:
    """Whether it is an RFC 1123 subdomain in lower case: labels of letters, digits and inner dashes, joined by dots."""
    labels = name.split(".")
    return len(name) <= NAME_LENGTH and all(LABEL.fullmatch(label) and len(label) <= LABEL_LENGTH for label in labels)


def check_networks(settings: Mapping[str, Any], nodes: int) -> Iterator[Finding]:
    """The ``cluster_…`` settings on networks and the domain, by their names without prefix, for so many nodes."""
    findings: list[Finding] = []
    pods = _network("pod_network", settings, findings)
    services = _network("service_network", settings, findings)
    yield from findings
    if pods and services and pods.overlaps(services):
        yield _wrong(
            "network-overlap", "service_network", f"cluster_pod_network {pods} and cluster_service_network {services} overlap",
            "Give them networks of their own.",
        )  # fmt: skip
    if pods:
        yield from _pod_network(pods, int(settings["pod_network_prefix"]), nodes)
    if services:
        yield from _service_network(services, str(settings["dns_address"]))
    if not valid_name(str(settings["domain"])):
        wrong = f"cluster_domain {settings['domain']!r} is no domain name"
        yield _wrong("domain", "domain", wrong, "Use lower-case letters, digits, dashes and dots, as in cluster.local.")


def _wrong(identity: str, setting: str, wrong: str, mend: str) -> Finding:
    return Finding(identity, f"cluster_{setting}", SETTINGS, wrong, mend)


def _network(name: str, settings: Mapping[str, Any], findings: list[Finding]) -> ipaddress.IPv4Network | None:
    """A setting as an IPv4 network; if it is none, ``None`` and a finding."""
    value = str(settings[name])
    try:
        network = ipaddress.ip_network(value)
    except ValueError as error:
        if "," in value:
            findings.append(_wrong("ipv6", name, f"cluster_{name} {value!r} is more than one network", IPV6))
        else:
            findings.append(_wrong("network", name, f"cluster_{name}: {error}", "Write a network as 10.244.0.0/16."))
        return None
    if isinstance(network, ipaddress.IPv6Network):
        findings.append(_wrong("ipv6", name, f"cluster_{name} {value} is an IPv6 network", IPV6))
        return None
    return network


def _pod_network(pods: ipaddress.IPv4Network, prefix: int, nodes: int) -> Iterator[Finding]:
    if not pods.prefixlen <= prefix <= 29:
        wrong = f"cluster_pod_network_prefix is {prefix}; in cluster_pod_network {pods} it may be {pods.prefixlen} to 29"
        yield _wrong("network-prefix", "pod_network_prefix", wrong, "24 leaves 254 addresses a node.")
        return
    room = 2 ** (prefix - pods.prefixlen)
    if room < nodes:
        wrong = f"cluster_pod_network {pods} holds {room} node networks of /{prefix}; there are {nodes} nodes"
        yield _wrong("network-small", "pod_network", wrong, "Widen it, or raise cluster_pod_network_prefix.")


def _service_network(services: ipaddress.IPv4Network, dns: str) -> Iterator[Finding]:
    if services.prefixlen not in SERVICE_PREFIXES:
        wrong = f"cluster_service_network {services} has a prefix of {services.prefixlen}"
        yield _wrong("network-prefix", "service_network", wrong, "kube-apiserver takes /12 to /29.")
        return
    try:
        address = ipaddress.ip_address(dns)
    except ValueError:
        yield _wrong("dns-address", "dns_address", f"cluster_dns_address {dns!r} is no IP address", f"Use {services[10]}.")
        return
    taken = {services[0]: "its network's own", services[1]: "the API's (service kubernetes)", services[-1]: "its broadcast"}
    if address not in services:
        wrong = f"cluster_dns_address {dns} is not within cluster_service_network {services}"
    elif address in taken:
        wrong = f"cluster_dns_address {dns} is {taken[ipaddress.IPv4Address(dns)]} address in {services}"
    else:
        return
    yield _wrong("dns-address", "dns_address", wrong, f"Use {services[min(10, services.num_addresses - 2)]}.")


def check_addresses(hosts: Sequence[Host], networks: Mapping[str, Network]) -> Iterator[Finding]:
    """The inventory's addresses: each an IPv4 address of one host, and in none of the cluster's networks."""
    seen: dict[str, str] = {}
    for host in hosts:
        problem = _address_problem(host.address, alone=len(hosts) == 1)
        if problem:
            wrong = f"cluster_host_address {host.address!r} {problem[0]}"
            yield Finding("address", host.address, host.name, wrong, problem[1])
            continue
        if seen.setdefault(host.address, host.name) != host.name:
            wrong = f"its address {host.address} is that of {seen[host.address]} too"
            yield Finding("duplicate-address", host.address, host.name, wrong, "Correct ansible_host or cluster_host_address.")
        for setting, network in networks.items():
            if ipaddress.ip_address(host.address) in network:
                wrong = f"its address {host.address} is within {setting} {network}"
                yield Finding("network-overlap", setting, host.name, wrong, f"Choose another {setting}.")


def _address_problem(value: str, *, alone: bool) -> tuple[str, str] | None:
    """What is wrong with an address and how to mend it."""
    try:
        address = ipaddress.ip_address(value)
    except ValueError:
        return "is no IP address", "Set ansible_host or cluster_host_address to the address at which other hosts reach it."
    if isinstance(address, ipaddress.IPv6Address):
        return "is an IPv6 address", IPV6
    if address.is_unspecified or address.is_multicast or (address.is_loopback and not alone):
        return "is not one at which other hosts reach it", "Set cluster_host_address."
    return None


def cluster_networks(settings: Mapping[str, Any]) -> dict[str, Network]:
    """The valid ones of the cluster's networks by setting; :func:`check_networks` tells of the others."""
    found: dict[str, Network] = {}
    for name in ("pod_network", "service_network"):
        try:
            found[f"cluster_{name}"] = ipaddress.ip_network(str(settings[name]))
        except ValueError:
            continue
    return found


def check_interfaces(hosts: Sequence[Host], networks: Mapping[str, Network]) -> Iterator[Finding]:
    """Networks that a host is on already must not be among the cluster's."""
    for host in hosts:
        if host.report is None:
            continue
        # Where kubeproof is installed, the interfaces of pods and services are its own; those to the outside never are.
        outside = main_interfaces(host)
        entries = [
            (name, network)
            for name, network in interface_networks(host.report)
            if name in outside or not host.report["installed"]["manifest"]
        ]
        for (name, network), (setting, wanted) in itertools.product(entries, networks.items()):
            if network.version == wanted.version and network.overlaps(wanted):
                wrong = f"its interface {name} is on {network}, which overlaps {setting} {wanted}"
                mend = f"Choose another {setting}; or if {name} is left from another installation, remove it."
                yield Finding("network-overlap", setting, host.name, wrong, mend)


def check_names(hosts: Sequence[Host]) -> Iterator[Finding]:
    """Nodes are named as in the inventory; a name is also the value of the label kubernetes.io/hostname."""
    for host in hosts:
        if host.node and not (valid_name(host.name) and len(host.name) <= LABEL_LENGTH):
            wrong = f"{host.name!r} cannot be the name of a node"
            mend = f"Rename it in the inventory: lower-case letters, digits, dashes and dots, at most {LABEL_LENGTH} in all."
            yield Finding("node-name", host.name, host.name, wrong, mend)


def node_count(groups: Mapping[str, Sequence[str]]) -> int:
    """Number of nodes in an inventory's groups."""
    return len({*groups.get(CONTROL_PLANE, ()), *groups.get(WORKERS, ())})
