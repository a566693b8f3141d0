"""Checks of networks, addresses, and names in DNS."""

from __future__ import annotations

import ipaddress
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kubeproof.preflight.findings import Finding
from kubeproof.preflight.model import GROUPS, NODES, Host, Network, interface_networks, main_interfaces

# k8s.io/kubernetes cmd/kube-apiserver/app/options/validation.go: at most 20 bits of addresses; and room for some.
SERVICE_PREFIXES = range(12, 30)
# RFC 1123, as k8s.io/apimachinery/pkg/util/validation has it.
LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
LABEL_LENGTH, NAME_LENGTH = 63, 253
# Of a certificate's common name (RFC 5280, appendix A.1, ub-common-name), and what is left of it.
COMMON_NAME_LENGTH = 64
NODE_NAME_LENGTH = COMMON_NAME_LENGTH - len("system:node:")
CLUSTER_NAME_LENGTH = COMMON_NAME_LENGTH - len(" front-proxy CA")
# In a node's network, these are not for pods: the network's own, the bridge's, the broadcast.
NOT_PODS = 3
IPV6 = "kubeproof supports IPv4 only: no IPv6, no dual stack."


def valid_name(name: str) -> bool:
    """Whether it is an RFC 1123 subdomain: labels of lower-case letters, digits and inner dashes, joined by dots."""
    labels = name.split(".")
    return len(name) <= NAME_LENGTH and all(LABEL.fullmatch(label) and len(label) <= LABEL_LENGTH for label in labels)


def check_networks(values: Mapping[str, Any], nodes: int) -> Iterator[Finding]:
    """The settings on networks and the domain, for so many nodes. Those that are missing are left out."""
    if "cluster_domain" in values and not valid_name(str(values["cluster_domain"])):
        wrong = f"cluster_domain {values['cluster_domain']!r} is not a domain name"
        remediation = "Use lower-case letters, digits and inner dashes in labels joined by dots, as in cluster.local."
        yield Finding("domain", wrong, remediation, "cluster_domain")
    for name in ("cluster_pod_network", "cluster_service_network"):
        yield from _network_problem(name, values)
    known = cluster_networks(values)
    pods, services = known.get("cluster_pod_network"), known.get("cluster_service_network")
    if pods and services and pods.overlaps(services):
        wrong = f"cluster_pod_network {pods} and cluster_service_network {services} overlap"
        yield Finding("network-overlap", wrong, "Set one of them to another network.", "cluster_service_network")
    if pods and "cluster_pod_network_prefix" in values:
        pods_on_node = int(values.get("kubelet_max_pods", 0))
        yield from _pod_network(pods, int(values["cluster_pod_network_prefix"]), nodes, pods_on_node)
    if services and "cluster_dns_address" in values:
        yield from _service_network(services, str(values["cluster_dns_address"]))


def _network_problem(name: str, values: Mapping[str, Any]) -> Iterator[Finding]:
    value = str(values.get(name, "0.0.0.0/0"))
    try:
        if ipaddress.ip_network(value).version == 6:
            yield Finding("ipv6", f"{name} {value} is an IPv6 network", IPV6, name)
    except ValueError as error:
        if "," in value:
            yield Finding("ipv6", f"{name} {value!r} is more than one network", IPV6, name)
        else:
            yield Finding("network", f"{name}: {error}", "Write a network like 10.244.0.0/16.", name)


def cluster_networks(values: Mapping[str, Any]) -> dict[str, ipaddress.IPv4Network]:
    """The cluster's networks by setting, if they are IPv4 networks; :func:`check_networks` tells of others."""
    found: dict[str, ipaddress.IPv4Network] = {}
    for name in ("cluster_pod_network", "cluster_service_network"):
        try:
            found[name] = ipaddress.IPv4Network(str(values[name]))
        except (KeyError, ValueError):
            continue
    return found


def _pod_network(pods: ipaddress.IPv4Network, prefix: int, nodes: int, pods_on_node: int) -> Iterator[Finding]:
    if not pods.prefixlen <= prefix <= 29:
        wrong = f"cluster_pod_network_prefix is {prefix}; within {pods} it may be {pods.prefixlen} to 29"
        yield Finding("network-prefix", wrong, "24 gives a node 256 addresses.", "cluster_pod_network_prefix")
        return
    room, addresses = 2 ** (prefix - pods.prefixlen), 2 ** (32 - prefix) - NOT_PODS
    if room < nodes:
        wrong = f"cluster_pod_network {pods} has room for {room} nodes' networks of /{prefix}; there are {nodes} nodes"
        yield Finding("network-small", wrong, "Widen it, or raise cluster_pod_network_prefix.", "cluster_pod_network")
    if addresses < pods_on_node:
        wrong = f"a node's network of /{prefix} has {addresses} addresses for pods; kubelet_max_pods is {pods_on_node}"
        remediation = "Lower one of cluster_pod_network_prefix and kubelet_max_pods."
        yield Finding("network-small", wrong, remediation, "cluster_pod_network_prefix", severity="warning")


def _service_network(services: ipaddress.IPv4Network, dns: str) -> Iterator[Finding]:
    name = "cluster_dns_address"
    if services.prefixlen not in SERVICE_PREFIXES:
        wrong = f"cluster_service_network {services} has a prefix of {services.prefixlen}"
        yield Finding("network-prefix", wrong, "kube-apiserver accepts /12 to /29.", "cluster_service_network")
        return
    remediation = f"For example {services[min(10, services.num_addresses - 2)]}."
    taken = {services[0]: "the network's own", services[1]: "that of the API", services[-1]: "the broadcast"}
    try:
        address = ipaddress.IPv4Address(dns)
    except ValueError:
        yield Finding("dns-address", f"{name} {dns!r} is not an IPv4 address", remediation, name)
        return
    if address not in services:
        yield Finding(
            "dns-address", f"{name} {dns} is not within cluster_service_network {services}", remediation, name
        )
    elif address in taken:
        yield Finding("dns-address", f"{name} {dns} is {taken[address]} address in {services}", remediation, name)


def check_policies(values: Mapping[str, Any]) -> Iterator[Finding]:
    """Whether NetworkPolicies, which the API accepts in any case, have an effect, and none but theirs."""
    if values.get("network_policy_engine") == "none":
        wrong = "network_policy_engine is none: NetworkPolicies are accepted, and kubeproof enforces none of them"
        remediation = (
            "Set it to kube-router. If no workload relies on policies, or a network of your own enforces them, add "
            "network-policy to preflight_ignore."
        )
        yield Finding("network-policy", wrong, remediation, severity="warning")
    elif values.get("network_policy_new_pods") == "isolated":
        yield from _isolation(str(values.get("pod_network_plugin")), str(values.get("pod_network_flannel_backend")))


def _isolation(network: str, backend: str) -> Iterator[Finding]:
    """Networks whose packets have senders or receivers that the engine takes for pods that it does not know yet."""
    if network == "flannel" and backend == "vxlan":
        wrong = (
            "network_policy_new_pods is isolated, and pod_network_flannel_backend is vxlan: what nodes themselves send "
            "to pods of other nodes has the address of flannel's device, which is in the node's pod network and no "
            "pod's, and would be rejected as from a new pod"
        )
        remediation = (
            "Set network_policy_new_pods: open; or, if the nodes share one network segment, "
            "pod_network_flannel_backend: host-gw."
        )
        yield Finding("network-policy", wrong, remediation)
    if network == "none":
        wrong = (
            "network_policy_new_pods is isolated, and pod_network_plugin is none: in a node's spec.podCIDR everything "
            "is rejected that is no pod's address; addresses elsewhere are never isolated"
        )
        remediation = (
            "Set network_policy_new_pods: open. If your network gives pods addresses in spec.podCIDR, and takes none "
            "of these for nodes, add network-policy to preflight_ignore."
        )
        yield Finding("network-policy", wrong, remediation, severity="warning")


def check_addresses(hosts: Sequence[Host], networks: Mapping[str, Network]) -> Iterator[Finding]:
    """The inventory's addresses: each an IPv4 address of one host, and in none of the cluster's networks."""
    first: dict[str, str] = {}
    for host in hosts:
        if not host.address:
            continue
        problem = _address_problem(host.address)
        if problem:
            wrong = f"its address {host.address!r} (cluster_host_address) {problem[0]}"
            yield Finding("address", wrong, problem[1], host.address, host.name)
            continue
        other = first.setdefault(host.address, host.name)
        if other != host.name:
            wrong = f"its address {host.address} is also that of {other}"
            remediation = "Correct ansible_host or cluster_host_address."
            yield Finding("duplicate-address", wrong, remediation, host.address, host.name)
        for setting, network in networks.items():
            if ipaddress.ip_address(host.address) in network:
                wrong = f"its address {host.address} is within {setting} {network}"
                yield Finding("network-overlap", wrong, f"Set {setting} to another network.", setting, host.name)


def check_virtual_address(
    value: str, hosts: Sequence[Host], networks: Mapping[str, ipaddress.IPv4Network]
) -> Iterator[Finding]:
    """The address that a control-plane host is to hold besides its own; an empty one is none."""
    name = "cluster_virtual_address"
    if not value:
        return
    problem = _address_problem(value)
    if problem:
        wrong = f"{name} {value!r} {problem[0]}"
        yield Finding("address", wrong, "Set it to an unused address in the control-plane hosts' network.", name)
        return
    owner = next((host.name for host in hosts if host.address == value), "")
    if owner:
        remediation = "Set it to an address that no host has: it moves from host to host."
        yield Finding("duplicate-address", f"{name} {value} is the address of {owner}", remediation, name)
    for setting, network in networks.items():
        if ipaddress.ip_address(value) in network:
            wrong = f"{name} {value} is within {setting} {network}"
            yield Finding("network-overlap", wrong, "Set it to an address in the hosts' network.", name)


def _address_problem(value: str) -> tuple[str, str] | None:
    """What is wrong with an address, and its remediation."""
    try:
        address = ipaddress.ip_address(value)
    except ValueError:
        remediation = "Set ansible_host or cluster_host_address to the address at which other hosts reach this host."
        return "is not an IP address", remediation
    if address.version == 6:
        return "is an IPv6 address", IPV6
    if address.is_loopback:
        # Kubernetes has it so of nodes and Endpoints (k8s.io/kubernetes pkg/kubelet/kubelet_node_status.go,
        # pkg/apis/core/validation), however many there are.
        remediation = (
            "Set cluster_host_address to the address of an interface of the host (ip -4 address show); ansible_host "
            "may stay as it is."
        )
        return "is a loopback address, which Kubernetes accepts for no node, not even a single one", remediation
    if address.is_unspecified or address.is_multicast:
        return "is not an address at which other hosts can reach it", "Set cluster_host_address."
    return None


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
                remediation = (
                    f"Set {setting} to another network; or, if another installation left {name} behind, remove it."
                )
                yield Finding("network-overlap", wrong, remediation, setting, host.name)


def check_names(hosts: Sequence[Host]) -> Iterator[Finding]:
    """Nodes are named as in the inventory; a name is also in the common name of the kubelet's certificate."""
    for host in hosts:
        if host.node and not (valid_name(host.name) and len(host.name) <= NODE_NAME_LENGTH):
            wrong = f"{host.name!r} is not a valid node name"
            remediation = (
                "Rename the host: lower-case letters, digits, inner dashes, and dots; at most "
                f"{NODE_NAME_LENGTH} characters, since system:node:NAME is the common name of a certificate."
            )
            yield Finding("node-name", wrong, remediation, host.name, host.name)
        elif len(host.name) > COMMON_NAME_LENGTH and host.within(GROUPS):
            wrong = f"the host name {host.name!r} has {len(host.name)} characters"
            remediation = (
                f"Shorten it: it is the common name of a certificate, at most {COMMON_NAME_LENGTH} characters."
            )
            yield Finding("host-name", wrong, remediation, host.name, host.name)


def node_count(groups: Mapping[str, Sequence[str]]) -> int:
    """Number of nodes in an inventory's groups."""
    return len({host for group in NODES for host in groups.get(group, ())})
