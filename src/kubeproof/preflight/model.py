"""What the checks work on: the hosts of a play, and what the role ``preflight`` is told to ask of them."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from kubeproof.host_report import HostReport, Interface

ETCD, CONTROL_PLANE, WORKERS = GROUPS = ("etcd", "control_plane", "workers")
NODES = (CONTROL_PLANE, WORKERS)

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
MEBIBYTE = 1024 * 1024


@dataclass(frozen=True)
class Host:
    """A host of the play: its groups of ours, the address that others reach it at, and its report or why there is none."""

    name: str
    groups: frozenset[str]
    address: str
    report: HostReport | None = None
    problem: str = ""
    unreachable: bool = False

    @property
    def node(self) -> bool:
        """Whether it is a node of the cluster: it then runs runtime, kubelet, kube-proxy and balancer."""
        return bool(self.groups & set(NODES))

    def within(self, groups: Sequence[str]) -> bool:
        """Whether it is in one of these groups."""
        return bool(self.groups & set(groups))


@dataclass(frozen=True)
class PortRule:
    """A TCP port that a component of some groups listens on, on all addresses or on loopback only."""

    port: int
    component: str
    groups: tuple[str, ...]
    listen: Literal["all", "loopback"] = "all"


@dataclass(frozen=True)
class DiskRule:
    """Free space, in MiB, that hosts of some groups need under a path before kubeproof is installed."""

    path: str
    groups: tuple[str, ...]
    free: int


# By the setting that holds the port.
_PORTS: Mapping[str, tuple[str, tuple[str, ...], Literal["all", "loopback"]]] = {
    "cluster_etcd_port": ("etcd", (ETCD,), "all"),
    "etcd_peer_port": ("etcd", (ETCD,), "all"),
    "cluster_api_port": ("kube-apiserver", (CONTROL_PLANE,), "all"),
    "controller_manager_port": ("kube-controller-manager", (CONTROL_PLANE,), "all"),
    "scheduler_port": ("kube-scheduler", (CONTROL_PLANE,), "all"),
    "cluster_balancer_port": ("kube-balancer", NODES, "loopback"),
    "kubelet_port": ("kubelet", NODES, "all"),
    "kubelet_health_port": ("kubelet", NODES, "loopback"),
    "kube_proxy_health_port": ("kube-proxy", NODES, "all"),
    "kube_proxy_metrics_port": ("kube-proxy", NODES, "loopback"),
}
# By the setting that holds the path; how much is needed is in preflight_minimum_disk under the same name.
_DISKS: Mapping[str, tuple[str, ...]] = {
    "cluster_bin_directory": GROUPS,
    "etcd_data_directory": (ETCD,),
    "containerd_root_directory": NODES,
}
_MODULES = ("br_netfilter", "nf_conntrack", "overlay")


@dataclass(frozen=True)
class Rules:
    """What a host is asked to offer. Memory in MiB by group, clock skew in seconds."""

    operating_systems: Mapping[str, Sequence[str]] = field(default_factory=dict)
    minimum_memory: Mapping[str, int] = field(default_factory=dict)
    disks: tuple[DiskRule, ...] = ()
    ports: tuple[PortRule, ...] = ()
    modules: tuple[str, ...] = ()
    nftables: bool = True
    clock_skew_warning: float = 1.0
    clock_skew_error: float = 5.0
    controller_clock_skew_error: float = 60.0
    ignore: tuple[str, ...] = ()

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> Rules:
        """Rules from settings that have passed their argument specs; needs all that ``reads`` says."""
        free = values["preflight_minimum_disk"]
        nftables = values["kube_proxy_mode"] == "nftables"
        systems = values["preflight_operating_systems"]
        return cls(
            operating_systems={str(name): [str(version) for version in found] for name, found in systems.items()},
            minimum_memory={group: int(amount) for group, amount in values["preflight_minimum_memory"].items()},
            disks=tuple(DiskRule(values[name], groups, int(free.get(name, 0))) for name, groups in _DISKS.items()),
            ports=tuple(PortRule(int(values[name]), *rest) for name, rest in _PORTS.items()),
            modules=(*_MODULES, "nf_tables") if nftables else _MODULES,
            nftables=nftables,
            clock_skew_warning=float(values["preflight_clock_skew_warning"]),
            clock_skew_error=float(values["preflight_clock_skew_error"]),
            controller_clock_skew_error=float(values["preflight_controller_clock_skew_error"]),
            ignore=tuple(values["preflight_ignore"]),
        )


def reads(name: str) -> bool:
    """Whether the checks read a setting, so that its value is needed even if it is the default."""
    return name.startswith(("cluster_", "preflight_")) or name in {*_PORTS, *_DISKS, "kube_proxy_mode", "kubelet_max_pods"}


def main_interfaces(host: Host) -> dict[str, Interface]:
    """The interfaces by which a host talks to others: the one with its address, and its default route's."""
    if host.report is None:
        return {}
    route = host.report["default_route"]
    return {
        name: interface
        for name, interface in host.report["interfaces"].items()
        if host.address in addresses(interface) or (route is not None and name == route["interface"])
    }


def addresses(interface: Interface) -> set[str]:
    """An interface's addresses without prefix."""
    return {address.partition("/")[0] for address in interface["addresses"]}


def interface_networks(report: HostReport) -> Iterator[tuple[str, Network]]:
    """Name and network of each address of each interface."""
    for name, interface in report["interfaces"].items():
        for address in interface["addresses"]:
            yield name, ipaddress.ip_interface(address).network
