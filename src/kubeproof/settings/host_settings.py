"""Facts decide: settings that follow from what a host can and cannot do, each with its reason.

Nothing here knows of tests or of containers as such: a host that lacks a capability is given what works without it,
wherever it runs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypedDict

from kubeproof.core.patience import factor
from kubeproof.settings.host_report import HostReport
from kubeproof.settings.portable_python import INTERPRETER, USUAL

# What kubelet asks for by itself (maxOpenFiles), rounded up. Not "infinity": with systemd's fs.nr_open that is a
# billion, and programs that walk or allocate by it take minutes; containerd 2 dropped it from its unit for that.
OPEN_FILES = 1048576
CONNECTIONS_PER_CPU, CONNECTIONS_AT_LEAST, CONNECTIONS_AT_MOST = 32768, 131072, 1048576
# The kernel rounds the size of its hash table up to whole pages; this many fill one of the largest, 64 KiB.
BUCKETS = 8192
MEBIBYTE = 1024 * 1024
# For all processes of a user together, root for most: systemd, the kubelet, containerd, its shims and pods watch files.
# Of the usual 128 instances some dozens of pods leave none ("too many open files").
INOTIFY = {"fs.inotify.max_user_instances": 8192, "fs.inotify.max_user_watches": 524288}
RESOLV_CONF = "/etc/resolv.conf"
# What is kept from pods for the system and Kubernetes' own processes: the shares of Google's Kubernetes Engine
# (https://cloud.google.com/kubernetes-engine/docs/concepts/plan-node-sizes), which other clouds use as well. Percent of
# so much memory (MiB) or so many thousandths of a CPU, then of what comes after; the last of all the rest. By shares a
# small host keeps most for its pods: of 1 GiB 256 MiB are reserved, of one CPU 60 thousandths.
RESERVED_MEMORY: Sequence[tuple[float, float]] = ((4096, 25), (4096, 20), (8192, 10), (114688, 6), (math.inf, 2))
RESERVED_CPU: Sequence[tuple[float, float]] = ((1000, 6), (1000, 1), (2000, 0.5), (math.inf, 0.25))


class KubeletSettings(TypedDict):
    """Fields of ``KubeletConfiguration``, ready to be merged into it."""

    cgroupDriver: str
    failCgroupV1: bool
    failSwapOn: bool
    featureGates: dict[str, bool]
    resolvConf: str


class ContainerdSettings(TypedDict):
    """``systemd_cgroup`` is runc's ``SystemdCgroup``, ``restrict_oom_score_adj`` the CRI plugin's."""

    systemd_cgroup: bool
    restrict_oom_score_adj: bool


class ConntrackSettings(TypedDict):
    """``writable``: whether the kernel takes limits from here. ``max``: what kube-proxy would set for so many CPUs."""

    writable: bool
    max: int


class InotifySettings(TypedDict):
    """``writable``: whether the kernel takes limits from here. ``present``: the present limits by name."""

    writable: bool
    present: dict[str, int]


class ReservedResources(TypedDict):
    """Quantities by resource, for ``kubeReserved`` and ``systemReserved``. Only their sum matters to pods."""

    kube: dict[str, str]
    system: dict[str, str]


class UnitLimits(TypedDict):
    """For unit files: ``LimitNOFILE``, and whether ``OOMScoreAdjust`` may be negative."""

    nofile: int
    negative_oom_score: bool


class HostSettings(TypedDict):
    """All derived settings of one host. ``reasons`` tells why some are not the usual ones; empty on a usual host.

    ``patience``: what limits of time are multiplied by, 1 on a usual host. ``python``: the path of the Python that
    services run by.
    """

    kubelet: KubeletSettings
    containerd: ContainerdSettings
    conntrack: ConntrackSettings
    inotify: InotifySettings
    reserved: ReservedResources
    limits: UnitLimits
    patience: float
    python: str
    reasons: list[str]


def derive(report: HostReport) -> HostSettings:
    """Settings from a host's report."""
    reasons: list[str] = []
    unified = report["cgroup"]["version"] == 2
    # The kernel asks for it, in the initial user namespace, wherever a limit is raised or an OOM score lowered. Units
    # inherit PID 1's.
    resource = "CAP_SYS_RESOURCE" in report["capabilities"]["init"] and not report["user_namespace"]
    if not unified:
        reasons.append("cgroup version 1: kubelet's cgroupDriver is cgroupfs, and failCgroupV1 is off")
    if not resource:
        reasons.append(
            "CAP_SYS_RESOURCE is missing: KubeletInUserNamespace is on, and containerd's restrict_oom_score_adj"
        )
    return {
        "kubelet": {
            "cgroupDriver": "systemd" if unified else "cgroupfs",
            "failCgroupV1": unified,
            "failSwapOn": not _tolerates_swap(report, reasons),
            "featureGates": {} if resource else {"KubeletInUserNamespace": True},
            "resolvConf": _resolver(report, reasons),
        },
        "containerd": {"systemd_cgroup": unified, "restrict_oom_score_adj": not resource},
        "conntrack": {"writable": _conntrack_writable(report, reasons), "max": _connections(report["cpus"])},
        "inotify": _inotify(report, reasons),
        "reserved": _reserved(report["cpus"], report["memory"]["total"] // MEBIBYTE),
        "limits": {"nofile": _open_files(report, resource, reasons), "negative_oom_score": resource},
        "patience": factor(report["work_seconds"]),
        "python": _python(report, reasons),
        "reasons": reasons,
    }


def _python(report: HostReport, reasons: list[str]) -> str:
    path = report.get("service_python_path", USUAL)
    if path == INTERPRETER:
        reasons.append(f"there is no Python of its own that will do: services run by {INTERPRETER}")
    return path


def _tolerates_swap(report: HostReport, reasons: list[str]) -> bool:
    """Swap that is on does no harm with cgroup version 2: kubelet then keeps pods out of it (its NoSwap default)."""
    if not report["swap"]["on"]:
        return False
    if report["cgroup"]["version"] == 1:
        return False
    reasons.append("swap is on: kubelet's failSwapOn is off, and pods use none of it")
    return True


def _resolver(report: HostReport, reasons: list[str]) -> str:
    """The resolver file for pods. One with a stub on loopback would send the cluster's DNS in a circle."""
    path = resolver_file(report)
    if path != RESOLV_CONF:
        reasons.append(f"{RESOLV_CONF} points to a stub on loopback: pods are given {path}")
    return path


def resolver_file(report: HostReport) -> str:
    """The resolver file for pods, as it is derived from the host."""
    resolver = report["resolver"]
    stub = any(map(on_loopback, resolver["nameservers"]))
    return resolver["upstream"] if stub and resolver["upstream"] else RESOLV_CONF


def on_loopback(address: str) -> bool:
    """Whether a resolver is on the host's own loopback, where pods do not reach it."""
    return address.startswith("127.") or address == "::1"


def _conntrack_writable(report: HostReport, reasons: list[str]) -> bool:
    """The limit is the kernel's, one for all network namespaces, and can be written in the initial one only."""
    table = report["sysctls"].get("net.netfilter.nf_conntrack_max")
    # It does not exist until nf_conntrack is loaded. A container's network namespace will not be the initial one then.
    if table["writable"] if table else not report["container"]:
        return True
    reasons.append("net.netfilter.nf_conntrack_max cannot be written here: connection tracking is left as it is")
    return False


def _connections(cpus: int) -> int:
    """As kube-proxy's defaults have it (pkg/proxy/conntrack/sysctls.go, ``getConntrackMax``)."""
    return min(max(CONNECTIONS_PER_CPU * cpus, CONNECTIONS_AT_LEAST), CONNECTIONS_AT_MOST)


def conntrack_sysctls(host: ConntrackSettings, limit: int, established: int, close_wait: int) -> dict[str, str]:
    """Sysctls for connection tracking; of what is zero, and of hosts that can't write them, none.

    The hash table has as many buckets as there may be connections, which is the kernel's own ratio. kube-proxy is
    content with a quarter of that, and lets a larger one be.
    """
    if not host["writable"]:
        return {}
    wanted = {
        "nf_conntrack_buckets": -(-limit // BUCKETS) * BUCKETS,
        "nf_conntrack_max": limit,
        "nf_conntrack_tcp_timeout_established": established,
        "nf_conntrack_tcp_timeout_close_wait": close_wait,
    }
    return {f"net.netfilter.{name}": str(value) for name, value in wanted.items() if value}


def _inotify(report: HostReport, reasons: list[str]) -> InotifySettings:
    """The limits are the kernel's: in a container they are its machine's, whoever is allowed to write them."""
    found = {name: report["sysctls"][name] for name in INOTIFY if name in report["sysctls"]}
    present = {name: int(limit["value"]) for name, limit in found.items() if limit["value"].isdecimal()}
    writable = not report["container"] and all(limit["writable"] for limit in found.values())
    low = [f"{name} is {limit}" for name, limit in present.items() if limit < INOTIFY[name]]
    if low and not writable:
        reasons.append(f"{' and '.join(low)}, and cannot be raised here: too few for some dozens of pods")
    return {"writable": writable, "present": present}


def inotify_sysctls(host: InotifySettings, instances: int, watches: int) -> dict[str, str]:
    """Sysctls for the limits of inotify; none where a limit is higher already, or cannot be written.

    One that equals what is wanted is included, or it would be in no file after the run that has set it.
    """
    if not host["writable"]:
        return {}
    wanted = dict(zip(INOTIFY, (instances, watches), strict=True))
    present = host["present"]
    return {name: str(limit) for name, limit in wanted.items() if limit and name in present and present[name] <= limit}


def _reserved(cpus: int, memory: int) -> ReservedResources:
    """What a host of so many CPUs and MiB keeps from its pods: half of it for Kubernetes, half for the system."""
    amounts = {"cpu": (_share(cpus * 1000, RESERVED_CPU), "m"), "memory": (_share(memory, RESERVED_MEMORY), "Mi")}
    return {
        "kube": {name: f"{amount // 2}{unit}" for name, (amount, unit) in amounts.items()},
        "system": {name: f"{amount - amount // 2}{unit}" for name, (amount, unit) in amounts.items()},
    }


def _share(amount: float, shares: Sequence[tuple[float, float]]) -> int:
    """Percentages of an amount, piece by piece."""
    found = 0.0
    for size, percent in shares:
        found += min(amount, size) * percent / 100
        amount -= min(amount, size)
    return math.ceil(found)


def _open_files(report: HostReport, resource: bool, reasons: list[str]) -> int:
    """Open files for a unit: what PID 1 may give, or raise."""
    limit = report["limits"]["init"]["nofile"]
    if resource or limit is None or limit >= OPEN_FILES:
        return OPEN_FILES
    reasons.append(f"open files are limited to {limit}, and CAP_SYS_RESOURCE to raise that is missing")
    return limit
