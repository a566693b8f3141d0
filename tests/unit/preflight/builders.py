"""Hosts and reports on which nothing is wrong, to be spoilt in one place by each test."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, cast

from kubeproof.preflight.model import GROUPS, Host, Rules
from kubeproof.settings.host_report import HostReport

MEBIBYTE = 1024 * 1024
GIBIBYTE = 1024 * MEBIBYTE

_DISK = {
    "on": "/",
    "device": 1,
    "type": "ext4",
    "total": 100 * GIBIBYTE,
    "free": 50 * GIBIBYTE,
    "inodes_total": 10**6,
    "inodes_free": 10**5,
    "read_only": False,
    "noexec": False,
    "nodev": False,
}
_LIMITS = {"nofile": 1048576, "nproc": 65536}
_CAPABILITIES = ["CAP_NET_ADMIN", "CAP_SYS_ADMIN", "CAP_SYS_MODULE", "CAP_SYS_RESOURCE"]

VALUES: dict[str, Any] = {
    "apiserver_audit_log_files": 5,
    "apiserver_audit_log_megabytes": 100,
    "backup_directory": "/var/backups/etcd",
    "calico_encapsulation": "vxlan",
    "cilium_routing": "tunnel",
    "cluster_api_port": 6443,
    "cluster_balancer_port": 7443,
    "cluster_bin_directory": "/usr/local/bin",
    "cluster_etcd_port": 2379,
    "containerd_root_directory": "/var/lib/containerd",
    "crio_root_directory": "/var/lib/crio",
    "docker_root_directory": "/var/lib/docker",
    "controller_manager_port": 10257,
    "dns_forwarders": [],
    "etcd_data_directory": "/var/lib/etcd",
    "etcd_metrics_port": 2381,
    "etcd_peer_port": 2380,
    "etcd_quota_backend_bytes": 8 * GIBIBYTE,
    "host_packages": {},
    "kube_proxy_form": "service",
    "kube_proxy_health_port": 10256,
    "kube_proxy_metrics_port": 10249,
    "kube_proxy_mode": "nftables",
    "kubelet_eviction_hard": {"memory.available": "100Mi", "nodefs.available": "10%", "imagefs.available": "15%"},
    "kubelet_max_pods": 110,
    "kubelet_health_port": 10248,
    "kubelet_port": 10250,
    "network_policy_engine": "kube-router",
    "metallb_addresses": [],
    "metallb_health_port": 7472,
    "metallb_memberlist_port": 7946,
    "network_policy_health_port": 20244,
    "flannel_health_port": 10246,
    "pod_network_flannel_backend": "vxlan",
    "pod_network_flannel_port": 8472,
    "pod_network_plugin": "bridge",
    "preflight_clock_skew_error": 5.0,
    "preflight_clock_skew_warning": 1.0,
    "preflight_controller_clock_skew_error": 60.0,
    "preflight_minimum_disk": {
        "cluster_bin_directory": 700,
        "containerd_root_directory": 1000,
        "crio_root_directory": 1000,
        "docker_root_directory": 1000,
        "etcd_data_directory": 1000,
    },
    "preflight_minimum_memory": {"etcd": 1000, "control_plane": 1700, "workers": 900},
    "preflight_operating_systems": {"debian": ["12"]},
    "scheduler_port": 10259,
}
RULES = Rules.parse(VALUES)


def report(number: int = 1, **changes: Any) -> HostReport:
    """The report of the ``number``-th host. Changed mappings are merged into what is there."""
    found: dict[str, Any] = {
        "user": {"id": 0, "name": "root"},
        "hostname": f"host{number}",
        "machine_id": f"{number:032x}",
        "os": {"id": "debian", "version": "12", "pretty": "Debian GNU/Linux 12 (bookworm)", "like": []},
        "arch": "amd64",
        "kernel": "6.1.0-18-amd64",
        "python": "3.11.2",
        "service_python": "3.11.2",
        "service_python_path": "/usr/bin/python3",
        "hidepid": "",
        "systemd": {"init": True, "version": 252, "state": "running", "virtualization": "kvm"},
        "container": "",
        "package_manager": "apt-get",
        "commands": {name: f"/usr/bin/{name}" for name in ("ip", "modprobe", "mount", "tar", "useradd")},
        "handlers": {},
        "cpus": 2,
        "memory": {"total": 4 * GIBIBYTE, "available": 3 * GIBIBYTE},
        "swap": {"on": False, "devices": []},
        "disks": {
            path: copy.deepcopy(_DISK)
            for path in (
                "/",
                "/etc",
                "/opt/cni/bin",
                "/usr/local/bin",
                "/var/lib/containerd",
                "/var/lib/crio",
                "/var/lib/docker",
                "/var/lib/etcd",
                "/var/lib/kubelet",
            )
        },
        "interfaces": {"eth0": interface(f"10.0.0.{number}/24", mac=f"52:54:00:00:00:{number:02x}")},
        "default_route": {"interface": "eth0", "gateway": "10.0.0.254"},
        "default_route_ipv6": None,
        "router_advertisements": {},
        "resolver": {"nameservers": ["10.0.0.254"], "upstream": "", "upstream_nameservers": []},
        "firewall": {"ufw": False, "chains": []},
        "ports": [port(22, unit="ssh.service", name="sshd")],
        "processes": [],
        "cgroup": {"version": 2, "hybrid": False, "controllers": ["cpuset", "cpu", "io", "memory", "pids"]},
        "capabilities": {"init": [*_CAPABILITIES], "self": [*_CAPABILITIES]},
        "work_seconds": 0.01,
        "user_namespace": False,
        "limits": {"init": {**_LIMITS}, "self": {**_LIMITS}},
        "modules": {
            "br_netfilter": "loadable",
            "ip_set": "builtin",
            "nf_conntrack": "loaded",
            "nf_tables": "builtin",
            "overlay": "loaded",
        },
        "sysctls": {"net.netfilter.nf_conntrack_max": {"value": "262144", "writable": True}},
        "apparmor": False,
        "iptables_legacy": False,
        "selinux": "disabled",
        "installed": {
            "manifest": False,
            "units": [],
            "active": [],
            "settings": {},
            "versions": {},
            "running": [],
            "components": {},
        },
        "leftovers": [],
        "etcd": {"directory": "", "lived": "", "data": {"/var/lib/etcd": etcd_data(False)}, "peers": {}, "says": None},
        "etcd_disk": None,
        "node": None,
        "identity": {},
        "runs": [],
        "clock": {"synchronised": True, "start": 1000.4, "end": 1000.5},
        "asked": {"before": 1000.0, "after": 1000.6},
    }
    return cast(HostReport, _merged(found, changes))


def _merged(base: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    for name, value in changes.items():
        both = isinstance(value, Mapping) and isinstance(base.get(name), dict)
        base[name] = _merged(base[name], value) if both else value
    return base


def host(number: int = 1, groups: tuple[str, ...] = GROUPS, **changes: Any) -> Host:
    """The ``number``-th host, ``10.0.0.<number>``, in all groups, with changes to its report."""
    return Host(f"host{number}", frozenset(groups), f"10.0.0.{number}", report(number, **changes))


def etcd_data(there: bool, restore: str = "") -> dict[str, Any]:
    """Whether there is data of etcd's, and of which restore."""
    return {"there": there, "restore": restore}


def interface(*addresses: str, mac: str = "52:54:00:00:01:00", mtu: int = 1500, kind: str = "") -> dict[str, Any]:
    """An interface with addresses (with prefix)."""
    return {"mac": mac, "mtu": mtu, "up": True, "kind": kind, "addresses": list(addresses)}


def port(number: int, *, address: str = "0.0.0.0", unit: str = "nginx.service", name: str = "nginx") -> dict[str, Any]:
    """A listening port and who holds it."""
    return {"port": number, "address": address, "process": {"pid": 77, "name": name, "unit": unit}}
