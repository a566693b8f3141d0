"""What the checks work on: the hosts of a play, and what is asked of them."""

from __future__ import annotations

import ipaddress
import posixpath
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from kubeproof.preflight.findings import Severity
from kubeproof.preflight.identity import Kept
from kubeproof.settings import families, local_path, local_volumes, metallb, runtimes, schedulers
from kubeproof.settings.host_report import HostReport, Interface

ETCD, CONTROL_PLANE, WORKERS = GROUPS = ("etcd", "control_plane", "workers")
# Hosts in these run runtime, kubelet, kube-proxy and load balancer.
NODES = (CONTROL_PLANE, WORKERS)

# What a run is about to do to the cluster: what must not happen in one is what another is for.
Purpose = Literal["converge", "restore", "replace-member", "upgrade"]
PURPOSES: tuple[Purpose, ...] = ("converge", "restore", "replace-member", "upgrade")
# These leave a cluster as it is but for its components.
KEEPING: tuple[Purpose, ...] = ("converge", "upgrade")

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
MEBIBYTE = 1024 * 1024


@dataclass(frozen=True)
class Host:
    """A host of the play, its groups of ours, and its report, or why there is none.

    ``address`` is where others reach it, and ``address_ipv6`` the same in a cluster with IPv6 networks; empty as long
    as that depends on facts that are not known yet.
    """

    name: str
    groups: frozenset[str]
    address: str
    report: HostReport | None = None
    problem: str = ""
    unreachable: bool = False
    address_ipv6: str = ""
    # What to do about the problem, if that is known.
    remediation: str = ""

    @property
    def node(self) -> bool:
        """Whether it is a node of the cluster."""
        return self.within(NODES)

    @property
    def new_node(self) -> bool:
        """Whether it is to become a node: it can be examined, and has no kubelet of ours yet."""
        return self.node and self.report is not None and "kubelet.service" not in self.report["installed"]["units"]

    @property
    def node_again(self) -> str:
        """Why others may have routes to another pod network of this node, in words; empty if they need none.

        Also empty if the API gave no answer. The routes are those of the plugin bridge: other pod networks make theirs
        without a run.
        """
        if not self.node or self.report is None or self.report["node"] is None:
            return ""
        found, given = self.report["node"], self.report["node"]["given"]
        if not given or self.report["installed"]["settings"].get("pod_network_plugin") != "bridge":
            return ""
        had = ", ".join(given)
        if not found["there"]:
            return "its Node object was deleted, so that it becomes a node anew, with another pod network maybe"
        if not found["networks"]:
            return f"it is a node anew, and may be given another pod network than {had}, which it had"
        if set(found["networks"]) != set(given):
            return f"its pod network is now {', '.join(found['networks'])}, and was {had}"
        return ""

    def within(self, groups: Collection[str]) -> bool:
        """Whether it is in one of these groups."""
        return not self.groups.isdisjoint(groups)


@dataclass(frozen=True)
class Run:
    """What is known besides hosts: what the run is about to do, and what the controller keeps.

    ``groups``: the inventory's by name, each with all its hosts. ``active``: by what hosts know this run; ``None`` if
    it changes nothing, so that others may. ``ungrouped``: hosts of the run that are in none of the cluster's groups.
    ``outside``: control-plane hosts that were asked because the run has none and needs one, each with the reason why
    it cannot be used, empty if it can. ``forks``: on how many hosts Ansible works side by side; 0 if that is unknown.
    """

    groups: Mapping[str, Sequence[str]]
    purpose: Purpose
    kept: Kept
    active: str | None = None
    ungrouped: Sequence[Host] = ()
    outside: Mapping[str, str] = field(default_factory=dict)
    forks: int = 0

    def hosts(self, *groups: str) -> list[str]:
        """The hosts in any of these groups, whether or not they are in the run."""
        return list(dict.fromkeys(host for group in groups for host in self.groups.get(group, ())))


@dataclass(frozen=True)
class PortRule:
    """A TCP port that a component of some groups listens on, on all addresses or on loopback only.

    ``setting``: the one that holds it.
    """

    port: int
    component: str
    groups: tuple[str, ...]
    listen: Literal["all", "loopback"] = "all"
    setting: str = ""


@dataclass(frozen=True)
class DiskRule:
    """Free space, in MiB, that hosts of some groups need under a path before kubeproof is installed.

    ``setting``: the one that holds the path, if there is one.
    """

    path: str
    groups: tuple[str, ...]
    free: int
    setting: str = ""


@dataclass(frozen=True)
class MountRule:
    """A path from which hosts of some groups run programs: what noexec breaks, and how badly.

    ``devices``: what nodev breaks, if anything.
    """

    groups: tuple[str, ...]
    why: str
    severity: Severity = "error"
    devices: str = ""


# By the setting that holds the port.
PORTS: Mapping[str, tuple[str, tuple[str, ...], Literal["all", "loopback"]]] = {
    "cluster_etcd_port": ("etcd", (ETCD,), "all"),
    "etcd_peer_port": ("etcd", (ETCD,), "all"),
    "etcd_metrics_port": ("etcd", (ETCD,), "loopback"),
    "cluster_api_port": ("kube-apiserver", (CONTROL_PLANE,), "all"),
    "controller_manager_port": ("kube-controller-manager", (CONTROL_PLANE,), "loopback"),
    "scheduler_port": ("kube-scheduler", (CONTROL_PLANE,), "loopback"),
    "cluster_balancer_port": ("kube-balancer", NODES, "loopback"),
    "kubelet_port": ("kubelet", NODES, "all"),
    "kubelet_health_port": ("kubelet", NODES, "loopback"),
    "kube_proxy_health_port": ("kube-proxy", NODES, "all"),
    "kube_proxy_metrics_port": ("kube-proxy", NODES, "loopback"),
    "flannel_health_port": ("flannel", NODES, "loopback"),
    "network_policy_health_port": ("kube-router", NODES, "loopback"),
    "metallb_health_port": ("MetalLB", NODES, "loopback"),
    "metallb_memberlist_port": ("MetalLB", NODES, "all"),
}
# By the component that has ports only if it is chosen: whether it is, by settings.
_CHOSEN: Mapping[str, Callable[[Mapping[str, Any]], bool]] = {
    "flannel": lambda values: values.get("pod_network_plugin") == "flannel",
    "kube-proxy": lambda values: values.get("kube_proxy_form") != "none",
    "kube-router": lambda values: values.get("network_policy_engine") == "kube-router",
    "MetalLB": metallb.on,
}
# By the setting that holds the path; how much is needed is in preflight_minimum_disk under the same name.
DISKS: Mapping[str, tuple[str, ...]] = {
    "cluster_bin_directory": GROUPS,
    "etcd_data_directory": (ETCD,),
    "containerd_root_directory": NODES,
    "crio_root_directory": NODES,
    "docker_root_directory": NODES,
}
# Directories that components have for themselves, by setting.
DATA: Mapping[str, tuple[str, ...]] = {
    "backup_directory": (ETCD,),
    "containerd_root_directory": NODES,
    "crio_root_directory": NODES,
    "docker_root_directory": NODES,
    "etcd_data_directory": (ETCD,),
}
# For configuration, certificates and logs, MiB.
_ROOT_FREE = 100
# Where audit logs and containers' logs are; and MiB at which the kubelet rotates a log (containerLogMaxSize): it may
# keep more, and most are smaller.
LOGS = "/var/log"
_CONTAINER_LOG = 10
_PROGRAMS = "programs that kubeproof installs there do not run"
_VOLUMES = "programs in volumes of pods, as emptyDir, do not run"
_DEVICES = "device files that pods make in their volumes cannot be opened"
_EVICTION = "kubelet_eviction_hard"
_MODULES = ("br_netfilter", "nf_conntrack", "overlay")


def reads(name: str) -> bool:
    """Whether the checks read a setting, so that its value is needed even if it is the default."""
    return name.startswith(("backup_", "cluster_", "dns_", "preflight_", "traefik_")) or name in {
        *PORTS,
        *DISKS,
        "apiserver_audit_log_files",
        "apiserver_audit_log_megabytes",
        "calico_encapsulation",
        "cilium_routing",
        "component_source",
        "etcd_quota_backend_bytes",
        "gateway_api_enabled",
        "host_packages",
        "kube_proxy_form",
        "kube_proxy_mode",
        _EVICTION,
        "kubelet_max_pods",
        local_path.DIRECTORY,
        local_path.CLASS,
        local_path.DEFAULT,
        "local_path_enabled",
        local_volumes.CLASS_SETTING,
        metallb.SETTING,
        "network_policy_engine",
        "network_policy_new_pods",
        runtimes.CHOICE,
        runtimes.SETTING,
        "pod_network_flannel_backend",
        "pod_network_flannel_port",
        "pod_network_plugin",
    }


@dataclass(frozen=True)
class Rules:
    """What a host is asked to offer. Memory in MiB by group, clock skew in seconds.

    ``shared_segment``: nodes reach each other without a gateway. ``udp_ports``: nodes', for each other. ``ipv4`` and
    ``ipv6``: pods and Services have addresses of these. ``host_resolver``: the cluster's DNS asks the resolvers of its
    host. ``resolv_conf``: the file that the settings name for these, or empty. ``logs``: what these may come to.
    ``sysctls``: the user's. ``gvisor``: some pods run in it. ``runtime``: the nodes', and ``runtimes``: programs of its
    handlers. ``evicts``: by path, the kubelet's signal and its threshold.
    """

    operating_systems: Mapping[str, Sequence[str]] = field(default_factory=dict)
    minimum_memory: Mapping[str, int] = field(default_factory=dict)
    disks: tuple[DiskRule, ...] = ()
    logs: tuple[DiskRule, ...] = ()
    mounts: Mapping[str, MountRule] = field(default_factory=dict)
    ports: tuple[PortRule, ...] = ()
    udp_ports: tuple[int, ...] = ()
    modules: tuple[str, ...] = ()
    nftables: bool = True
    iptables: bool = False
    runtime: str = runtimes.CONTAINERD
    runtimes: tuple[str, ...] = ()
    evicts: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    shared_segment: bool = True
    pod_network: str = "bridge"
    ipv6: bool = False
    ipv4: bool = True
    host_resolver: bool = True
    resolv_conf: str = ""
    gvisor: bool = False
    data: Mapping[str, str] = field(default_factory=dict)
    sysctls: Mapping[str, str] = field(default_factory=dict)
    etcd_data_directory: str = "/var/lib/etcd"
    clock_skew_warning: float = 1.0
    clock_skew_error: float = 5.0
    controller_clock_skew_error: float = 60.0

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> Rules:
        """Rules from the settings that ``reads`` names, which have passed their argument specs."""
        free = values["preflight_minimum_disk"]
        nftables = values["kube_proxy_form"] != "none" and values["kube_proxy_mode"] == "nftables"
        systems = values["preflight_operating_systems"]
        unused = runtimes.unused_directories(values)
        disks = [
            DiskRule(str(values[name]), groups, int(free.get(name, 0)), name)
            for name, groups in DISKS.items()
            if name not in unused
        ]
        # The one that is written, and those that are kept.
        audit_logs = 1 + int(values["apiserver_audit_log_files"])
        network = str(values["pod_network_plugin"])
        way = str(values.get(_WAYS.get(network, ""), ""))
        chosen = {
            "nf_tables": nftables,
            "ip_set": network in ("calico", "cilium") or values["network_policy_engine"] != "none",
            "vxlan": way in ("vxlan", "tunnel"),
            "ipip": way == "ipip",
        }
        modules = (*_MODULES, *(name for name, wanted in chosen.items() if wanted))
        return cls(
            operating_systems={str(name): _versions(versions) for name, versions in systems.items()},
            minimum_memory={group: int(amount) for group, amount in values["preflight_minimum_memory"].items()},
            disks=(DiskRule("/", GROUPS, _ROOT_FREE), *disks),
            logs=(
                DiskRule(LOGS, (CONTROL_PLANE,), int(values["apiserver_audit_log_megabytes"]) * audit_logs),
                DiskRule(LOGS, NODES, _CONTAINER_LOG * int(values["kubelet_max_pods"])),
            ),
            mounts={
                # Not containerd's: what pods run there is on overlays, which have options of their own.
                str(values["cluster_bin_directory"]): MountRule(GROUPS, _PROGRAMS),
                "/opt/cni/bin": MountRule(NODES, _PROGRAMS),
                "/var/lib/kubelet": MountRule(NODES, _VOLUMES, "warning", _DEVICES),
            },
            ports=port_rules(values),
            udp_ports=(
                *_udp_ports(network, way, values),
                *((int(values["metallb_memberlist_port"]),) if metallb.on(values) else ()),
            ),
            modules=modules,
            nftables=nftables,
            iptables=values["kube_proxy_form"] != "none" and values["kube_proxy_mode"] == "iptables",
            runtime=runtimes.chosen(values),
            runtimes=runtimes.programs(values),
            evicts=_evicts(values),
            host_resolver=not values["dns_forwarders"],
            # It is only among the values where it is set.
            resolv_conf=str(values.get("kubelet_resolv_conf", "")),
            gvisor=runtimes.gvisor(values),
            shared_segment=network == "bridge" or way in ("host-gw", "native", "none"),
            pod_network=network,
            ipv6=bool(families.of_family(values.get("cluster_pod_network", ""), 6)),
            ipv4=bool(families.of_family(values.get("cluster_pod_network", "0.0.0.0/0"), 4)),
            sysctls={str(name): str(value) for name, value in (values.get("host_sysctls") or {}).items()},
            data={name: posixpath.normpath(str(values[name])) for name in DATA if name not in unused},
            etcd_data_directory=posixpath.normpath(str(values["etcd_data_directory"])),
            clock_skew_warning=float(values["preflight_clock_skew_warning"]),
            clock_skew_error=float(values["preflight_clock_skew_error"]),
            controller_clock_skew_error=float(values["preflight_controller_clock_skew_error"]),
        )


def _versions(given: Any) -> list[str]:
    """Of an operating system; one of them need be no list. What else is given the settings' checks refuse."""
    if isinstance(given, str):
        return [given]
    return [str(version) for version in given] if isinstance(given, Sequence) else []


def _evicts(values: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """Where kubelets look at the free space of disks, and from which on they evict pods."""
    given = values[_EVICTION] if isinstance(values[_EVICTION], Mapping) else {}
    # The stricter one first, as it is by default; on one disk it is the one that counts.
    places = {
        str(values[runtimes.ROOTS[runtimes.chosen(values)]]): "imagefs.available",
        "/var/lib/kubelet": "nodefs.available",
    }
    return {path: (signal, str(given[signal])) for path, signal in places.items() if signal in given}


# By pod_network_plugin, the setting that says how packets get to other nodes.
_WAYS = {
    "flannel": "pod_network_flannel_backend",
    "calico": "calico_encapsulation",
    "cilium": "cilium_routing",
}
# Of calico (FELIX_VXLANPORT) and cilium (tunnelPort).
_VXLAN_PORTS = {"calico": 4789, "cilium": 8472}


def _udp_ports(network: str, way: str, values: Mapping[str, Any]) -> tuple[int, ...]:
    if way not in ("vxlan", "tunnel"):
        return ()
    return (_VXLAN_PORTS.get(network) or int(values["pod_network_flannel_port"]),)


def port_rules(values: Mapping[str, Any]) -> tuple[PortRule, ...]:
    """The ports of our components by the settings that hold them. Of those that may be 0 that is none."""
    found = [
        PortRule(int(values[name]), *rest, setting=name)
        for name, rest in PORTS.items()
        if int(values[name]) and _chosen(rest[0], values)
    ]
    more = schedulers.ports(values.get("scheduler_more") or {}, int(values["scheduler_port"]))
    return (*found, *(_of_scheduler(name, port) for name, port in more.items()))


def _of_scheduler(name: str, port: int) -> PortRule:
    component, groups, listen = PORTS["scheduler_port"]
    return PortRule(port, f"{component} {name}", groups, listen, "scheduler_more")


def _chosen(component: str, values: Mapping[str, Any]) -> bool:
    return component not in _CHOSEN or _CHOSEN[component](values)


def main_interfaces(host: Host) -> dict[str, Interface]:
    """The interfaces by which a host talks to others: the one with its address, and its default route's."""
    if host.report is None:
        return {}
    route = host.report["default_route_ipv6"] if ":" in host.address else host.report["default_route"]
    return {
        name: interface
        for name, interface in host.report["interfaces"].items()
        if host.address in plain_addresses(interface) or (route is not None and name == route["interface"])
    }


def plain_addresses(interface: Interface) -> list[str]:
    """An interface's addresses without prefix."""
    return [address.partition("/")[0] for address in interface["addresses"]]


def interface_networks(report: HostReport) -> Iterator[tuple[str, Network]]:
    """Name and network of each address of each interface."""
    for name, interface in report["interfaces"].items():
        for address in interface["addresses"]:
            yield name, ipaddress.ip_interface(address).network
