"""Checks of networks, addresses, and names in DNS."""

from __future__ import annotations

import ipaddress
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kubeproof.preflight.findings import Finding
from kubeproof.preflight.model import (
    GROUPS,
    NODES,
    Host,
    Network,
    interface_networks,
    main_interfaces,
    plain_addresses,
)
from kubeproof.settings import families, metallb

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
# Of an IPv6 network of Services: at most 20 bits as well; and room for the tenth address, which is that of DNS.
SERVICE_PREFIXES_IPV6 = range(108, 125)
# k8s.io/kubernetes pkg/controller/nodeipam/ipam/cidrset/cidr_set.go, clusterSubnetMaxDiff: bits that number the nodes.
NODE_BITS_IPV6 = 16
NETWORKS = ("cluster_pod_network", "cluster_service_network")
# Values of pod_network_plugin whose networks enforce NetworkPolicies.
ENFORCING = ("calico", "cilium")
# IP families that a cluster may have, the first of them that by which hosts reach each other.
FAMILIES = ([4], [4, 6], [6])
ORDER = (
    "Set one network; or an IPv4 and an IPv6 network in this order, as 10.244.0.0/16,fd00:10:244::/56: hosts reach "
    "each other by IPv4 then, and IPv6 comes second."
)
_BALANCED = (
    "Name addresses of the nodes' network that nothing else uses and that no DHCP server gives away; "
    "docs/operations/service-addresses.md describes them."
)
# By what hosts reach each other in a cluster, what to do about an address of the other family.
_OTHER_FAMILY = {
    4: "Set it to an IPv4 address; that for a cluster with IPv6 networks goes into cluster_host_address_ipv6.",
    6: (
        "Set it to an IPv6 address, by which hosts reach each other in a cluster of IPv6 alone; ansible_host may stay "
        "as it is. Or set cluster_pod_network and cluster_service_network to an IPv4 and an IPv6 network each."
    ),
}


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
    for name in NETWORKS:
        yield from _network_problem(name, values)
    known = cluster_networks(values)
    pods, services = (known.get(name, []) for name in NETWORKS)
    yield from _together(pods, services)
    for network in pods:
        setting = "cluster_pod_network_prefix" + ("_ipv6" if network.version == 6 else "")
        if setting in values:
            pods_on_node = int(values.get("kubelet_max_pods", 0))
            yield from _pod_network(network, setting, int(values[setting]), nodes, pods_on_node)
    for network in services:
        # The address of DNS is of the first network, and in an IPv6 network after it the tenth.
        dns = str(values["cluster_dns_address"]) if network == services[0] and "cluster_dns_address" in values else None
        if network.version == 6:
            yield from _ipv6_service_network(network, dns)
        elif dns is not None:
            yield from _service_network(network, dns)
    yield from _of_one_family(values)


def _together(pods: Sequence[Network], services: Sequence[Network]) -> Iterator[Finding]:
    """What is wrong with the networks of both settings beside each other."""
    setting = "cluster_service_network"
    if pods and services and [each.version for each in pods] != [each.version for each in services]:
        told = [", ".join(map(str, networks)) for networks in (pods, services)]
        wrong = f"cluster_pod_network {told[0]} and {setting} {told[1]} are not of the same IP families"
        yield Finding("ipv6", wrong, f"{ORDER} Set both settings alike.", setting)
    for one, other in itertools.product(pods, services):
        if one.version == other.version and one.overlaps(other):
            wrong = f"cluster_pod_network {one} and {setting} {other} overlap"
            yield Finding("network-overlap", wrong, "Set one of them to another network.", setting)


def _network_problem(name: str, values: Mapping[str, Any]) -> Iterator[Finding]:
    if name not in values:
        return
    value = families.joined(values[name])
    try:
        versions = [network.version for network in families.parsed(values[name])]
    except ValueError as error:
        yield Finding("network", f"{name}: {error}", "Write a network like 10.244.0.0/16.", name)
        return
    if not versions:
        yield Finding("network", f"{name} is empty", "Write a network like 10.244.0.0/16.", name)
    elif versions not in FAMILIES:
        told = "has IPv6 first" if versions == [6, 4] else "is more than one network of each family"
        yield Finding("ipv6", f"{name} {value} {told}", ORDER, name)


def cluster_networks(values: Mapping[str, Any]) -> dict[str, list[Network]]:
    """The cluster's networks by setting, each an IPv4 network, and maybe an IPv6 network after it, or an IPv6 network.

    Of settings that have others :func:`check_networks` tells; they are left out.
    """
    found: dict[str, list[Network]] = {}
    for name in NETWORKS:
        try:
            networks = families.parsed(values[name])
        except (KeyError, ValueError):
            continue
        if [network.version for network in networks] in FAMILIES:
            found[name] = networks
    return found


def dual_stack(values: Mapping[str, Any]) -> bool:
    """Whether pods and Services have IPv6 addresses too."""
    return any(len(networks) > 1 for networks in cluster_networks(values).values())


def ipv6_only(values: Mapping[str, Any]) -> bool:
    """Whether pods and Services, and so hosts for each other, have IPv6 addresses alone."""
    return main_family(cluster_networks(values)) == 6


def main_family(known: Mapping[str, Sequence[Network]]) -> int:
    """The version of IP by which hosts reach each other. ``known``: what :func:`cluster_networks` has found."""
    return 6 if known and all(networks[0].version == 6 for networks in known.values()) else 4


def _of_one_family(values: Mapping[str, Any]) -> Iterator[Finding]:
    """What cannot be together with IPv6 alone."""
    network = str(values.get("pod_network_plugin"))
    if ipv6_only(values) and network in ENFORCING:
        wrong = f"cluster_pod_network is an IPv6 network alone, and pod_network_plugin is {network}"
        remediation = (
            "Set pod_network_plugin to bridge, flannel or none; or an IPv4 and an IPv6 network, with which kubeproof "
            f"configures {network}."
        )
        yield Finding("ipv6", wrong, remediation, "pod_network_plugin")


def _pod_network(pods: Network, name: str, prefix: int, nodes: int, pods_on_node: int) -> Iterator[Finding]:
    # The host's bits of a node's network: for at least as many pods as in a /29.
    longest = pods.max_prefixlen - 3
    if pods.version == 6:
        longest = min(longest, pods.prefixlen + NODE_BITS_IPV6)
    if not pods.prefixlen <= prefix <= longest:
        wrong = f"{name} is {prefix}; within {pods} it may be {pods.prefixlen} to {longest}"
        usual = "24 gives a node 256 addresses."
        if pods.version == 6:
            usual = "64 is usual, within a network of /56, which has room for 256 nodes."
        yield Finding("network-prefix", wrong, usual, name)
        return
    room, addresses = 2 ** (prefix - pods.prefixlen), 2 ** (pods.max_prefixlen - prefix) - NOT_PODS
    if room < nodes:
        wrong = f"cluster_pod_network {pods} has room for {room} nodes' networks of /{prefix}; there are {nodes} nodes"
        yield Finding("network-small", wrong, f"Widen it, or raise {name}.", "cluster_pod_network")
    if addresses < pods_on_node:
        wrong = f"a node's network of /{prefix} has {addresses} addresses for pods; kubelet_max_pods is {pods_on_node}"
        remediation = f"Lower one of {name} and kubelet_max_pods."
        yield Finding("network-small", wrong, remediation, name, severity="warning")


def _ipv6_service_network(services: Network, dns: str | None) -> Iterator[Finding]:
    if services.prefixlen not in SERVICE_PREFIXES_IPV6:
        wrong = f"cluster_service_network {services} has a prefix of {services.prefixlen}"
        remediation = "kube-apiserver accepts /108 or longer, and up to /124 there is an address for the cluster's DNS."
        yield Finding("network-prefix", wrong, remediation, "cluster_service_network")
    elif dns is not None:
        yield from _dns_address(services, dns, {services[0]: "the network's own", services[1]: "that of the API"})


def _service_network(services: Network, dns: str) -> Iterator[Finding]:
    if services.prefixlen not in SERVICE_PREFIXES:
        wrong = f"cluster_service_network {services} has a prefix of {services.prefixlen}"
        yield Finding("network-prefix", wrong, "kube-apiserver accepts /12 to /29.", "cluster_service_network")
        return
    taken = {services[0]: "the network's own", services[1]: "that of the API", services[-1]: "the broadcast"}
    yield from _dns_address(services, dns, taken)


def _dns_address(services: Network, dns: str, taken: Mapping[Any, str]) -> Iterator[Finding]:
    name = "cluster_dns_address"
    remediation = f"For example {services[min(10, services.num_addresses - 2)]}."
    try:
        address = ipaddress.ip_address(dns)
    except ValueError:
        address = None
    if address is None or address.version != services.version:
        yield Finding("dns-address", f"{name} {dns!r} is not an IPv{services.version} address", remediation, name)
        return
    if address not in services:
        yield Finding(
            "dns-address", f"{name} {dns} is not within cluster_service_network {services}", remediation, name
        )
    elif address in taken:
        yield Finding("dns-address", f"{name} {dns} is {taken[address]} address in {services}", remediation, name)


def check_policies(values: Mapping[str, Any]) -> Iterator[Finding]:
    """Whether NetworkPolicies, which the API accepts in any case, have an effect, and none but theirs."""
    network = str(values.get("pod_network_plugin"))
    if network in ENFORCING:
        yield from _own_policies(network, values)
    elif values.get("network_policy_engine") == "none":
        wrong = "network_policy_engine is none: NetworkPolicies are accepted, and kubeproof enforces none of them"
        remediation = (
            "Set it to kube-router. If no workload relies on policies, or a network of your own enforces them, add "
            "network-policy to preflight_ignore."
        )
        yield Finding("network-policy", wrong, remediation, severity="warning")
    elif values.get("network_policy_new_pods") == "isolated":
        if dual_stack(values) or ipv6_only(values):
            wrong = "network_policy_new_pods is isolated, and the cluster has IPv6 networks, in which new pods are open"
            yield Finding("network-policy", wrong, "Set network_policy_new_pods: open, or IPv4 networks alone.")
        yield from _isolation(network, str(values.get("pod_network_flannel_backend")))


def _own_policies(network: str, values: Mapping[str, Any]) -> Iterator[Finding]:
    """Two that enforce policies would each reject what the other one lets pass, and our engine does not see eBPF."""
    if values.get("network_policy_engine", "none") != "none":
        wrong = f"network_policy_engine is {values['network_policy_engine']}, and {network} enforces policies by itself"
        remediation = "Remove the setting: with this network it is none by default."
        yield Finding("network-policy", wrong, remediation, "network_policy_engine")
    if values.get("network_policy_new_pods") == "isolated":
        wrong = (
            f"network_policy_new_pods is isolated, which is of kube-router, and {network} enforces policies by itself"
        )
        yield Finding("network-policy", wrong, "Remove the setting.", "network_policy_new_pods")


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


def check_addresses(hosts: Sequence[Host], networks: Mapping[str, Sequence[Network]]) -> Iterator[Finding]:
    """The inventory's addresses: each of one host, of the cluster's IP family, and in none of its networks."""
    first: dict[str, str] = {}
    for host in hosts:
        if not host.address:
            continue
        problem = _address_problem(host.address, main_family(networks))
        if problem:
            wrong = f"its address {host.address!r} (cluster_host_address) {problem[0]}"
            yield Finding("address", wrong, problem[1], host.address, host.name)
            continue
        other = first.setdefault(str(ipaddress.ip_address(host.address)), host.name)
        if other != host.name:
            wrong = f"its address {host.address} is also that of {other}"
            remediation = "Correct ansible_host or cluster_host_address."
            yield Finding("duplicate-address", wrong, remediation, host.address, host.name)
        yield from _within(host.address, networks, host.name)


def check_ipv6_addresses(
    hosts: Sequence[Host], networks: Mapping[str, Sequence[Network]], *, dual: bool
) -> Iterator[Finding]:
    """The second addresses of hosts, which nodes need if pods and Services have IPv6 addresses."""
    first: dict[str, str] = {}
    for host in hosts if dual else ():
        given = host.address_ipv6
        if not given:
            if host.node:
                wrong = "it has no IPv6 address (cluster_host_address_ipv6), and the cluster has IPv6 networks"
                yield Finding("address-ipv6", wrong, f"Set it to {_proposed(host)}.", "", host.name)
            continue
        problem = _ipv6_problem(given)
        if problem:
            wrong = f"its address {given!r} (cluster_host_address_ipv6) {problem}"
            remediation = "Set it to the IPv6 address at which other hosts reach this host (ip -6 address show)."
            yield Finding("address-ipv6", wrong, remediation, given, host.name)
            continue
        other = first.setdefault(str(ipaddress.ip_address(given)), host.name)
        if other != host.name:
            wrong = f"its address {given} is also that of {other}"
            yield Finding("duplicate-address", wrong, "Correct cluster_host_address_ipv6.", given, host.name)
        yield from _within(given, networks, host.name)


def _proposed(host: Host) -> str:
    """An address that a host has, if it is known which."""
    found = [address for each in main_interfaces(host).values() for address in plain_addresses(each) if ":" in address]
    if found:
        return " or ".join(found)
    return "one of the addresses of its interface (ip -6 address show), which must not be link-local"


def _ipv6_problem(given: str) -> str:
    try:
        address = ipaddress.IPv6Address(given)
    except ValueError:
        return "is not an IPv6 address"
    if address.scope_id or address.is_link_local:
        return "holds on one link only, and pods of other hosts could not be sent to it"
    if address.is_loopback or address.is_unspecified or address.is_multicast or address.ipv4_mapped:
        return "is not an address at which other hosts can reach it"
    return ""


def _within(address: str, networks: Mapping[str, Sequence[Network]], host: str) -> Iterator[Finding]:
    for setting, network in _entries(networks):
        if ipaddress.ip_address(address) in network:
            wrong = f"its address {address} is within {setting} {network}"
            yield Finding("network-overlap", wrong, f"Set {setting} to another network.", setting, host)


def _entries(networks: Mapping[str, Sequence[Network]]) -> list[tuple[str, Network]]:
    return [(setting, network) for setting, found in networks.items() for network in found]


def check_virtual_address(
    value: str, hosts: Sequence[Host], networks: Mapping[str, Sequence[Network]]
) -> Iterator[Finding]:
    """The address that a control-plane host is to hold besides its own; an empty one is none."""
    name = "cluster_virtual_address"
    if not value:
        return
    if main_family(networks) == 6:
        wrong = f"{name} is set, and the cluster's networks are of IPv6 alone: only an IPv4 address can move"
        remediation = "Remove it; name what else leads to all API servers, as a load balancer, in cluster_api_names."
        yield Finding("address", wrong, remediation, name)
        return
    problem = _address_problem(value, 4)
    if problem:
        wrong = f"{name} {value!r} {problem[0]}"
        yield Finding("address", wrong, "Set it to an unused address in the control-plane hosts' network.", name)
        return
    owner = next((host.name for host in hosts if host.address == value), "")
    if owner:
        remediation = "Set it to an address that no host has: it moves from host to host."
        yield Finding("duplicate-address", f"{name} {value} is the address of {owner}", remediation, name)
    for setting, network in _entries(networks):
        if ipaddress.ip_address(value) in network:
            wrong = f"{name} {value} is within {setting} {network}"
            yield Finding("network-overlap", wrong, "Set it to an address in the hosts' network.", name)


def check_balanced(values: Mapping[str, Any], hosts: Sequence[Host], place: str = "") -> Iterator[Finding]:
    """The addresses that MetalLB gives to Services. ``place``: where they are set, in parentheses."""
    inventory = {host.name: [address for address in (host.address, host.address_ipv6) if address] for host in hosts}
    for problem in metallb.problems(values, inventory):
        wrong = f"`{metallb.SETTING}`{place}: {problem}"
        yield Finding("invalid-setting", wrong, _BALANCED, metallb.SETTING)


def check_balanced_hosts(values: Mapping[str, Any], hosts: Sequence[Host]) -> Iterator[Finding]:
    """The same addresses against those that hosts have, and against the segments that they are on."""
    sound = metallb.ranges(values)
    reports = [(host, host.report) for host in hosts if host.report is not None]
    given = {address for host in hosts for address in (host.address, host.address_ipv6)}
    found = {
        host.name: [
            address
            for interface in report["interfaces"].values()
            for address in plain_addresses(interface)
            # Of those in the inventory the settings' own check tells.
            if address not in given
        ]
        for host, report in reports
    }
    for problem in metallb.taken(sound, found):
        yield Finding("invalid-setting", f"`{metallb.SETTING}`: {problem}", _BALANCED, metallb.SETTING)
    segments = {network for host, report in reports if host.node for _, network in interface_networks(report)}
    for each in sound if segments else ():
        if not any(each.first in network and each.last in network for network in segments):
            wrong = f"{metallb.SETTING} {each.text} is in none of the networks of the nodes' interfaces"
            remediation = (
                "Nodes answer for these addresses on their own segments, where others ask for them only if the network "
                "of an interface has them. If a router sends them there, add balanced-segment to preflight_ignore."
            )
            yield Finding("balanced-segment", wrong, remediation, each.text, severity="warning")


def _address_problem(value: str, version: int) -> tuple[str, str] | None:
    """What is wrong with an address by which hosts reach each other, and its remediation."""
    try:
        address = ipaddress.ip_address(value)
    except ValueError:
        remediation = "Set ansible_host or cluster_host_address to the address at which other hosts reach this host."
        return "is not an IP address", remediation
    if address.version != version:
        return f"is an IPv{address.version} address", _OTHER_FAMILY[version]
    return _ipv6_host_problem(value) if version == 6 else _ipv4_host_problem(address)


def _ipv4_host_problem(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> tuple[str, str] | None:
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


def _ipv6_host_problem(value: str) -> tuple[str, str] | None:
    problem = _ipv6_problem(value)
    if problem:
        remediation = (
            "Set cluster_host_address to the IPv6 address at which other hosts reach this host (ip -6 address show); "
            "ansible_host may stay as it is."
        )
        return problem, remediation
    # It is compared with what the kernel and the API say.
    short = str(ipaddress.ip_address(value))
    return ("is not written in its short form", f"Write it as {short}.") if short != value else None


def check_interfaces(hosts: Sequence[Host], networks: Mapping[str, Sequence[Network]]) -> Iterator[Finding]:
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
        for (name, network), (setting, wanted) in itertools.product(entries, _entries(networks)):
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
