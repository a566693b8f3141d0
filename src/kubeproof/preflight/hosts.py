"""Checks of one host by its report."""

from __future__ import annotations

import ipaddress
import posixpath
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from kubeproof.components.pins import ARCHITECTURES
from kubeproof.preflight.findings import Finding, Severity
from kubeproof.preflight.model import DATA, ETCD, LOGS, MEBIBYTE, DiskRule, Host, PortRule, Rules, plain_addresses
from kubeproof.settings import host_settings, quantities, remote, runtimes
from kubeproof.settings.host_report import Disk, HostReport, Port, Process
from kubeproof.settings.sysctls import of_a_module

# https://kubernetes.io/docs/reference/node/kernel-version-requirements/
KERNEL, KERNEL_FOR_NFTABLES = "4.19", "5.13"
# `systemctl show --timestamp=us+utc` came with 248, `OnSuccess=` with 249 (systemd's NEWS).
SYSTEMD = 249
# The first that takes versions after 1.1 of the OCI runtime specification, which containerd 2 writes; earlier ones
# refuse them: https://github.com/containers/crun/issues/1620
CRUN, CRUN_FOR_CONTAINERD = "crun", (1, 14, 3)
# Programs that every host must have, and their packages: the role `host` needs them to install others.
COMMANDS = {"ip": "iproute2", "mount": "mount", "tar": "tar", "useradd": "passwd"}
# With less than this left (MiB), nothing can be written safely, installed already or not.
FULL = 64
FEW_INODES = 1000
# Without these the kubelet does not start (k8s.io/kubernetes pkg/kubelet/cm); in version 2 cpuacct is a part of cpu.
CONTROLLERS = {1: ("cpu", "cpuacct", "cpuset", "memory", "pids"), 2: ("cpu", "cpuset", "memory", "pids")}
_EXAMINABLE = (
    "Ansible must be able to become root there, and Python must be 3.8 or newer; 3.9 for ansible-core 2.20 and later."
)
WILDCARDS = ("0.0.0.0", "::")  # noqa: S104  (compared with, not bound to)
# Processes of a Kubernetes, by their names as the kernel cuts them: fifteen characters.
# The earliest that runs what runs as a service (docs/development/map.md).
PYTHON = "3.8"
ETC = "/etc"
_FORWARDING = "net.ipv6.conf.all.forwarding"
# Not derived from the fact: units, the manifest of a reset and operators' habits have that path.
_WRITABLE_BINARIES = (
    "Mount it writable; or, for a system whose /usr cannot be changed, set cluster_bin_directory: /opt/bin for this "
    "host."
)
# Types of file systems, by how they begin, that lose etcd's writes or its locks.
_REMOTE = "which is not of this host: etcd needs the writes and locks of a local disk"
_NOT_FOR_ETCD = {
    **dict.fromkeys(("9p", "cifs", "fuse.", "glusterfs", "nfs", "smb"), _REMOTE),
    **dict.fromkeys(("ramfs", "tmpfs"), "which is in memory: a reboot would lose the cluster"),
}
# Those that may do, if one knows.
_DOUBTFUL_FOR_ETCD = {
    "overlay": "whose upper layer is a container's or an image's: the data may go with that, and writes are slower",
}
# What a 99th percentile of etcd's disk should be below: https://etcd.io/docs/latest/op-guide/hardware/
_SLOW_SYNC = 0.010
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
    """Findings that concern a single host."""
    if host.report is None:
        yield _unexamined(host)
        return
    for finding in Examination(host, host.report, rules).findings():
        yield replace(finding, host=host.name)


def _unexamined(host: Host) -> Finding:
    if host.unreachable:
        remediation = (
            f"Start the host, or correct its ansible_ connection settings, or exclude it: --limit '!{host.name}'."
        )
        return Finding("unreachable", f"unreachable: {host.problem}", remediation, host=host.name)
    remediation = host.remediation or remote.advice(host.problem)
    remediation = f"{remediation[0].upper()}{remediation[1:]}." if remediation else _EXAMINABLE
    return Finding("unexamined", f"facts cannot be gathered: {host.problem}", remediation, host=host.name)


@dataclass(frozen=True)
class Examination:
    """Checks of one host. Findings of its methods lack the host's name."""

    host: Host
    report: HostReport
    rules: Rules

    def findings(self) -> Iterator[Finding]:
        """Findings of all checks. Without root only that is reported."""
        if self.report["user"]["id"] != 0:
            yield self._no_root()
            return
        yield from self._platform()
        yield from self._operating_system()
        yield from self._memory()
        yield from self._disks()
        yield from self._logs()
        yield from self._mounts()
        yield from self._python()
        yield from self._ports()
        yield from self._commands()
        yield from self._address()
        yield from self._ipv6_address()
        yield from self._leftovers()
        yield from self._processes()
        yield from self._clock()
        if self.host.node:
            yield from self._hidden_processes()
            yield from self._kernel()
            yield from self._modules()
            yield from self._sysctls()
            yield from self._cgroup()
            yield from self._swap()
            yield from self._route()
            yield from self._router_advertisements()
            yield from self._resolver()
            yield from self._selinux()
            yield from self._apparmor()
            yield from self._gvisor()
            yield from self._sandboxes()
            yield from self._runtimes()
            yield from self._evicting()
            yield from self._iptables()

    def _no_root(self) -> Finding:
        user = self.report["user"]["name"]
        remediation = f"{remote.REMEDIATION[0].upper()}{remote.REMEDIATION[1:]}. Or log in as root: ansible_user: root."
        return Finding("become", f"commands run as {user}, and root is needed", remediation, user)

    def _platform(self) -> Iterator[Finding]:
        arch = self.report["arch"]
        if arch not in ARCHITECTURES:
            remediation = f"Use a host with {' or '.join(ARCHITECTURES)}."
            yield Finding("architecture", f"there are no components for its architecture {arch}", remediation, arch)
        if not self.report["systemd"]["init"]:
            yield Finding(
                "systemd", "its init system is not systemd", "Use a host with systemd: kubeproof installs units."
            )
        version = self.report["systemd"]["version"]
        if version is not None and version < SYSTEMD:
            problem = f"its systemd {version} is older than {SYSTEMD}, which units and their checks need"
            yield Finding(
                "systemd", problem, "Use a newer system: Debian 12, Ubuntu 22.04 and RHEL 9 have it.", str(version)
            )

    def _operating_system(self) -> Iterator[Finding]:
        system, tested = self.report["os"], self.rules.operating_systems
        if system["version"] not in tested.get(system["id"], ()):
            name = system["pretty"] or system["id"] or "which is unknown"
            known = "; ".join(f"{key} {', '.join(versions)}" for key, versions in tested.items())
            remediation = (
                f"Tested were {known}; a system of the same family and age is expected to work. "
                "To accept this one, add it to preflight_operating_systems."
            )
            problem = f"kubeproof was not tested on its operating system, {name}"
            yield Finding("operating-system", problem, remediation, system["id"], severity="warning")

    def _kernel(self) -> Iterator[Finding]:
        minimum = KERNEL_FOR_NFTABLES if self.rules.nftables else KERNEL
        if _numbers(self.report["kernel"]) < _numbers(minimum):
            remediation = "Upgrade the kernel" + (
                ", or set kube_proxy_mode to iptables." if self.rules.nftables else "."
            )
            yield Finding("kernel", f"its kernel {self.report['kernel']} is older than {minimum}", remediation)

    def _memory(self) -> Iterator[Finding]:
        minimum = self.rules.minimum_memory
        needed, group = max(((minimum.get(group, 0), group) for group in self.host.groups), default=(0, ""))
        total = self.report["memory"]["total"] // MEBIBYTE
        if total < needed:
            problem = f"it has {total} MiB of memory; hosts in {group} need {needed} MiB"
            yield Finding("memory", problem, "Add memory, or lower preflight_minimum_memory.", group)

    def _swap(self) -> Iterator[Finding]:
        swap = self.report["swap"]
        if not swap["on"]:
            return
        devices = ", ".join(swap["devices"])
        remediation = "Turn swap off: swapoff -a, and remove it from /etc/fstab."
        if self.report["cgroup"]["version"] == 1:
            problem = f"swap is on ({devices}), and cgroup version 1 cannot keep pods from using it"
            yield Finding("swap", problem, remediation)
        else:
            problem = f"swap is on ({devices}); pods cannot use it"
            yield Finding("swap", problem, remediation, severity="warning")

    def _disks(self) -> Iterator[Finding]:
        """Paths on one file system share its free space, so what they need is added up."""
        shared: dict[tuple[int, bool], list[DiskRule]] = {}
        for rule in self.rules.disks:
            if self.host.within(rule.groups) and rule.path in self.report["disks"]:
                disk = self.report["disks"][rule.path]
                # A part of a file system may be mounted read-only.
                shared.setdefault((disk["device"], disk["read_only"]), []).append(rule)
        for wanted in shared.values():
            yield from self._file_system(self.report["disks"][wanted[0].path], wanted)

    def _file_system(self, disk: Disk, wanted: Sequence[DiskRule]) -> Iterator[Finding]:
        paths = ", ".join(rule.path for rule in wanted)
        needed, free = sum(rule.free for rule in wanted), disk["free"] // MEBIBYTE
        if disk["read_only"] and wanted[0].path == "/" and self._writable(ETC):
            # Of a system that cannot be changed: nothing is written there but below directories that are others.
            return
        # What is installed already has taken its space.
        bearable = self.report["installed"]["manifest"] and free >= FULL
        if disk["read_only"]:
            settings = {rule.setting for rule in wanted}
            remediation = _WRITABLE_BINARIES if "cluster_bin_directory" in settings else "Mount it writable."
            yield Finding(
                "read-only", f"{paths}: the file system ({disk['type']}) is read-only", remediation, wanted[0].path
            )
        elif free < needed:
            problem = f"{paths}: {free} MiB are free ({disk['type']} at {disk['on']}), {needed} MiB are needed"
            remediation = "Free disk space, or lower preflight_minimum_disk."
            yield Finding("disk", problem, remediation, wanted[0].path, severity="warning" if bearable else "error")
        # File systems without a fixed number of inodes (btrfs) report none at all.
        if disk["inodes_total"] and disk["inodes_free"] < FEW_INODES:
            problem = f"{paths}: {disk['inodes_free']} inodes are free"
            yield Finding(
                "inodes", problem, "Remove small files, or use a file system with more inodes.", wanted[0].path
            )

    def _evicting(self) -> Iterator[Finding]:
        """Whether a kubelet would let no pod run here, since the disk is as full as it takes: of a disk once."""
        said = set()
        for path, (signal, least) in self.rules.evicts.items():
            disk = self.report["disks"].get(path)
            needed = quantities.threshold(least, disk["total"]) if disk else None
            if disk is None or needed is None or disk["free"] >= needed or disk["device"] in said:
                continue
            said.add(disk["device"])
            free, total = (disk[each] // (1024 * MEBIBYTE) for each in ("free", "total"))
            problem = (
                f"{path}: {free} of {total} GiB are free at {disk['on']}, and with less than {least} its kubelet "
                f"evicts pods and takes none ({signal} of kubelet_eviction_hard)"
            )
            remediation = (
                "Free disk space. Where that much can stay free of a large disk, set amounts: kubelet_eviction_hard: "
                "{memory.available: 100Mi, nodefs.available: 2Gi, nodefs.inodesFree: 5%, imagefs.available: 4Gi, "
                "imagefs.inodesFree: 5%}"
            )
            severity: Severity = "warning" if self.report["installed"]["manifest"] else "error"
            yield Finding("eviction", problem, remediation, path, severity=severity)

    def _writable(self, path: str) -> bool:
        disk = self.report["disks"].get(path)
        return disk is not None and not disk["read_only"]

    def _logs(self) -> Iterator[Finding]:
        """Whether there is room for logs besides what is installed. Where that was, they have taken some of theirs."""
        disk = self.report["disks"].get(LOGS)
        if disk is None or self.report["installed"]["manifest"]:
            return
        on_it = [
            rule.free
            for rule in self.rules.disks
            if self.host.within(rule.groups) and self._device(rule.path) == disk["device"]
        ]
        logs, free = (rule.free for rule in self.rules.logs if self.host.within(rule.groups)), disk["free"] // MEBIBYTE
        needed, more = sum(on_it), sum(logs)
        # With less than the first the host is refused already.
        if needed <= free < needed + more:
            problem = (
                f"logs may take {more} MiB, and {free - needed} MiB of {disk['on']} are left for them; once it is "
                "full, pods are evicted"
            )
            remediation = (
                "Enlarge it, mount a file system of their own at /var/log, or lower apiserver_audit_log_files and "
                "kubelet_max_pods (10 MiB are counted for each pod)."
            )
            yield Finding("disk", problem, remediation, LOGS, severity="warning")

    def _device(self, path: str) -> int | None:
        return self.report["disks"][path]["device"] if path in self.report["disks"] else None

    def _mounts(self) -> Iterator[Finding]:
        """File systems on which programs do not run, or etcd's data is not safe."""
        for path, rule in self.rules.mounts.items():
            disk = self.report["disks"].get(path)
            if disk is None or not self.host.within(rule.groups):
                continue
            if disk["read_only"] and path not in {other.path for other in self.rules.disks}:
                problem = f"{path}: the file system ({disk['type']}) is read-only"
                yield Finding("read-only", problem, "Mount it writable.", path)
            if disk["noexec"]:
                problem = f"{path} is on a file system ({disk['on']}) that is mounted with noexec: {rule.why}"
                remediation = (
                    f"mount -o remount,exec $(findmnt -no TARGET -T {disk['on']}), and take noexec out of /etc/fstab."
                )
                yield Finding("mount-options", problem, remediation, path, severity=rule.severity)
            if disk["nodev"] and rule.devices:
                problem = f"{path} is on a file system ({disk['on']}) that is mounted with nodev: {rule.devices}"
                remediation = (
                    f"mount -o remount,dev $(findmnt -no TARGET -T {disk['on']}), and take nodev out of /etc/fstab; or "
                    f"leave it, if no pod needs that, and add mount-options:{path} to preflight_ignore."
                )
                yield Finding("mount-options", problem, remediation, path, severity="warning")
        yield from self._etcd_disk()

    def _etcd_disk(self) -> Iterator[Finding]:
        """Whether etcd's data is safe where it is to be, and whether that is fast enough."""
        path = self.rules.etcd_data_directory
        disks = {posixpath.normpath(name): disk for name, disk in self.report["disks"].items()}
        disk = disks.get(path)
        if disk is not None and ETCD in self.host.groups:
            why = next((why for kind, why in _NOT_FOR_ETCD.items() if disk["type"].startswith(kind)), "")
            if why:
                problem = f"{path}, etcd's data directory, is on a file system of type {disk['type']}, {why}"
                remediation = "Mount a local disk there, or set etcd_data_directory to a directory on one."
                severity: Severity = "warning" if self.report["installed"]["manifest"] else "error"
                yield Finding("file-system", problem, remediation, path, severity=severity)
            elif disk["type"] in _DOUBTFUL_FOR_ETCD:
                why = _DOUBTFUL_FOR_ETCD[disk["type"]]
                problem = f"{path}, etcd's data directory, is on a file system of type {disk['type']}, {why}"
                remediation = "Mount a disk or a volume there, or set etcd_data_directory to a directory on one."
                yield Finding("file-system", problem, remediation, path, severity="warning")
        speed = self.report["etcd_disk"]
        if speed is not None and speed["p99"] > _SLOW_SYNC:
            problem = (
                f"the disk of {path}, etcd's data directory, is slow: of {speed['writes']} writes one in a hundred "
                f"took {speed['p99'] * 1000:.0f} ms or longer to be on it, and etcd wants less than "
                f"{_SLOW_SYNC * 1000:.0f}"
            )
            remediation = (
                "Expect slow writes and changes of leader under load. Use an SSD, or a disk of its own, and set "
                "etcd_data_directory to a directory on it before the first installation. If it was busy with something "
                "else just now, look again: it is measured until etcd is installed."
            )
            yield Finding("etcd-disk", problem, remediation, path, severity="warning")

    def _python(self) -> Iterator[Finding]:
        version = self.report["service_python"]
        if version and _numbers(version) >= _numbers(PYTHON):
            return
        found = f"is Python {version}, older than {PYTHON}" if version else "is missing"
        manager = self.report["package_manager"]
        install = f"{manager} install python3" if manager else "Install python3"
        remediation = (
            "Use a newer system, or put a newer one there: alternatives --set python3 PATH, where the system has that."
            if version
            else f"{install}; or link the one that there is: ln -s $(command -v python3) /usr/bin/python3"
        )
        problem = f"/usr/bin/python3 {found}; the pod network, etcd's timers and the virtual address run by it"
        yield Finding("python", problem, remediation, "/usr/bin/python3")

    def _hidden_processes(self) -> Iterator[Finding]:
        value = self.report["hidepid"]
        if value:
            problem = (
                f"/proc is mounted with hidepid={value}: what does not run as root, as pods that monitor the host, "
                "sees no processes of others"
            )
            remediation = "mount -o remount,hidepid=0 /proc, and take hidepid out of /etc/fstab."
            yield Finding("hidepid", problem, remediation, severity="warning")

    def _ports(self) -> Iterator[Finding]:
        for rule in self.rules.ports:
            if self.host.within(rule.groups):
                taken = [
                    port for port in self.report["ports"] if _collides(rule, port) and not self._ours(port["process"])
                ]
                if taken:
                    holder = taken[0]["process"]
                    problem = f"port {rule.port}, which {rule.component} needs, is in use by {_named(holder)}"
                    yield Finding("port", problem, _freed(holder), str(rule.port))

    def _ours(self, process: Process | None) -> bool:
        return process is not None and process["unit"] in self.report["installed"]["units"]

    def _commands(self) -> Iterator[Finding]:
        manager = self.report["package_manager"]
        for command, package in COMMANDS.items():
            if not self.report["commands"].get(command):
                remediation = f"{manager} install {package}" if manager else f"Install {package}."
                yield Finding("command", f"the command {command} is missing", remediation, command)

    def _modules(self) -> Iterator[Finding]:
        kernel = self.report["kernel"]
        loads = "CAP_SYS_MODULE" in self.report["capabilities"]["self"] and self.report["commands"].get("modprobe")
        for name in self.rules.modules:
            state = self.report["modules"].get(name, "missing")
            if state == "missing":
                remediation = (
                    "Install the package with additional kernel modules; for a container, load it on the container's "
                    "host."
                )
                yield Finding("kernel-module", f"its kernel {kernel} has no module {name}", remediation, name)
            elif state == "loadable" and not loads:
                problem = f"the kernel module {name} is not loaded, and this host may not load it"
                yield Finding("kernel-module", problem, f"On the container's host: modprobe {name}.", name)

    def _sysctls(self) -> Iterator[Finding]:
        for name, value in self.rules.sysctls.items():
            known = self.report["sysctls"].get(name)
            if known is None and not of_a_module(name):
                problem = f"its kernel {self.report['kernel']} has no parameter {name}, which host_sysctls sets"
                yield Finding("sysctl", problem, "Correct its name, or take it out.", name)
            elif known is not None and not known["writable"] and known["value"].split() != value.split():
                problem = f"{name} is {known['value']}, and may not be set to {value} here (host_sysctls)"
                remediation = "Take it out; for a container, set it on the container's host."
                yield Finding("sysctl", problem, remediation, name)

    def _cgroup(self) -> Iterator[Finding]:
        cgroup = self.report["cgroup"]
        missing = [name for name in CONTROLLERS[cgroup["version"]] if name not in cgroup["controllers"]]
        if missing:
            problem = f"cgroup controllers are disabled: {', '.join(missing)}"
            remediation = "Enable them on the kernel command line (cgroup_enable=memory), and reboot."
            yield Finding("cgroup-controllers", problem, remediation)
        if cgroup["version"] == 1:
            problem = "it uses cgroup version 1, which Kubernetes is about to drop"
            remediation = (
                "It still works, since the kubelet is configured for it. For version 2 boot with "
                "systemd.unified_cgroup_hierarchy=1."
            )
            yield Finding("cgroup-v1", problem, remediation, severity="warning")

    def _address(self) -> Iterator[Finding]:
        known = [address for interface in self.report["interfaces"].values() for address in plain_addresses(interface)]
        # Without `ip` no interfaces are known; the check of commands reports that.
        if known and self.host.address and self.host.address not in known:
            problem = f"its address {self.host.address} (cluster_host_address) is on none of its interfaces"
            remediation = f"Set cluster_host_address to one of {', '.join(known)}."
            yield Finding("address", problem, remediation, self.host.address)

    def _ipv6_address(self) -> Iterator[Finding]:
        given = self.host.address_ipv6 if self.rules.ipv6 and self.rules.ipv4 else ""
        found = [
            [str(ipaddress.ip_address(address)) for address in plain_addresses(interface)]
            for interface in self.report["interfaces"].values()
        ]
        try:
            address = str(ipaddress.ip_address(given))
        except ValueError:
            return  # for another check
        at = next((addresses for addresses in found if address in addresses), [])
        if found and not at:
            problem = f"its address {given} (cluster_host_address_ipv6) is on none of its interfaces"
            known = [address for addresses in found for address in addresses if ":" in address]
            remediation = f"Set it to one of {', '.join(known)}." if known else "Give an interface an IPv6 address."
            yield Finding("address-ipv6", problem, remediation, given)
        elif at and self.host.address not in at:
            problem = (
                f"its address {given} (cluster_host_address_ipv6) is not on the interface with {self.host.address}"
            )
            remediation = "Set it to an address of that interface: the networks of pods use one for both IP families."
            yield Finding("address-ipv6", problem, remediation, given)

    def _route(self) -> Iterator[Finding]:
        kind = "" if self.rules.ipv4 else "IPv6 "
        if (self.report["default_route"] if self.rules.ipv4 else self.report["default_route_ipv6"]) is None:
            lacks = f"no {kind}default route"
            problem = f"it has {lacks}, without which processes of the host cannot reach Service addresses"
            yield Finding("default-route", problem, "Add one; it need not lead anywhere.", severity="warning")

    def _router_advertisements(self) -> Iterator[Finding]:
        """The kernel drops its routes of these when it begins to forward, unless ``accept_ra`` is 2 by then.

        Linux: net/ipv6/addrconf.c, ``addrconf_fixup_forwarding``, and net/ipv6/route.c, ``rt6_purge_dflt_routers``.
        """
        now = self.report["sysctls"].get(_FORWARDING)
        to_be = self.rules.ipv6 or self.rules.sysctls.get(_FORWARDING, "0") != "0"
        if now is None or now["value"] != "0" or not to_be:
            return
        for name, accepted in self.report["router_advertisements"].items():
            parameter = f"net.ipv6.conf.{name.replace('.', '/')}.accept_ra"
            if self.rules.sysctls.get(parameter, accepted) != "2":
                problem = (
                    f"its kernel has the IPv6 default route of {name} from router advertisements, and drops it as soon "
                    "as nodes forward IPv6: whoever reaches the host by that route loses it"
                )
                remediation = f'Set host_sysctls: {{{parameter}: "2"}}, or configure address and route on the host.'
                yield Finding("accept-ra", problem, remediation, name)

    def _processes(self) -> Iterator[Finding]:
        """Another Kubernetes, or processes that conflict with this one."""
        for process in self.report["processes"]:
            if self._ours(process):
                continue
            if process["name"] in KUBERNETES:
                problem = f"{_named(process)} is running, and was not installed by kubeproof"
                remediation = "Remove that installation with its own uninstaller."
                yield Finding("foreign-kubernetes", problem, remediation, process["name"])
            elif process["unit"] == f"{self.rules.runtime}.service" and self.host.node:
                name = runtimes.NAMES[self.rules.runtime]
                problem = f"another {name} is running ({_named(process)}), whose unit would be replaced"
                remediation = "Remove it, and Docker if it belongs to Docker; or use another host."
                yield Finding(f"foreign-{self.rules.runtime}", problem, remediation)

    def _leftovers(self) -> Iterator[Finding]:
        for path in self.report["leftovers"]:
            setting = next((name for name, rule in self.rules.data.items() if rule == path), "")
            if setting and self.host.within(DATA[setting]):
                problem = (
                    f"{path} ({setting}) has data that kubeproof did not create, and would be closed to all but its "
                    "component"
                )
                away = f"find {path} -mindepth 1 -delete"
                remediation = f"Set {setting} to a directory of its own. If nobody needs the data: {away}"
                yield Finding("foreign-data", problem, remediation, path)
            else:
                problem = f"{path} has files of another installation"
                yield Finding("leftover", problem, "Remove them if nothing needs them.", path, severity="warning")

    def _resolver(self) -> Iterator[Finding]:
        """Whether pods have resolvers, by the file that the kubelet gives to them; of a user's own nothing is known."""
        resolver = self.report["resolver"]
        known = {
            resolver["upstream"]: resolver["upstream_nameservers"],
            host_settings.RESOLV_CONF: resolver["nameservers"],
        }
        path = self.rules.resolv_conf or host_settings.resolver_file(self.report)
        if path in known:
            yield from self._no_resolver(path, known[path])
            yield from self._resolver_families(path, known[path])
            yield from self._resolver_on_loopback(path, known[path])

    def _no_resolver(self, path: str, servers: Sequence[str]) -> Iterator[Finding]:
        resolver = self.report["resolver"]
        if not servers and self.rules.host_resolver:
            problem = f"{path} names no resolver, and with none CoreDNS does not start"
            elsewhere = not all(map(host_settings.on_loopback, resolver["upstream_nameservers"]))
            there = f"Set kubelet_resolv_conf: {resolver['upstream']}, which has some. Or add" if elsewhere else "Add"
            remediation = (
                f"{there} a line to {path}: nameserver ADDRESS. Where names outside the cluster are not "
                "needed, any address will do, such as the host's own."
            )
            yield Finding("resolver", problem, remediation)

    def _resolver_on_loopback(self, path: str, servers: Sequence[str]) -> Iterator[Finding]:
        looped = [address for address in servers if host_settings.on_loopback(address)]
        if looped:
            # CoreDNS finds out by itself that it asks itself, and ends: if there is nobody else to ask, for certain.
            asked = self.rules.host_resolver
            severity: Severity = "error" if asked and looped == servers else "warning"
            reader, what = ("CoreDNS", "a forwarding loop") if asked else ("pods with dnsPolicy Default", "no resolver")
            problem = f"{path} names {looped[0]}, which in the pods of {reader} is themselves: {what}"
            # systemd-resolved writes its own file.
            there = "there" if path == host_settings.RESOLV_CONF else "to systemd-resolved (DNS=)"
            remediation = (
                f"Name a resolver that pods can reach: {there}, in a file that kubelet_resolv_conf names, or, for the "
                "cluster's DNS only, in dns_forwarders."
            )
            yield Finding("resolver", problem, remediation, severity=severity)

    def _resolver_families(self, path: str, servers: Sequence[str]) -> Iterator[Finding]:
        """Whether pods reach a resolver that the file names; those on loopback are for another check."""
        elsewhere = servers and not any(":" in each or host_settings.on_loopback(each) for each in servers)
        if self.rules.host_resolver and not self.rules.ipv4 and elsewhere:
            named = ", ".join(servers)
            problem = f"{path} names {named}, which pods do not reach: they have IPv6 addresses only"
            remediation = (
                "Name a resolver with an IPv6 address: there, in a file that kubelet_resolv_conf names, or, for the "
                "cluster's DNS only, in dns_forwarders. Until then pods find no names outside the cluster."
            )
            yield Finding("resolver", problem, remediation, severity="warning")

    def _clock(self) -> Iterator[Finding]:
        # A container's clock is that of its host.
        if self.report["clock"]["synchronised"] is False and not self.report["container"]:
            remediation = "Run a time service: systemd-timesyncd or chrony."
            yield Finding("clock-unsynchronised", "its clock is not synchronized", remediation, severity="warning")

    def _selinux(self) -> Iterator[Finding]:
        if self.report["selinux"] == "enforcing":
            problem = (
                "SELinux is enforcing, and kubeproof installs no policy: a packaged HAProxy, for example, may neither "
                "listen "
                "on the load balancer's port nor connect to API servers"
            )
            remediation = (
                "Set it to permissive: setenforce 0, and SELINUX=permissive in /etc/selinux/config. With a policy of "
                "your own, add selinux to preflight_ignore."
            )
            yield Finding("selinux", problem, remediation)

    def _gvisor(self) -> Iterator[Finding]:
        """Its shim lowers its own OOM score, whatever containerd's is (gvisor.dev/gvisor pkg/shim/v1/manager.go)."""
        if self.rules.gvisor and not host_settings.derive(self.report)["limits"]["negative_oom_score"]:
            problem = "CAP_SYS_RESOURCE is missing, without which no pod starts in gVisor (containerd_runtimes)"
            remediation = "Give it that capability, as other machines have it, or leave out handlers of type gvisor."
            yield Finding("gvisor", problem, remediation)

    def _sandboxes(self) -> Iterator[Finding]:
        """Those of CRI-O and cri-dockerd have an OOM score of -998, which containerd leaves out where it cannot be.

        cri-o/cri-o server/sandbox_run_linux.go; Mirantis/cri-dockerd core/sandbox_helpers.go.
        """
        runtime = self.rules.runtime
        if runtime != runtimes.CONTAINERD and not host_settings.derive(self.report)["limits"]["negative_oom_score"]:
            name = runtimes.NAMES[runtime]
            problem = f"CAP_SYS_RESOURCE is missing, without which {name} starts no pod (container_runtime)"
            remediation = "Give it that capability, as other machines have it, or set container_runtime to containerd."
            yield Finding(runtime, problem, remediation)

    def _runtimes(self) -> Iterator[Finding]:
        for path in self.rules.runtimes:
            # Another host may have been asked for more.
            if self.report["commands"].get(path, path) is None:
                problem = f"there is no program {path}, which a runtime handler is to run (containerd_runtimes)"
                remediation = (
                    "Install it on every node, or correct BinaryName. If a package brings it, name that in "
                    "host_packages, by the program's name."
                )
                yield Finding("runtime-program", problem, remediation, path)
            version = self.report["handlers"].get(path, "")
            # They may have two numbers only.
            numbers = tuple(map(int, re.findall(r"\d+", version)[:3]))
            if posixpath.basename(path) == CRUN and numbers and numbers < CRUN_FOR_CONTAINERD:
                problem = (
                    f"{path} is crun {version}, which takes no container of this containerd (containerd_runtimes): "
                    "`unknown version specified`"
                )
                remediation = "Install crun 1.14.3 or newer on every node; Debian 13 has one, Debian 12 has none."
                yield Finding("runtime-program", problem, remediation, path)

    def _iptables(self) -> Iterator[Finding]:
        """It takes a lock, a file of root's in /run, to which the sandboxed kube-proxy has no access."""
        if self.rules.iptables and self.report["iptables_legacy"]:
            problem = (
                "its iptables is the legacy one, which kube-proxy cannot use in its sandbox, and whose rules would be "
                "beside those of nftables"
            )
            remediation = (
                "Set kube_proxy_mode to nftables; or switch to the other one: update-alternatives --set iptables "
                "/usr/sbin/iptables-nft, and the same for ip6tables, then restart what has made rules."
            )
            yield Finding("iptables-legacy", problem, remediation)

    def _apparmor(self) -> Iterator[Finding]:
        # As containerd asks: in a container it takes none, and the kernel's switch alone is not enough for it.
        parser = self.report["commands"].get("apparmor_parser")
        if self.report["apparmor"] and not parser and not self.report["container"]:
            problem = (
                f"AppArmor is on in its kernel, and without apparmor_parser {runtimes.NAMES[self.rules.runtime]} gives "
                "containers no profile: they run unconfined"
            )
            remediation = (
                f"Install the package apparmor, then run systemctl restart {self.rules.runtime}. To do without, add "
                "apparmor to preflight_ignore."
            )
            yield Finding("apparmor", problem, remediation, severity="warning")


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
        return "an unknown process"
    unit = f", {process['unit']}" if process["unit"] else ""
    return f"{process['name']} (PID {process['pid']}{unit})"


def _freed(process: Process | None) -> str:
    if process and process["unit"].endswith(".service"):
        return f"systemctl disable --now {process['unit']}; or set another port for one of them."
    return "Stop it, or set another port for one of them."
