"""Small clusters that differ in their network: inventories of two or three local hosts on one segment, or two."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from tests.vm.machines import new_hosts

from kubeproof.core import paths
from kubeproof.settings import inventory
from kubeproof.settings.inventory import Inventory

SEGMENT = {"name": "kubeproof-cells", "subnet": "10.213.26.0/24"}
# Of the segment, besides its IPv4 subnet; hosts are numbered as there.
_SUBNET_IPV6 = "fd00:10:213:26::/64"
_DUAL: dict[str, Any] = {
    "cluster_pod_network": ["10.244.0.0/16", "fd00:10:244::/56"],
    "cluster_service_network": ["10.96.0.0/16", "fd00:10:96::/112"],
    "cluster_host_address_ipv6": "fd00:10:213:26::{{ ansible_host.split('.')[3] }}",
}
# Nothing but IPv6, on hosts that have no other addresses on their segment.
_IPV6: dict[str, Any] = {
    "cluster_pod_network": "fd00:10:244::/56",
    "cluster_service_network": "fd00:10:96::/112",
}
CELLS: dict[str, dict[str, Any]] = {
    "bridge": {"kube_proxy_form": "daemonset"},
    "bridge-iptables": {"kube_proxy_mode": "iptables"},
    "bridge-isolated": {"network_policy_new_pods": "isolated"},
    "bridge-without-policies": {"network_policy_engine": "none"},
    "vxlan": {"pod_network_plugin": "flannel"},
    "vxlan-daemonset": {"pod_network_plugin": "flannel", "kube_proxy_form": "daemonset"},
    "host-gw": {"pod_network_plugin": "flannel", "pod_network_flannel_backend": "host-gw"},
    "none": {"pod_network_plugin": "none"},
    "dual": {**_DUAL},
    "dual-iptables-daemonset": {**_DUAL, "kube_proxy_mode": "iptables", "kube_proxy_form": "daemonset"},
    "dual-vxlan": {**_DUAL, "pod_network_plugin": "flannel"},
    "dual-host-gw": {**_DUAL, "pod_network_plugin": "flannel", "pod_network_flannel_backend": "host-gw"},
    "ipv6": {**_IPV6},
    "ipv6-iptables-daemonset": {**_IPV6, "kube_proxy_mode": "iptables", "kube_proxy_form": "daemonset"},
    "ipv6-vxlan": {**_IPV6, "pod_network_plugin": "flannel"},
    "ipv6-host-gw": {**_IPV6, "pod_network_plugin": "flannel", "pod_network_flannel_backend": "host-gw"},
}


def describe(
    worker: str = "10.213.26.21", first: str = "10.213.26.11", etcd: str = "", **settings: Any
) -> dict[str, Any]:
    """An inventory of a control plane and a worker, by their addresses. ``settings``: of the cluster and its segment.

    ``etcd``: the address of a third host, which has etcd; without one the control plane has.
    """
    document: dict[str, Any] = yaml.safe_load((paths.PROJECT / "inventory" / "test" / "hosts.yml").read_text())
    document["all"]["vars"] |= settings
    document["all"]["children"] = {
        "control_plane": {"hosts": {"cp1": {"ansible_host": first}}},
        "etcd": {"hosts": {"e1": {"ansible_host": etcd}} if etcd else {"cp1": {}}},
        "workers": {"hosts": {"w1": {"ansible_host": worker}}},
    }
    return document


def describe_cell(name: str) -> dict[str, Any]:
    """The inventory of a cell."""
    settings, segment, addresses = CELLS[name], dict(SEGMENT), {}
    if {**_DUAL, **_IPV6}.keys() & settings.keys():
        segment["subnet_ipv6"] = _SUBNET_IPV6
    if _IPV6.items() <= settings.items():
        del segment["subnet"]
        addresses = {"first": "fd00:10:213:26::11", "worker": "fd00:10:213:26::21"}
    return describe(**addresses, local_host_network=segment, **settings)


def describe_apart() -> dict[str, Any]:
    """The inventory of hosts on two segments."""
    segments = {**SEGMENT, "further_subnets": ["10.213.27.0/24"]}
    return describe("10.213.27.21", local_host_network=segments, pod_network_plugin="flannel")


def describe_etcd_apart() -> dict[str, Any]:
    """The inventory of hosts of which one has etcd and nothing else."""
    return describe(etcd="10.213.26.31", local_host_network=SEGMENT)


@contextmanager
def made(directory: Path, document: dict[str, Any]) -> Iterator[Inventory]:
    """New hosts as an inventory describes them."""
    path = directory / "hosts.yml"
    path.write_text(yaml.safe_dump(document))
    with new_hosts(inventory.load(path)) as made:
        yield made
