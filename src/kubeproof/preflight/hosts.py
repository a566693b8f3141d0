"""Checks of one host by its report."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from kubeproof.host_report import Disk, HostReport, Port, Process
from kubeproof.preflight.findings import Finding, Severity
from kubeproof.preflight.model import ETCD, MEBIBYTE, DiskRule, Host, PortRule, Rules

Check = Callable[[Host, HostReport, Rules], Iterator[Finding]]

# Those that components are published for.
ARCHITECTURES = ("amd64", "arm64")
# https://kubernetes.io/docs/reference/node/kernel-version-requirements/
KERNEL, KERNEL_FOR_NFTABLES = "4.19", "5.13"
# Programs that every host must have, with the packages that bring them: what `host_packages` cannot install.
COMMANDS = {"ip": "iproute2", "mount": "mount", "tar": "tar", "useradd": "passwd"}
# With less than this left (MiB), nothing can be written safely, installed already or not.
FULL = 64
FEW_INODES = 1000
# Without these kubelet does not start (k8s.io/kubernetes pkg/kubelet/cm); cpuacct is a part of cpu in version 2.
CONTROLLERS = {1: ("cpu", "cpuacct", "cpuset", "memory", "pids"), 2: ("cpu", "cpuset", "memory", "pids")}
WILDCARDS = ("0.0.0.0", "::")
# As the kernel cuts their names: fifteen characters.
KUBERNETES = (
    "k0s", "k3s", "k3s-agent", "k3s-server", "kube-apiserver", "kube-controller", "kube-proxy", "kube-scheduler",
    "kubelet", "microk8s", "rke2",
)  # fmt: skip


def check_host(host: Host, rules: Rules) -> Iterator[Finding]:
    """All that can be said of a host by itself."""
    if host.report is None:
        yield _unexamined(host)
        return
    for check in CHECKS:
        yield from check(host, host.report, rules)


def _unexamined(host: Host) -> Finding:
    if host.unreachable:
        mend = "Start it, or correct its ansible_ connection settings; or leave it out with --limit '!HOST'."
        return Finding("unreachable", "", host.name, f"it cannot be reached: {host.problem}", mend)
    mend = "It must be reachable as root or by sudo (become), and have Python 3.8 or newer."
    return Finding("unexamined", "", host.name, f"it cannot be examined: {host.problem}", mend)


def _platform(host: Host, report: HostReport, rules: Rules) -> Iterator[Finding]:
    if report["arch"] not in ARCHITECTURES:
        wanted = " or ".join(ARCHITECTURES)
        yield Finding("architecture", report["arch"], host.name, f"its architecture is {report['arch']}", f"Use {wanted}.")
    if not report["systemd"]["init"]:
        yield Finding("systemd", "", host.name, "systemd is not its init", "kubeproof installs systemd units; use a system with it.")
    if host.node and _numbers(report["kernel"]) < _numbers(minimum := KERNEL_FOR_NFTABLES if rules.nftables else KERNEL):
        mend = "Upgrade it" + ("; or set kube_proxy_mode to iptables." if rules.nftables else ".")
        yield Finding("kernel", report["kernel"], host.name, f"its kernel {report['kernel']} is older than {minimum}", mend)
    system = report["os"]
    if system["version"] not in rules.operating_systems.get(system["id"], ()):
        name = system["pretty"] or system["id"] or "of an unknown kind"
        known = "; ".join(f"{key} {', '.join(versions)}" for key, versions in rules.operating_systems.items())
        yield Finding(
            "operating-system", system["id"], host.name, f"its system, {name}, is not among those that kubeproof is tested on",
            f"Tested are {known}. To accept this one, add it to preflight_operating_systems.", "warning",
        )  # fmt: skip


def _numbers(version: str) -> list[int]:
    """The leading numbers of a version: ``6.1.0-18-amd64`` is [6, 1, 0]."""
    match = re.match(r"\d+(\.\d+)*", version)
    return [int(part) for part in match.group().split(".")] if match else []


def _memory(host: Host, report: HostReport, rules: Rules) -> Iterator[Finding]:
    needs = [(amount, group) for group, amount in rules.minimum_memory.items() if group in host.groups]
    amount, group = max(needs, default=(0, ""))
    total = report["memory"]["total"] // MEBIBYTE
    if total < amount:
        wrong = f"it has {total} MiB of memory; hosts in {group} need {amount} MiB"
        yield Finding("memory", group, host.name, wrong, "Add memory, or lower preflight_minimum_memory.")


def _swap(host: Host, report: HostReport, rules: Rules) -> Iterator[Finding]:
    if not (host.node and report["swap"]["on"]):
        return
    devices = ", ".join(report["swap"]["devices"])
    off = "Turn it off: swapoff -a, and remove it from /etc/fstab."
    if report["cgroup"]["version"] == 1:
        yield Finding("swap", devices, host.name, f"swap is on ({devices}), and cgroup version 1 cannot keep pods out of it", off)
    else:
        yield Finding(
            "swap", devices, host.name, f"swap is on ({devices}); kubelet is told to bear it, and pods get none", off, "warning"
        )


def _disks(host: Host, report: HostReport, rules: Rules) -> Iterator[Finding]:
    """Paths on one file system share its free space, so what they need is added up."""
    shared: dict[int, list[DiskRule]] = {}
    for rule in rules.disks:
        if host.within(rule.groups) and rule.path in report["disks"]:
            shared.setdefault(report["disks"][rule.path]["device"], []).append(rule)
    for wanted in shared.values():
        yield from _file_system(host, report, report["disks"][wanted[0].path], wanted)


def _file_system(host: Host, report: HostReport, disk: Disk, wanted: Sequence[DiskRule]) -> Iterator[Finding]:
    paths = ", ".join(rule.path for rule in wanted)
    needed = sum(rule.free for rule in wanted)
    free = disk["free"] // MEBIBYTE
    if disk["read_only"]:
        mend = "Mount it writable, or move what goes there (cluster_bin_directory for binaries)."
        yield Finding("read-only", paths, host.name, f"the file system of {paths} is read-only", mend)
    elif free < needed:
        # What is installed already needs that space no more.
        severity: Severity = "warning" if report["installed"]["manifest"] and free >= FULL else "error"
        wrong = f"{free} MiB are free for {paths} ({disk['type']} at {disk['on']}); {needed} MiB are needed"
        yield Finding("disk", paths, host.name, wrong, "Make room, or lower preflight_minimum_disk.", severity)
    # File systems without a fixed number of inodes (btrfs) report none at all.
    if disk["inodes_total"] and disk["inodes_free"] < FEW_INODES:
        wrong = f"{disk['inodes_free']} inodes are free for {paths}"
        yield Finding("inodes", paths, host.name, wrong, "Remove small files, or make a file system with more inodes.")


def _ports(host: Host, report: HostReport, rules: Rules) -> Iterator[Finding]:
    ours = set(report["installed"]["units"])
    for rule in rules.ports:
        if not host.within(rule.groups):
            continue
        taken = [port for port in report["ports"] if _collides(rule, port) and _unit(port) not in ours]
        if taken:
            wrong = f"port {rule.port} is taken by {_named(taken[0]['process'])}; {rule.component} needs it"
            yield Finding("port", str(rule.port), host.name, wrong, _freed(taken[0]["process"]))


def _collides(rule: PortRule, port: Port) -> bool:
    """Whether both cannot listen: same port, and one on all addresses or both on loopback."""
    if rule.port != port["port"]:
        return False
    return rule.listen == "all" or port["address"] in WILDCARDS or port["address"].startswith("127.")


def _unit(port: Port) -> str:
    return port["process"]["unit"] if port["process"] else ""


def _named(process: Process | None) -> str:
    if process is None:
        return "a process that could not be told"
    unit = f", {process['unit']}" if process["unit"] else ""
    return f"{process['name']} (PID {process['pid']}{unit})"


def _freed(process: Process | None) -> str:
    if process and process["unit"].endswith(".service"):
        return f"Stop it: systemctl disable --now {process['unit']}; or give one of them another port."
    return "Stop it, or give one of them another port."


def _modules(host: Host, report: HostReport, rules: Rules) -> Iterator[Finding]:
    if not host.node:
        return
    may_load = "CAP_SYS_MODULE" in report["capabilities"]["self"] and report["commands"].get("modprobe")
    for name in rules.modules:
        state = report["modules"].get(name, "missing")
        if state == "missing":
            wrong = f"its kernel {report['kernel']} has no module {name}"
            mend = "Install the distribution's package of (extra) kernel modules; on a container, load it on the machine."
            yield Finding("kernel-module", name, host.name, wrong, mend)
        elif state == "loadable" and not may_load:
            wrong = f"the kernel module {name} is not loaded and cannot be loaded from here"
            yield Finding("kernel-module", name, host.name, wrong, f"Run modprobe {name} on the machine that carries this host.")


def _cgroup(host: Host, report: HostReport, rules: Rules) -> Iterator[Finding]:
    if not host.node:
        return
    cgroup = report["cgroup"]
    missing = [name for name in CONTROLLERS[cgroup["version"]] if name not in cgroup["controllers"]]
    if missing:
        wrong = f"cgroup controllers are off: {', '.join(missing)}"
        mend = "Turn them on with the kernel's command line (cgroup_enable=memory), and start the host again."
        yield Finding("cgroup-controllers", ",".join(missing), host.name, wrong, mend)
    if cgroup["version"] == 1:
        mend = "It works for now (kubelet's failCgroupV1 is turned off); for version 2 boot with systemd.unified_cgroup_hierarchy=1."
        yield Finding("cgroup-v1", "", host.name, "cgroups are of version 1, which Kubernetes is about to drop", mend, "warning")


def _commands(host: Host, report: HostReport, rules: Rules) -> Iterator[Finding]:
    for command, package in COMMANDS.items():
        if not report["commands"].get(command):
            install = " ".join(filter(None, (report["package_manager"], "install", package)))
            yield Finding("command", command, host.name, f"the command {command} is missing", f"Install it: {install}.")


def _address(host: Host, report: HostReport, rules: Rules) -> Iterator[Finding]:
    known = [entry.partition("/")[0] for interface in report["interfaces"].values() for entry in interface["addresses"]]
    # Without `ip` nothing is known of interfaces; that command's own check tells.
    if known and host.address not in known:
        wrong = f"its address {host.address} (cluster_host_address) is on none of its interfaces"
        yield Finding("address", host.address, host.name, wrong, f"Set cluster_host_address to one of {', '.join(known)}.")
    if host.node and report["default_route"] is None:
        wrong = "it has no default route, so it cannot reach service addresses, which are on no network of its own"
        yield Finding("default-route", "", host.name, wrong, "Add one; it need lead nowhere.", "warning")


def _others(host: Host, report: HostReport, rules: Rules) -> Iterator[Finding]:
    """Another Kubernetes, or what is left of one."""
    ours = set(report["installed"]["units"])
    for process in report["processes"]:
        if process["unit"] in ours:
            continue
        if process["name"] in KUBERNETES:
            wrong = f"{_named(process)} runs, and is not of kubeproof's installation"
            yield Finding("foreign-kubernetes", process["name"], host.name, wrong, "Remove that installation with its own uninstaller.")
        elif process["unit"] == "containerd.service" and host.node:
            wrong = f"a containerd that is not kubeproof's runs ({_named(process)}), and its unit would be replaced"
            yield Finding("foreign-containerd", "", host.name, wrong, "Remove it (and Docker, if it belongs to that), or use another host.")
        elif process["name"] == "firewalld":
            wrong = "firewalld is on, and drops pods' and nodes' traffic unless told about it"
            yield Finding("firewall", "firewalld", host.name, wrong, "systemctl disable --now firewalld, or open its ports.", "warning")
    for path in report["leftovers"]:
        if path == "/var/lib/etcd" and ETCD in host.groups:
            wrong = "/var/lib/etcd holds data that is not of kubeproof's installation"
            yield Finding("foreign-data", path, host.name, wrong, "Save it if it is needed, then remove it.")
        else:
            wrong = f"{path} holds files of another installation"
            yield Finding("leftover", path, host.name, wrong, "Remove them if nothing needs them.", "warning")


def _resolver(host: Host, report: HostReport, rules: Rules) -> Iterator[Finding]:
    resolver = report["resolver"]
    looped = [address for address in resolver["nameservers"] if address.startswith("127.") or address == "::1"]
    if host.node and looped and not resolver["upstream"]:
        wrong = f"/etc/resolv.conf names {looped[0]}, which is the pod itself when cluster DNS asks it"
        yield Finding("resolver", looped[0], host.name, wrong, "Name a server that pods reach.", "warning")


def _clock(host: Host, report: HostReport, rules: Rules) -> Iterator[Finding]:
    # A container's clock is its machine's.
    if report["clock"]["synchronised"] is False and not report["container"]:
        mend = "Run a time service: systemd-timesyncd, chrony."
        yield Finding("clock-unsynchronised", "", host.name, "nothing keeps its clock right", mend, "warning")


def _selinux(host: Host, report: HostReport, rules: Rules) -> Iterator[Finding]:
    if report["selinux"] == "enforcing":
        wrong = "SELinux is enforcing, for which kubeproof brings no policy"
        yield Finding("selinux", "", host.name, wrong, "Install container-selinux, or set it to permissive.", "warning")


CHECKS: tuple[Check, ...] = (
    _platform, _memory, _swap, _disks, _ports, _modules, _cgroup, _commands, _address, _others, _resolver, _clock,
    _selinux,
)  # fmt: skip
