"""Checks of pod networks that are applied into the cluster from official manifests and images."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from kubeproof.preflight import networks
from kubeproof.preflight.findings import Finding

PLUGINS = networks.ENFORCING
# For each, where it can be had, and why it is not built here.
_NO_BUILD = {
    "calico": "Calico's Go module is published without versions",
    "cilium": "Cilium compiles its eBPF programs on each node at run time, with a clang of which no image is made here",
}
_SHA256 = re.compile(r"[0-9a-f]{64}")
_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*")
# Of calico-node, by the setting that it is made of.
_CALICO_OWN = {
    "CALICO_IPV4POOL_CIDR": "cluster_pod_network",
    "CALICO_IPV6POOL_CIDR": "cluster_pod_network",
    "CALICO_IPV4POOL_IPIP": "calico_encapsulation",
    "CALICO_IPV4POOL_VXLAN": "calico_encapsulation",
    "CALICO_IPV6POOL_VXLAN": "calico_encapsulation",
    "FELIX_IPV6SUPPORT": "cluster_pod_network",
    "FELIX_BPFENABLED": "",
    "FELIX_NFTABLESMODE": "kube_proxy_mode",
}
# Of Cilium's chart, by the setting that it is made of.
_CILIUM_OWN = {
    "MTU": "pod_network_mtu",
    "autoDirectNodeRoutes": "cilium_routing",
    "ipam": "",
    "ipv4": "cluster_pod_network",
    "ipv6": "cluster_pod_network",
    "k8sServiceHost": "",
    "k8sServicePort": "cluster_balancer_port",
    "kubeProxyReplacement": "kube_proxy_form",
    "routingMode": "cilium_routing",
}


def check_plugin(values: Mapping[str, Any], given: Collection[str], ports: Sequence[int] = ()) -> Iterator[Finding]:
    """What is wrong with such a network. ``given``: settings that are set. ``ports``: of load balancers."""
    network = str(values.get("pod_network_plugin"))
    if network not in PLUGINS:
        return
    if values.get("component_source") == "go":
        wrong = f"pod_network_plugin is {network}, and component_source is go: {_NO_BUILD[network]}"
        remediation = (
            "Set component_source to release, or to mirror with component_mirror: the network comes as official "
            "manifest and images then. From go there are bridge and flannel, and none for a network that "
            "you install."
        )
        yield Finding("network-source", wrong, remediation, "pod_network_plugin")
    if "pod_network_extra_plugins" in given and values.get("pod_network_extra_plugins"):
        wrong = f"pod_network_extra_plugins is set, and {network} writes its CNI configuration itself"
        yield Finding("network-plugin", wrong, "Remove the setting.", "pod_network_extra_plugins")
    digest = str(values.get("pod_network_manifest_sha256") or "")
    if digest and not _SHA256.fullmatch(digest):
        wrong = f"pod_network_manifest_sha256 is {digest!r}, which is not 64 hexadecimal digits in lower case"
        yield Finding("network-plugin", wrong, "Set it to what sha256sum says.", "pod_network_manifest_sha256")
    if len(set(ports)) > 1:
        wrong = (
            f"cluster_balancer_port differs between nodes, and {network} has one configuration for all of them, with "
            "which it reaches the API servers through each node's own load balancer"
        )
        yield Finding("network-plugin", wrong, "Set it once, for the group `all`.", "cluster_balancer_port")
    yield from _calico(values) if network == "calico" else _cilium(values)


def _calico(values: Mapping[str, Any]) -> Iterator[Finding]:
    if values.get("calico_encapsulation") == "ipip" and networks.dual_stack(values):
        wrong = "calico_encapsulation is ipip, which carries IPv4 only, and the cluster has IPv6 networks"
        yield Finding("network-plugin", wrong, "Set it to vxlan or none.", "calico_encapsulation")
    for name, value in (values.get("calico_extra_environment") or {}).items():
        setting = "calico_extra_environment"
        if not _VARIABLE.fullmatch(str(name)) or isinstance(value, (Mapping, list, tuple)) or value is None:
            wrong = f"{setting}: {name} is no name of an environment variable with a text, number or switch"
            yield Finding("network-plugin", wrong, "Write it as NAME: value.", setting)
        elif name in _CALICO_OWN:
            yield _own(setting, str(name), _CALICO_OWN[name])


def _cilium(values: Mapping[str, Any]) -> Iterator[Finding]:
    for name in values.get("cilium_extra_values") or {}:
        if name in _CILIUM_OWN:
            yield _own("cilium_extra_values", str(name), _CILIUM_OWN[name])


def _own(setting: str, name: str, made_of: str) -> Finding:
    remediation = f"Use {made_of}." if made_of else "kubeproof sets it itself, and relies on it: leave it out."
    return Finding("network-plugin", f"{setting}: {name} cannot be given", remediation, setting)
