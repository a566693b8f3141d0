"""Checks of one host by its report."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from kubeproof.components.pins import ARCHITECTURES
from kubeproof.preflight.findings import Finding
from kubeproof.preflight.model import ETCD, MEBIBYTE, DiskRule, Host, PortRule, Rules, plain_addresses
from kubeproof.settings import remote
from kubeproof.settings.host_report import Disk, HostReport, Port, Process

# https://kubernetes.io/docs/reference/node/kernel-version-requirements/
KERNEL, KERNEL_FOR_NFTABLES = "4.19", "5.13"
# `systemctl show --timestamp=us+utc` came with 248, `OnSuccess=` with 249 (systemd's NEWS).
SYSTEMD = 249
# Programs that every host must have, and the packages that bring them: what the role `host` needs to install others.
COMMANDS = {"ip": "iproute2", "mount": "mount", "tar": "tar", "useradd": "passwd"}
# With less than this left (MiB), nothing can be written safely, installed already or not.
FULL = 64
FEW_INODES = 1000
# Without these kubelet does not start (k8s.io/kubernetes pkg/kubelet/cm); in version 2 cpuacct is a part of cpu.
CONTROLLERS = {1: ("cpu", "cpuacct", "cpuset", "memory", "pids"), 2: ("cpu", "cpuset", "memory", "pids")}
_EXAMINABLE = "It must let Ansible become root, and have Python 3.8 or newer; 3.9 for ansible-core 2.20 and later."
WILDCARDS = ("0.0.0.0", "::")  # noqa: S104  (compared with, not bound to)
# Processes of a Kubernetes, by their names as the kernel cuts them: fifteen characters.
KUBERNETES = frozenset(
    (
        "k0s",
        "k3s",
        "k3s-agent",
        "k3s-server",
        "kube-apiserver",
        "kube-controller",
        "kube-proxy",
        "kube-scheduler",
        "kubelet",
        "microk8s",
        "rke2",
    )
)


def check_host(host: Host, rules: Rules) -> Iterator[Finding]:
    """All that can be said of a host by itself."""
    if host.report is None:
        yield _unexamined(host)
        return
    for finding in Examination(host, host.report, rules).findings():
        yield replace(finding, host=host.name)


def _unexamined(host: Host) -> Finding:
    if host.unreachable:
        mend = f"Start it, or correct its ansible_ connection settings, or leave it out: --limit '!{host.name}'."
        return Finding("unreachable", f"it cannot be reached: {host.problem}", mend, host=host.name)
    mend = remote.advice(host.problem)
    mend = f"{mend[0].upper()}{mend[1:]}." if mend else _EXAMINABLE
    return Finding("unexamined", f"it cannot be examined: {host.problem}", mend, host=host.name)


@dataclass(frozen=True)
class Examination:
    """One host before the checks. Its methods leave the host's name out of what they find."""

    host: Host
    report: HostReport
    rules: Rules

    def findings(self) -> Iterator[Finding]:
        """What all checks find. Of what is not root's to see nothing is said."""
        if self.report["user"]["id"] != 0:
            yield self._no_root()
            return
        yield from self._platform()
        yield from self._operating_system()
        yield from self._memory()
        yield from self._disks()
        yield from self._ports()
        yield from self._commands()
        yield from self._address()
        yield from self._leftovers()
        yield from self._processes()
        yield from self._clock()
        if self.host.node:
            yield from self._kernel()
            yield from self._modules()
            yield from self._cgroup()
            yield from self._swap()
            yield from self._route()
            yield from self._resolver()
            yield from self._selinux()

    def _no_root(self) -> Finding:
        user = self.report["user"]["name"]
        mend = f"{remote.MEND[0].upper()}{remote.MEND[1:]}. Or log in as root: ansible_user: root."
        return Finding("become", f"commands run as {user} there, and everything needs root", mend, user)

    def _platform(self) -> Iterator[Finding]:
        arch = self.report["arch"]
        if arch not in ARCHITECTURES:
            mend = f"Use a host with {' or '.join(ARCHITECTURES)}."
            yield Finding("architecture", f"components are not to be had for its architecture {arch}", mend, arch)
        if not self.report["systemd"]["init"]:
            yield Finding("systemd", "systemd is not its init", "Use a system with it: kubeproof installs units.")
        version = self.report["systemd"]["version"]
        if version is not None and version < SYSTEMD:
            wrong = f"its systemd {version} is older than {SYSTEMD}, of which units and their checks make use"
            yield Finding(
                "systemd", wrong, "Use a newer system: Debian 12, Ubuntu 22.04, RHEL 9 have it.", str(version)
            )

    def _operating_system(self) -> Iterator[Finding]:
        system, tested = self.report["os"], self.rules.operating_systems
        if system["version"] not in tested.get(system["id"], ()):
            name = system["pretty"] or system["id"] or "of an unknown kind"
            known = "; ".join(f"{key} {', '.join(versions)}" for key, versions in tested.items())
            mend = (
                f"Tried were {known}; one of the same family and age is expected to work. "
                "To accept it, add it to preflight_operating_systems."
            )
            wrong = f"its system, {name}, is not one that kubeproof was tried on"
            yield Finding("operating-system", wrong, mend, system["id"], severity="warning")

    def _kernel(self) -> Iterator[Finding]:
        minimum = KERNEL_FOR_NFTABLES if self.rules.nftables else KERNEL
        if _numbers(self.report["kernel"]) < _numbers(minimum):
            mend = "Upgrade it" + (", or set kube_proxy_mode to iptables." if self.rules.nftables else ".")
            yield Finding("kernel", f"its kernel {self.report['kernel']} is older than {minimum}", mend)

    def _memory(self) -> Iterator[Finding]:
        minimum = self.rules.minimum_memory
        needed, group = max(((minimum.get(group, 0), group) for group in self.host.groups), default=(0, ""))
        total = self.report["memory"]["total"] // MEBIBYTE
        if total < needed:
            wrong = f"it has {total} MiB of memory; hosts in {group} need {needed} MiB"
            yield Finding("memory", wrong, "Add memory, or lower preflight_minimum_memory.", group)

    def _swap(self) -> Iterator[Finding]:
        swap = self.report["swap"]
        if not swap["on"]:
            return
        devices = ", ".join(swap["devices"])
        mend = "Turn it off: swapoff -a, and take it out of /etc/fstab."
        if self.report["cgroup"]["version"] == 1:
            wrong = f"swap is on ({devices}), and cgroup version 1 cannot keep pods out of it"
            yield Finding("swap", wrong, mend)
        else:
            wrong = f"swap is on ({devices}); pods are kept out of it"
            yield Finding("swap", wrong, mend, severity="warning")

    def _disks(self) -> Iterator[Finding]:
        """Paths on one file system share its free space, so what they need is added up."""
        shared: dict[int, list[DiskRule]] = {}
        for rule in self.rules.disks:
            if self.host.within(rule.groups) and rule.path in self.report["disks"]:
                shared.setdefault(self.report["disks"][rule.path]["device"], []).append(rule)
        for wanted in shared.values():
            yield from self._file_system(self.report["disks"][wanted[0].path], wanted)

    def _file_system(self, disk: Disk, wanted: Sequence[DiskRule]) -> Iterator[Finding]:
        paths = ", ".join(rule.path for rule in wanted)
        needed, free = sum(rule.free for rule in wanted), disk["free"] // MEBIBYTE
        # What is installed already has been given its space.
        bearable = self.report["installed"]["manifest"] and free >= FULL
        if disk["read_only"]:
            mend = "Mount it writable, or move what goes there: cluster_bin_directory for binaries."
            yield Finding("read-only", f"{paths}: the file system ({disk['type']}) is read-only", mend, wanted[0].path)
        elif free < needed:
            wrong = f"{paths}: {free} MiB are free ({disk['type']} at {disk['on']}), {needed} MiB are needed"
            mend = "Make room, or lower preflight_minimum_disk."
            yield Finding("disk", wrong, mend, wanted[0].path, severity="warning" if bearable else "error")
        # File systems without a fixed number of inodes (btrfs) report none at all.
        if disk["inodes_total"] and disk["inodes_free"] < FEW_INODES:
            wrong = f"{paths}: {disk['inodes_free']} inodes are free"
            yield Finding("inodes", wrong, "Remove small files, or use a file system with more inodes.", wanted[0].path)

    def _ports(self) -> Iterator[Finding]:
        for rule in self.rules.ports:
            if self.host.within(rule.groups):
                taken = [
                    port for port in self.report["ports"] if _collides(rule, port) and not self._ours(port["process"])
                ]
                if taken:
                    holder = taken[0]["process"]
                    wrong = f"port {rule.port}, which {rule.component} needs, is taken by {_named(holder)}"
                    yield Finding("port", wrong, _freed(holder), str(rule.port))

    def _ours(self, process: Process | None) -> bool:
        return process is not None and process["unit"] in self.report["installed"]["units"]

    def _commands(self) -> Iterator[Finding]:
        manager = self.report["package_manager"]
        for command, package in COMMANDS.items():
            if not self.report["commands"].get(command):
                mend = f"{manager} install {package}" if manager else f"Install {package}."
                yield Finding("command", f"the command {command} is missing", mend, command)

    def _modules(self) -> Iterator[Finding]:
        kernel = self.report["kernel"]
        loads = "CAP_SYS_MODULE" in self.report["capabilities"]["self"] and self.report["commands"].get("modprobe")
        for name in self.rules.modules:
            state = self.report["modules"].get(name, "missing")
            if state == "missing":
                mend = (
                    "Install the package with the rest of its modules; for a container, load it on the machine below."
                )
                yield Finding("kernel-module", f"its kernel {kernel} has no module {name}", mend, name)
            elif state == "loadable" and not loads:
                wrong = f"the kernel module {name} is not loaded, and cannot be loaded from here"
                yield Finding("kernel-module", wrong, f"On the machine that carries it: modprobe {name}.", name)

    def _cgroup(self) -> Iterator[Finding]:
        cgroup = self.report["cgroup"]
        missing = [name for name in CONTROLLERS[cgroup["version"]] if name not in cgroup["controllers"]]
        if missing:
            wrong = f"cgroup controllers are off: {', '.join(missing)}"
            mend = "Turn them on with the kernel's command line (cgroup_enable=memory), and reboot."
            yield Finding("cgroup-controllers", wrong, mend)
        if cgroup["version"] == 1:
            wrong = "cgroups are of version 1, which Kubernetes is about to drop"
            mend = "It works still, with kubelet told so. For version 2 boot with systemd.unified_cgroup_hierarchy=1."
            yield Finding("cgroup-v1", wrong, mend, severity="warning")

    def _address(self) -> Iterator[Finding]:
        known = [address for interface in self.report["interfaces"].values() for address in plain_addresses(interface)]
        # Nothing is known of interfaces without `ip`, of which the check of commands tells.
        if known and self.host.address and self.host.address not in known:
            wrong = f"its address {self.host.address} (cluster_host_address) is on none of its interfaces"
            mend = f"Set cluster_host_address to one of {', '.join(known)}."
            yield Finding("address", wrong, mend, self.host.address)

    def _route(self) -> Iterator[Finding]:
        if self.report["default_route"] is None:
            wrong = "it has no default route, without which it cannot reach service addresses from itself"
            yield Finding("default-route", wrong, "Add one; it need lead nowhere.", severity="warning")

    def _processes(self) -> Iterator[Finding]:
        """Another Kubernetes, or what would be in its way."""
        for process in self.report["processes"]:
            if self._ours(process):
                continue
            if process["name"] in KUBERNETES:
                wrong = f"{_named(process)} runs, and is not of kubeproof's installation"
                mend = "Remove that installation with its own uninstaller."
                yield Finding("foreign-kubernetes", wrong, mend, process["name"])
            elif process["unit"] == "containerd.service" and self.host.node:
                wrong = f"another containerd runs ({_named(process)}), whose unit would be replaced"
                mend = "Remove it, and Docker if it belongs to that; or use another host."
                yield Finding("foreign-containerd", wrong, mend)
            elif process["name"] == "firewalld":
                wrong = "firewalld runs, and drops what pods and nodes send unless it is told of them"
                mend = "systemctl disable --now firewalld; or open the cluster's ports and networks in it."
                yield Finding("firewall", wrong, mend, severity="warning")

    def _leftovers(self) -> Iterator[Finding]:
        for path in self.report["leftovers"]:
            if path == self.rules.etcd_data_directory and ETCD in self.host.groups:
                wrong = f"{path} holds data that is not of kubeproof's installation"
                yield Finding("foreign-data", wrong, "Save it if anyone needs it, then remove it.", path)
            else:
                wrong = f"{path} holds files of another installation"
                yield Finding("leftover", wrong, "Remove them if nothing needs them.", path, severity="warning")

    def _resolver(self) -> Iterator[Finding]:
        resolver = self.report["resolver"]
        looped = [address for address in resolver["nameservers"] if address.startswith("127.") or address == "::1"]
        if looped and not resolver["upstream"]:
            wrong = f"/etc/resolv.conf names {looped[0]}, which within the cluster's DNS is that itself"
            mend = "Name a server that pods reach, there or in a file that kubelet_resolv_conf names."
            yield Finding("resolver", wrong, mend, severity="warning")

    def _clock(self) -> Iterator[Finding]:
        # A container's clock is its machine's business.
        if self.report["clock"]["synchronised"] is False and not self.report["container"]:
            mend = "Run a time service: systemd-timesyncd, chrony."
            yield Finding("clock-unsynchronised", "nothing keeps its clock right", mend, severity="warning")

    def _selinux(self) -> Iterator[Finding]:
        if self.report["selinux"] == "enforcing":
            wrong = (
                "SELinux is enforcing, and kubeproof brings no policy: a packaged haproxy, for one, may neither listen "
                "on the balancer's port nor connect to API servers"
            )
            mend = (
                "Set it to permissive: setenforce 0, and SELINUX=permissive in /etc/selinux/config. With a policy of "
                "your own, add selinux to preflight_ignore."
            )
            yield Finding("selinux", wrong, mend)


def _numbers(version: str) -> list[int]:
    """The leading numbers of a version: ``6.1.0-18-amd64`` is [6, 1, 0]."""
    match = re.match(r"\d+(\.\d+)*", version)
    return [int(part) for part in match.group().split(".")] if match else []


def _collides(rule: PortRule, port: Port) -> bool:
    """Whether both cannot listen: same port, and one on all addresses or both on loopback."""
    if rule.port != port["port"]:
        return False
    return rule.listen == "all" or port["address"] in WILDCARDS or port["address"].startswith("127.")


def _named(process: Process | None) -> str:
    if process is None:
        return "a process that cannot be told"
    unit = f", {process['unit']}" if process["unit"] else ""
    return f"{process['name']} (PID {process['pid']}{unit})"


def _freed(process: Process | None) -> str:
    if process and process["unit"].endswith(".service"):
        return f"systemctl disable --now {process['unit']}; or give one of them another port."
    return "Stop it, or give one of them another port."
