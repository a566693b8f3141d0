#!/usr/bin/python
"""Everything kubeproof wants to know of a host before it changes anything, in one call that only reads.

Standard library only; Python 3.8 and newer. What cannot be read is ``None`` or empty: judging is the controller's part.
"""

from __future__ import annotations

import ctypes
import gzip
import json
import os
import platform
import pwd
import re
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence, Set, Tuple

from ansible.module_utils import (
    component_unit,
    etcd_member,
    host_runs,
    identity,
    node_object,
    program_versions,
    settled,
)
from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: host_report
short_description: Gather the facts of a host
description:
  - Sets the fact C(kubeproof_host), which M(preflight) checks and from which settings are derived. Changes nothing.
    Reads C(/proc), C(/sys) and a few files, asks the local etcd member and, for the host's Node object, the API, and
    runs C(ip), C(systemctl), C(nft) and installed components with C(--version). Each executable is asked once, and the
    answer is kept in C(/var/lib/kubeproof/program-versions.json). Where O(etcd_disk) says so, writes a file that has no
    name.
  - Never fails. If a host is unreachable, or if Python or sudo do not work there, the fact contains the reason, so that
    the preflight can list the problems of all hosts together.
options:
  paths:
    description: Directories whose file systems are reported. For one that does not exist, its nearest parent.
    type: list
    elements: str
    default: [/, /opt/cni/bin, /usr/local/bin, /var/lib/containerd, /var/lib/etcd, /var/lib/kubelet]
  etcd_data_directory:
    description: Data directory of etcd. Data that kubeproof did not create is reported as C(leftovers).
    type: path
    default: /var/lib/etcd
  etcd_disk:
    description:
      - Whether to measure how fast the disk of O(etcd_data_directory) is, for two seconds at most. Only on a host that
        has no etcd yet, which would be disturbed; not in check mode.
    type: bool
    default: false
  containerd_root_directory:
    description: Data directory of containerd, likewise.
    type: path
    default: /var/lib/containerd
  crio_root_directory:
    description: Data directory of CRI-O, likewise.
    type: path
    default: /var/lib/crio
  docker_root_directory:
    description: Data directory of Docker, likewise.
    type: path
    default: /var/lib/docker
  backup_directory:
    description: Directory of etcd's backups, likewise. Backups in it are not reported.
    type: path
    default: /var/backups/etcd
  sysctls:
    description: Kernel parameters that are reported besides those that are always.
    type: list
    elements: str
    default: []
  programs:
    description: Paths of runtime handlers' programs, which are among C(commands) besides those that are always.
    type: list
    elements: str
    default: []
  trusted:
    description:
      - Whether tasks of this run may take C(settled) as their answer instead of asking the host, until a task changes
        something. Without it, C(settled) is not part of the fact.
    type: bool
    default: false
  again:
    description:
      - Whether the host has reported before in this run, which has changed hosts since. C(settled) is asked for again,
        and tasks may take it as their answer; all else in the fact stays as it was. All hosts have to report together.
    type: bool
    default: false
extends_documentation_fragment: [attributes, attributes.action]
attributes:
  check_mode: {support: full}
  diff_mode: {support: none}
seealso:
  - module: preflight
"""

EXAMPLES = r"""
- name: Gather the facts of the host
  host_report:
    paths: [/, /srv/etcd]
    etcd_data_directory: /srv/etcd
"""

RETURN = r"""
ansible_facts:
  description: Facts to add to the host's.
  type: dict
  returned: always
  contains:
    kubeproof_host:
      description:
        - The report. Sizes are in bytes, times in seconds since 1970 by the host's clock. Unknown values are null or
          empty. All fields are in C(HostReport) in C(src/kubeproof/settings/host_report.py).
      type: dict
      contains:
        problem: {description: Why there are no facts. Only set together with C(unreachable)., type: str}
        unreachable: {description: Whether there was no connection. Only set together with C(problem)., type: bool}
        remediation: {description: "What to do about C(problem), if that is known.", type: str}
        lacks_python: {description: "What is wrong with the host's Python, if C(problem) is that.", type: str}
        asked: {description: The controller's time C(before) and C(after) the facts were gathered., type: dict}
        arch: {description: "Architecture as Go names it.", type: str, sample: amd64}
        os: {description: "System from os-release(5): C(id), C(version), C(pretty), C(like).", type: dict}
        kernel: {description: Release of the kernel., type: str}
        python: {description: Version of the Python that modules run with., type: str}
        service_python: {description: Version of the Python that services run by., type: str}
        service_python_path:
          description: Where that is, C(/usr/bin/python3), or else what M(host_python) has taken to the host.
          type: str
        systemd: {description: "C(version), C(state), and whether it is PID 1 (C(init)).", type: dict}
        container: {description: Kind of container; empty if the host is not a container., type: str}
        hidepid: {description: The option C(hidepid) of C(/proc)., type: str}
        cpus: {description: Number of CPUs., type: int}
        work_seconds: {description: "Time for a fixed piece of work, in seconds.", type: float}
        memory: {description: "C(total) and C(available), in bytes.", type: dict}
        swap: {description: Whether swap is C(on), and its C(devices)., type: dict}
        disks: {description: "The file system of each of O(paths), with sizes in bytes.", type: dict}
        interfaces: {description: Network interfaces by name., type: dict}
        default_route: {description: C(interface) and C(gateway)., type: dict}
        default_route_ipv6: {description: The same of IPv6., type: dict}
        router_advertisements:
          description: "Interfaces whose IPv6 default routes the kernel has from these, with their C(accept_ra)."
          type: dict
          sample: {eth0: "1"}
        resolver: {description: "Name servers, and those behind the stub of systemd-resolved.", type: dict}
        firewall: {description: "Whether C(ufw) is enabled, and C(chains) that drop what no rule accepts.", type: dict}
        ports: {description: "Listening TCP ports, each with its process.", type: list, elements: dict}
        processes: {description: Running processes that may conflict with components., type: list, elements: dict}
        commands: {description: Paths of the programs that components call; null where there is none., type: dict}
        handlers:
          description: Versions of O(programs) by their paths; what says none is left out.
          type: dict
          sample: {/usr/bin/crun: 1.21}
        package_manager: {description: Package manager of the host., type: str, sample: apt-get}
        cgroup: {description: "C(version) of control groups, and their C(controllers).", type: dict}
        capabilities: {description: "Of PID 1 (C(init)) and of the module (C(self)).", type: dict}
        limits: {description: "Hard limits of open files and processes, likewise.", type: dict}
        user_namespace: {description: Whether root of the host is another user of its machine., type: bool}
        modules: {description: "Kernel modules: V(loaded), V(builtin), V(loadable) or V(missing).", type: dict}
        sysctls: {description: "Kernel parameters, each with C(value) and C(writable).", type: dict}
        selinux: {description: "V(enforcing), V(permissive) or V(disabled).", type: str}
        apparmor: {description: "Whether the kernel has it on.", type: bool}
        iptables_legacy: {description: "Whether C(iptables) is the one without nftables.", type: bool}
        clock: {description: "Times at C(start) and C(end), and whether it is C(synchronised).", type: dict}
        installed:
          description:
            - "What kubeproof installed: C(units), C(active), C(components), C(settings), C(versions) of programs, and
              C(running): processes with the versions of their very executables."
          type: dict
        leftovers: {description: Paths with files of other installers., type: list, elements: str}
        etcd: {description: Data directories and members of etcd., type: dict}
        etcd_disk:
          description: "How long C(writes) took to be on etcd's disk: the 99th percentile, C(p99). Null if unmeasured."
          type: dict
        node:
          description:
            - The host's Node object as its kubelet is shown it, whether it is C(there), its C(networks), and those that
              the host was C(given). Null without a kubelet or an answer.
          type: dict
        settled:
          description: "Tasks of M(install_component) (C(tasks)) and units (C(units)) whose results are still there."
          type: dict
        identity: {description: SHA-256 of the CAs and keys with which the host was installed., type: dict}
        runs:
          description: "Runs that have not released the host, each with C(id), C(record) and C(age)."
          type: list
          elements: dict
        user: {description: "The user that modules run as, C(id) and C(name).", type: dict}
        hostname: {description: Name of the host., type: str}
        machine_id: {description: Content of C(/etc/machine-id)., type: str}
"""

Report = Dict[str, Any]

# As src/kubeproof/settings/portable_python.py has them: the second only where the first is missing, or too old.
SERVICE_PYTHONS = ("/usr/bin/python3", "/opt/kubeproof/python/bin/python3")
SERVICE_PYTHON_MINIMUM = (3, 8)
STATE_DIRECTORY = "/var/lib/kubeproof"
PATHS = ["/", "/opt/cni/bin", "/usr/local/bin", "/var/lib/containerd", "/var/lib/etcd", "/var/lib/kubelet"]
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "ppc64le": "ppc64le", "s390x": "s390x"}
# What `iptables` leads to, where it is the older one.
LEGACY = ("xtables-legacy-multi", "iptables-legacy", "xtables-multi")
PACKAGE_MANAGERS = ("apt-get", "dnf", "yum", "zypper", "pacman", "apk")
COMMANDS = (
    "apparmor_parser", "conntrack", "gzip", "haproxy", "ip", "ipset", "iptables", "keepalived", "modprobe", "mount",
    "nft", "nsenter", "openssl", "rsync", "sha256sum", "ssh", "systemctl", "tar", "umount", "useradd", "zstd",
    # A file that programs need, as a package brings it.
    "/etc/protocols",
)  # fmt: skip
# Programs of which another copy would fight with ours, a firewall that drops what we send, and what manages the network
# and must leave ours alone; fifteen characters.
PROCESSES = {
    "NetworkManager", "containerd", "cri-dockerd", "crio", "dockerd", "firewalld", "k0s", "k3s", "k3s-agent",
    "k3s-server", "kube-apiserver", "kube-controller", "kube-proxy", "kube-scheduler", "kubelet", "microk8s", "rke2",
    "systemd-network",
}  # fmt: skip
# Packets of pods and between hosts pass these hooks, in these families; and tables of ours, or of kube-proxy.
HOOKS = ("forward", "input")
FAMILIES = ("bridge", "inet", "ip", "ip6")
OUR_TABLES = ("kube-proxy", "kubeproof")
# Of chains as iptables lists them: policies, and rules for all that no other has taken.
POLICY = re.compile(r"^-P (FORWARD|INPUT) DROP$", re.MULTILINE)
REST = re.compile(r"^-A (FORWARD|INPUT) -j (?:DROP|REJECT)(?: --reject-with \S+)?$", re.MULTILINE)
# Of a rule of nft: what is no condition.
UNCONDITIONAL = {"counter", "drop", "log", "reject"}
# Of these the version decides what may be installed next.
VERSIONED = (*program_versions.PROGRAMS.values(), *program_versions.FILES)
STATIC_PODS = "/etc/kubernetes/manifests"
# Control groups of running units, in version 2, and in systemd's own hierarchy.
CGROUP_SLICES = ("/sys/fs/cgroup/system.slice", "/sys/fs/cgroup/systemd/system.slice")
ETCD = "etcd.service"
# As etcd's documentation has fio measure a disk: writes of the size of etcd's own, each on the disk before the next.
# https://etcd.io/docs/latest/op-guide/hardware/
SYNC_BYTES = 2300
SYNC_WRITES = 100
SYNC_SECONDS = 2.0
# Units of ours, and the options with the directories of their data.
DATA = {
    ETCD: "etcd_data_directory",
    "containerd.service": "containerd_root_directory",
    "crio.service": "crio_root_directory",
    "docker.service": "docker_root_directory",
    "etcd-backup.timer": "backup_directory",
}
# Where settings that a cluster keeps are on a host whose install manifest is older than their record: files of ours,
# and the value as the first group. Flags are in the unit, or in the static pod's manifest.
APISERVER = ("/etc/systemd/system/kube-apiserver.service", STATIC_PODS + "/kube-apiserver.yaml")
CONTROLLER_MANAGER = (
    "/etc/systemd/system/kube-controller-manager.service",
    STATIC_PODS + "/kube-controller-manager.yaml",
)
POD_NETWORK = ("/etc/kubernetes/pod-network/rules.nft",)
KUBELET = ("/etc/kubernetes/kubelet/config.yaml",)
KEPT = (
    ("cluster_api_port", APISERVER, r"--secure-port=(\d+)"),
    ("cluster_etcd_port", (etcd_member.CONFIGURATION,), r"^advertise-client-urls: https://\S+:(\d+)$"),
    ("cluster_name", (etcd_member.CONFIGURATION,), r'^initial-cluster-token: "?([^"\\\n]+?)"?$'),
    ("cluster_domain", KUBELET, r"^clusterDomain: (\S+)$"),
    ("cluster_dns_address", KUBELET, r'^clusterDNS:\s*[\[-]\s*"?([\d.]+)'),
    ("cluster_pod_network", CONTROLLER_MANAGER, r"--cluster-cidr=([\d./]+)"),
    ("cluster_pod_network", POD_NETWORK, r"ip saddr ([\d./]+) ip daddr != @cluster"),
    ("cluster_pod_network_prefix", CONTROLLER_MANAGER, r"--node-cidr-mask-size=(\d+)"),
    ("cluster_service_network", CONTROLLER_MANAGER, r"--service-cluster-ip-range=([\d./]+)"),
    ("cluster_service_network", POD_NETWORK, r"elements = \{ [\d./]+, ([\d./]+)[ ,]"),
    # Before it was recorded there was no other.
    ("container_runtime", KUBELET, r'^containerRuntimeEndpoint: "?unix:///run/(containerd)/'),
    ("containerd_root_directory", ("/etc/containerd/config.toml",), r"""^root = ["'](.+)["']$"""),
    # Before it was recorded there was no other.
    ("pod_network_plugin", ("/etc/cni/net.d/10-kubeproof.conflist",), r'"type": "(bridge)"'),
)
# What other installers leave, with the unit of ours that puts things there too. A directory counts if it has anything.
LEFTOVERS = {
    # Also by kubelet.service: with pod_network_plugin none others put a network there, on a host that has ours.
    "/etc/cni/net.d": "kubelet.service",
    "/etc/kubernetes": "kubelet.service",
    "/etc/rancher": "",
    "/var/lib/etcd": ETCD,
    "/var/lib/k0s": "",
    "/var/lib/kubelet": "kubelet.service",
    "/var/lib/rancher": "",
    "/var/snap/microk8s": "",
}
# What a file system has by itself, what is hidden, and backups of etcd, which a reset keeps.
NOTHING = re.compile(r"lost\+found$|\.|\d{8}T\d{6}Z-")
MEMORY = {"total": "MemTotal", "available": "MemAvailable"}
SYSCTLS = (
    "fs.inotify.max_user_instances", "fs.inotify.max_user_watches", "fs.nr_open", "kernel.panic",
    "kernel.panic_on_oops", "kernel.pid_max", "net.bridge.bridge-nf-call-iptables", "net.ipv4.ip_forward",
    "net.ipv4.ip_local_port_range", "net.ipv6.conf.all.forwarding", "net.netfilter.nf_conntrack_max",
    "net.netfilter.nf_conntrack_tcp_timeout_close_wait", "net.netfilter.nf_conntrack_tcp_timeout_established",
    "vm.overcommit_memory", "vm.panic_on_oom",
)  # fmt: skip
# capabilities(7) by number: those whose absence changes what components may do.
CAPABILITIES = {
    0: "CAP_CHOWN", 1: "CAP_DAC_OVERRIDE", 5: "CAP_KILL", 12: "CAP_NET_ADMIN", 13: "CAP_NET_RAW", 16: "CAP_SYS_MODULE",
    18: "CAP_SYS_CHROOT", 19: "CAP_SYS_PTRACE", 21: "CAP_SYS_ADMIN", 24: "CAP_SYS_RESOURCE", 25: "CAP_SYS_TIME",
    27: "CAP_MKNOD", 34: "CAP_SYSLOG", 39: "CAP_BPF",
}  # fmt: skip


class Kernel(NamedTuple):
    """How a kernel module shows that it is there: its build option, and a file that exists while it works."""

    option: str
    effect: str = ""


MODULES = {
    "br_netfilter": Kernel("BRIDGE_NETFILTER", "/proc/sys/net/bridge/bridge-nf-call-iptables"),
    "ip_set": Kernel("IP_SET"),
    "ip_tables": Kernel("IP_NF_IPTABLES"),
    "ipip": Kernel("NET_IPIP", "/sys/class/net/tunl0"),
    "nf_conntrack": Kernel("NF_CONNTRACK", "/proc/sys/net/netfilter/nf_conntrack_max"),
    "nf_tables": Kernel("NF_TABLES"),
    "overlay": Kernel("OVERLAY_FS"),
    "vxlan": Kernel("VXLAN"),
}

# Of routes: the kernel answers that there is no way (RTF_REJECT of linux/route.h), or has made it of a router
# advertisement itself (RTF_ADDRCONF of linux/ipv6_route.h).
REJECT = 0x0200
ADVERTISED = 0x00040000

Run = Callable[[Sequence[str]], str]


def run(command: Sequence[str]) -> str:
    """Standard output of a command, whatever its exit code; empty if it is not there or hangs."""
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=5,
            env={**os.environ, "LC_ALL": "C"}, check=False,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.decode(errors="replace")


class Machine:
    """The host as seen through its files and commands. Tests give another root and other commands."""

    def __init__(self, root: str = "", run: Run = run) -> None:
        self.root = root
        self.run = run

    def path(self, path: str) -> str:
        """Where a path of the host is for this process."""
        return self.root + path

    def read(self, path: str) -> str:
        """Text of a file; empty if there is none or it may not be read."""
        try:
            with open(self.path(path), encoding="utf-8", errors="replace") as stream:
                return stream.read()
        except OSError:
            return ""

    def word(self, path: str) -> str:
        """Text of a file without blanks around it."""
        return self.read(path).strip()

    def exists(self, path: str) -> bool:
        """Whether there is something."""
        return os.path.exists(self.path(path))

    def names(self, path: str) -> List[str]:
        """Names in a directory; none if there is none or it may not be read."""
        try:
            return sorted(os.listdir(self.path(path)))
        except OSError:
            return []

    def link(self, path: str) -> str:
        """Where a symbolic link leads; empty if it is none or may not be read."""
        try:
            return os.readlink(self.path(path))
        except OSError:
            return ""

    def document(self, path: str) -> Any:
        """Content of a JSON file; ``None`` if there is none or it is broken."""
        try:
            return json.loads(self.read(path))
        except ValueError:
            return None

    def processes(self) -> Iterator[int]:
        """Process identifiers."""
        return (int(name) for name in self.names("/proc") if name.isdigit())


def fields(text: str, separator: str) -> Dict[str, str]:
    """``key<separator>value`` lines as a dictionary, both stripped."""
    pairs = (line.partition(separator) for line in text.splitlines() if separator in line)
    return {key.strip(): value.strip() for key, _, value in pairs}


def operating_system(machine: Machine) -> Report:
    """Name and version by os-release(5)."""
    text = machine.read("/etc/os-release") or machine.read("/usr/lib/os-release")
    values = {key: value.strip("\"'") for key, value in fields(text, "=").items()}
    return {
        "id": values.get("ID", ""),
        "version": values.get("VERSION_ID", ""),
        "pretty": values.get("PRETTY_NAME", ""),
        "like": values.get("ID_LIKE", "").split(),
    }


def systemd(machine: Machine) -> Report:
    """Version, state (``running``, ``degraded`` …) and what it found out of virtualization; one question to PID 1."""
    properties = fields(machine.run(["systemctl", "show", "-p", "Version,SystemState,Virtualization"]), "=")
    version = re.match(r"\d+", properties.get("Version", ""))
    return {
        "init": machine.exists("/run/systemd/system"),
        "version": int(version.group()) if version else None,
        "state": properties.get("SystemState", ""),
        "virtualization": properties.get("Virtualization", ""),
    }


def service_python(machine: Machine) -> Tuple[str, str]:
    """Path and version of the Python that our services are run by, which need not be this one.

    If none is new enough, those of the usual one, whose version is empty if there is none.
    """
    found = []
    for path in SERVICE_PYTHONS:
        version = python_version(machine, path)
        numbers = tuple(int(number) for number in re.findall(r"\d+", version)[:2])
        if numbers >= SERVICE_PYTHON_MINIMUM:
            return path, version
        found.append((path, version))
    return found[0]


def python_version(machine: Machine, path: str) -> str:
    """Version of a Python; empty if there is none."""
    if os.path.realpath(sys.executable) == os.path.realpath(path) and not machine.root:
        return platform.python_version()
    match = re.search(r"\d+\.\d+\S*", machine.run([path, "--version"]))
    return match.group() if match else ""


def container(machine: Machine) -> str:
    """The container manager that made this host (``podman``, ``lxc`` …); empty on a machine of its own."""
    environment = machine.read("/proc/1/environ").split("\0")
    named = [entry[len("container=") :] for entry in environment if entry.startswith("container=")]
    return machine.word("/run/systemd/container") or "".join(named[:1])


def memory(machine: Machine) -> Report:
    """The kernel's, in bytes, whatever the limits of a container."""
    kibibytes = dict(re.findall(r"^(\w+): +(\d+) kB$", machine.read("/proc/meminfo"), re.MULTILINE))
    return {key: int(kibibytes.get(name, 0)) * 1024 for key, name in MEMORY.items()}


def swap_devices(machine: Machine) -> List[str]:
    """Devices and files in use as swap."""
    return [line.split()[0] for line in machine.read("/proc/swaps").splitlines()[1:] if line.strip()]


def mounts(machine: Machine) -> List[Tuple[str, str]]:
    """Mount point and file system type, in the order in which they were mounted."""
    rows = (line.split() for line in machine.read("/proc/self/mounts").splitlines())
    return [(row[1].replace("\\040", " "), row[2]) for row in rows if len(row) > 2]


def hidepid(machine: Machine) -> str:
    """How /proc hides the processes of other users, as proc(5) has it; empty if it does not."""
    rows = [line.split() for line in machine.read("/proc/self/mounts").splitlines()]
    options = [row[3].split(",") for row in rows if len(row) > 3 and row[1] == "/proc"]
    found = [option[len("hidepid=") :] for option in (options[-1] if options else []) if option.startswith("hidepid=")]
    return "".join(value for value in found if value not in ("0", "off"))


def existing_parent(machine: Machine, path: str) -> str:
    """The path, or the nearest of its parents that exists."""
    while not machine.exists(path) and path != "/":
        path = os.path.dirname(path)
    return path


def file_system_type(path: str, mounted: List[Tuple[str, str]]) -> str:
    """Type of the last mount whose point is the longest that holds the path."""
    holders = [(len(point), kind) for point, kind in mounted if (path + "/").startswith(point.rstrip("/") + "/")]
    longest = max((length for length, _ in holders), default=0)
    return next((kind for length, kind in reversed(holders) if length == longest), "")


def disk(machine: Machine, path: str, mounted: List[Tuple[str, str]]) -> Report:
    """The file system under a path. ``device`` tells paths on one file system from others."""
    parent = os.path.realpath(machine.path(existing_parent(machine, path)))[len(machine.root) :] or "/"
    status = os.statvfs(machine.path(parent))
    return {
        "on": parent,
        "device": os.stat(machine.path(parent)).st_dev,
        "type": file_system_type(parent, mounted),
        "total": status.f_blocks * status.f_frsize,
        # Without what is reserved for root: etcd, for one, is not root.
        "free": status.f_bavail * status.f_frsize,
        "inodes_total": status.f_files,
        "inodes_free": status.f_favail,
        "read_only": bool(status.f_flag & os.ST_RDONLY),
        "noexec": bool(status.f_flag & os.ST_NOEXEC),
        "nodev": bool(status.f_flag & os.ST_NODEV),
    }


def sync_speed(machine: Machine, path: str) -> Optional[Report]:
    """How long it takes until a write is on the disk of a path; None if nothing can be written there."""
    directory = machine.path(existing_parent(machine, path))
    try:
        written = unnamed_file(directory)
    except OSError:
        return None
    took: List[float] = []
    try:
        # As etcd does with its log, so that not each write makes the file longer.
        os.posix_fallocate(written, 0, SYNC_BYTES * SYNC_WRITES)
        begun = time.perf_counter()
        while len(took) < SYNC_WRITES and time.perf_counter() - begun < SYNC_SECONDS:
            os.write(written, os.urandom(SYNC_BYTES))
            before = time.perf_counter()
            os.fdatasync(written)
            took.append(time.perf_counter() - before)
    except OSError:
        # As many as there is room for.
        pass
    finally:
        os.close(written)
    if not took:
        return None
    return {"writes": len(took), "p99": sorted(took)[-(-len(took) * 99 // 100) - 1]}


def unnamed_file(directory: str) -> int:
    """A file that is gone with its descriptor, even if this process is killed where the file system can do that."""
    try:
        return os.open(directory, os.O_TMPFILE | os.O_WRONLY, 0o600)
    except OSError:
        descriptor, path = tempfile.mkstemp(prefix=".kubeproof-", dir=directory)
        os.unlink(path)
        return descriptor


def interfaces(machine: Machine) -> Dict[str, Report]:
    """Every interface but loopback. ``kind`` is the link's (``veth``, ``bridge``, ``vxlan`` …), empty for hardware."""
    try:
        links = json.loads(machine.run(["ip", "-details", "-json", "address", "show"]) or "[]")
    except ValueError:
        return {}
    return {link["ifname"]: interface(link) for link in links if link.get("link_type") != "loopback"}


def interface(link: Report) -> Report:
    """One link of ``ip -json address``; addresses that only hold on the link are left out."""
    addresses = [entry for entry in link.get("addr_info", []) if entry.get("scope") != "link" and "local" in entry]
    return {
        "mac": link.get("address", ""),
        "mtu": link.get("mtu", 0),
        "up": "UP" in link.get("flags", []),
        "kind": link.get("linkinfo", {}).get("info_kind", ""),
        "addresses": ["{local}/{prefixlen}".format(**entry) for entry in addresses],
    }


def default_route(machine: Machine) -> Optional[Report]:
    """The IPv4 default route with the lowest metric: /proc/net/route has addresses as little-endian hexadecimal."""
    rows = (line.split() for line in machine.read("/proc/net/route").splitlines()[1:])
    routes = [row for row in rows if len(row) > 7 and row[1] == row[7] == "00000000"]
    if not routes:
        return None
    best = min(routes, key=lambda row: int(row[6]))
    return {"interface": best[0], "gateway": ipv4(best[2])}


def default_route_ipv6(machine: Machine) -> Optional[Report]:
    """The IPv6 default route with the lowest metric: /proc/net/ipv6_route has hexadecimal numbers as they are read."""
    routes = default_routes_ipv6(machine)
    if not routes:
        return None
    best = min(routes, key=lambda row: int(row[5], 16))
    return {"interface": best[9], "gateway": socket.inet_ntop(socket.AF_INET6, bytes.fromhex(best[4]))}


def default_routes_ipv6(machine: Machine) -> List[List[str]]:
    """The IPv6 default routes that lead anywhere, as /proc/net/ipv6_route has them."""
    rows = (line.split() for line in machine.read("/proc/net/ipv6_route").splitlines())
    return [row for row in rows if len(row) > 9 and not int(row[0] + row[1], 16) and not int(row[8], 16) & REJECT]


def router_advertisements(machine: Machine) -> Dict[str, str]:
    """``accept_ra`` of the interfaces whose default routes are of router advertisements that the kernel has heard."""
    names = sorted({row[9] for row in default_routes_ipv6(machine) if int(row[8], 16) & ADVERTISED})
    return {name: machine.word("/proc/sys/net/ipv6/conf/%s/accept_ra" % name) for name in names}


def ipv4(word: str) -> str:
    """An address of /proc/net: hexadecimal, in the machine's byte order."""
    return socket.inet_ntop(socket.AF_INET, struct.pack("=I", int(word, 16)))


def ipv6(words: str) -> str:
    """An address of /proc/net: four words, each as in :func:`ipv4`."""
    return socket.inet_ntop(socket.AF_INET6, struct.pack("=4I", *(int(words[i : i + 8], 16) for i in (0, 8, 16, 24))))


class Listener(NamedTuple):
    """A listening TCP socket; the inode says which process holds it."""

    address: str
    port: int
    inode: str


def listeners(machine: Machine) -> List[Listener]:
    """Listening sockets of /proc/net/tcp and tcp6, where state 0A is LISTEN."""
    found = []
    for path, decode in (("/proc/net/tcp", ipv4), ("/proc/net/tcp6", ipv6)):
        for row in (line.split() for line in machine.read(path).splitlines()[1:]):
            if len(row) > 9 and row[3] == "0A":
                address, _, port = row[1].partition(":")
                found.append(Listener(decode(address), int(port, 16), row[9]))
    return found


def holders(machine: Machine, inodes: Set[str]) -> Dict[str, int]:
    """Which process holds each socket. Processes that may not be looked into stay unknown."""
    wanted = {"socket:[%s]" % inode: inode for inode in inodes}
    found: Dict[str, int] = {}
    for pid in machine.processes():
        if len(found) == len(wanted):
            break
        for name in machine.names("/proc/%d/fd" % pid):
            inode = wanted.get(machine.link("/proc/%d/fd/%s" % (pid, name)))
            if inode:
                found.setdefault(inode, pid)
    return found


def process(machine: Machine, pid: int) -> Report:
    """A process, its name as the kernel has it (15 characters), and the systemd unit that it belongs to."""
    return {
        "pid": pid,
        "name": machine.word("/proc/%d/comm" % pid),
        "unit": unit(machine.read("/proc/%d/cgroup" % pid)),
    }


def unit(cgroups: str) -> str:
    """The innermost service or scope in a /proc/PID/cgroup: systemd's own hierarchy before the unified one.

    A pod's process is the kubelet's, who runs it.
    """
    rows = [line.split(":", 2) for line in cgroups.splitlines() if line.count(":") >= 2]
    paths = [row[2] for row in rows if row[1] == "name=systemd"] or [row[2] for row in rows if row[0] == "0"]
    parts = paths[0].split("/") if paths else []
    if any(part in ("kubepods", "kubepods.slice") for part in parts):
        return "kubelet.service"
    return next((part for part in reversed(parts) if part.endswith((".service", ".scope"))), "")


def firewall(machine: Machine, modules: Dict[str, str]) -> Report:
    """Whether ufw is to be on, and base chains that drop what no rule of theirs accepts, by policy or by a rule."""
    enabled = re.search(r"^ENABLED=[\"']?yes\b", machine.read("/etc/ufw/ufw.conf"), re.MULTILINE | re.IGNORECASE)
    chains: List[Report] = []
    # Where the kernel has none, asking for them would load the module.
    if modules["nf_tables"] in ("loaded", "builtin"):
        listed = machine.run(["nft", "--json", "list", "chains"])
        programs = ("iptables-nft", "ip6tables-nft")
        chains += (
            nft_chains(machine, listed)
            if listed
            else [chain for program in programs for chain in iptables_chains(machine, program)]
        )
    for names, program in (("ip_tables_names", "iptables-legacy"), ("ip6_tables_names", "ip6tables-legacy")):
        if "filter" in machine.read("/proc/net/" + names).split():
            chains += iptables_chains(machine, program)
    return {"ufw": bool(enabled), "chains": chains}


def nft_chains(machine: Machine, listed: str) -> List[Report]:
    """Of what ``nft --json list chains`` says, those that drop what no rule accepts; iptables' own are among them."""
    chains = [each["chain"] for each in nft_objects(listed) if "hook" in each.get("chain", {})]
    found = [
        {"program": "nft", **{name: chain[name] for name in ("family", "table", "name", "hook")},
         "by": "policy" if chain.get("policy") == "drop" else "rule"}
        for chain in chains
        if chain["hook"] in HOOKS and chain["family"] in FAMILIES and chain["table"] not in OUR_TABLES
    ]  # fmt: skip
    return [chain for chain in found if chain["by"] == "policy" or drops_the_rest(machine, chain)]


def nft_objects(listed: str) -> List[Report]:
    """What nft lists as JSON; nothing if it has no JSON."""
    try:
        return list(json.loads(listed)["nftables"])
    except (ValueError, LookupError, TypeError):
        return []


def drops_the_rest(machine: Machine, chain: Report) -> bool:
    """Whether a chain has a rule without a condition that drops or rejects, as firewalld's and RHEL's end."""
    if chain["family"] in ("ip", "ip6") and chain["table"] == "filter" and chain["name"] in ("FORWARD", "INPUT"):
        # nft does not know what the targets of iptables do.
        program = "ip6tables-nft" if chain["family"] == "ip6" else "iptables-nft"
        return chain["name"] in REST.findall(machine.run([program, "-S", chain["name"]]))
    listed = machine.run(["nft", "--json", "list", "chain", chain["family"], chain["table"], chain["name"]])
    rules = [set().union(*each["rule"].get("expr", [])) for each in nft_objects(listed) if "rule" in each]
    return any(rule & {"drop", "reject"} and rule <= UNCONDITIONAL for rule in rules)


def iptables_chains(machine: Machine, program: str) -> List[Report]:
    """Chains of a program that lists them as iptables does, which drop what no rule accepts."""
    listed = machine.run([program, "-S"])
    family = "ip6" if program.startswith("ip6") else "ip"
    by = {**dict.fromkeys(REST.findall(listed), "rule"), **dict.fromkeys(POLICY.findall(listed), "policy")}
    return [
        {"program": program, "family": family, "table": "filter", "name": name, "hook": name.lower(), "by": by[name]}
        for name in sorted(by)
    ]


def ports(machine: Machine) -> List[Report]:
    """Listening TCP ports with their owners; ``process`` is ``None`` if it is unknown."""
    sockets = listeners(machine)
    owners = holders(machine, {entry.inode for entry in sockets})
    known = {pid: process(machine, pid) for pid in set(owners.values())}
    return [
        {"port": entry.port, "address": entry.address, "process": known.get(owners.get(entry.inode, 0))}
        for entry in sorted(set(sockets), key=lambda entry: (entry.port, entry.address))
    ]


def running(machine: Machine) -> List[Report]:
    """Processes that matter to an installer. Those in other PID namespaces are not the host's, but of containers."""
    own = machine.link("/proc/self/ns/pid")
    named = (pid for pid in machine.processes() if machine.word("/proc/%d/comm" % pid) in PROCESSES)
    # Looked at before its namespace: of one that has ended meanwhile only half would be known.
    looked_at = [process(machine, pid) for pid in named]
    return [each for each in looked_at if machine.link("/proc/%(pid)d/ns/pid" % each) == own]


def cgroup(machine: Machine) -> Report:
    """``version``: 2 only if controllers are in the unified hierarchy; ``hybrid`` has it for systemd alone."""
    mounted = dict(mounts(machine))
    if mounted.get("/sys/fs/cgroup") == "cgroup2":
        return {"version": 2, "hybrid": False, "controllers": machine.word("/sys/fs/cgroup/cgroup.controllers").split()}
    rows = (line.split() for line in machine.read("/proc/cgroups").splitlines()[1:])
    return {
        "version": 1,
        "hybrid": mounted.get("/sys/fs/cgroup/unified") == "cgroup2",
        "controllers": [row[0] for row in rows if len(row) == 4 and row[3] == "1"],
    }


def capabilities(machine: Machine, pid: str) -> List[str]:
    """Effective capabilities, of those that matter."""
    mask = int(fields(machine.read("/proc/%s/status" % pid), ":").get("CapEff", "0"), 16)
    return [name for number, name in sorted(CAPABILITIES.items()) if mask >> number & 1]


def user_namespace(machine: Machine) -> bool:
    """Whether root here is not the machine's: the initial user namespace maps all users to themselves."""
    return machine.read("/proc/self/uid_map").split() not in ([], ["0", "0", "4294967295"])


def hard_limits(machine: Machine, pid: str) -> Dict[str, Optional[int]]:
    """Hard limits of open files and of processes; ``None`` is unlimited."""
    text = machine.read("/proc/%s/limits" % pid)
    found: Dict[str, Optional[int]] = {}
    for name, label in (("nofile", "Max open files"), ("nproc", "Max processes")):
        match = re.search(r"^%s\s+\S+\s+(\S+)" % label, text, re.MULTILINE)
        found[name] = int(match.group(1)) if match and match.group(1) != "unlimited" else None
    return found


def kernel_options(machine: Machine) -> Dict[str, str]:
    """The running kernel's build options (``y`` or ``m``) as far as it or its package tells."""
    text = machine.read("/boot/config-" + platform.release())
    if not text:
        try:
            with gzip.open(machine.path("/proc/config.gz"), "rt", encoding="utf-8") as stream:
                text = stream.read()
        except OSError:
            return {}
    return dict(re.findall(r"^CONFIG_(\w+)=([ym])$", text, re.MULTILINE))


def kernel_modules(machine: Machine) -> Dict[str, str]:
    """For each of MODULES: ``loaded``, ``builtin``, ``loadable`` or ``missing``."""
    directory = "/lib/modules/" + platform.release()
    options = kernel_options(machine)
    loaded = {line.split(" ", 1)[0] for line in machine.read("/proc/modules").splitlines()}
    builtin = module_names(machine.read(directory + "/modules.builtin"))
    loadable = module_names(machine.read(directory + "/modules.dep"))
    filesystems = machine.read("/proc/filesystems").split()

    def state(name: str, kernel: Kernel) -> str:
        if name in loaded:
            return "loaded"
        works = name in filesystems or machine.exists("/sys/module/" + name)
        # In a container /proc/modules may be hidden and /lib/modules absent: then only the effect tells.
        works = works or (bool(kernel.effect) and machine.exists(kernel.effect))
        if works or options.get(kernel.option) == "y" or name in builtin:
            return "builtin"
        return "loadable" if name in loadable else "missing"

    return {name: state(name, kernel) for name, kernel in MODULES.items()}


def module_names(listing: str) -> Set[str]:
    """Names in a modules.dep or modules.builtin: the file's name up to the first dot, dashes as underscores."""
    paths = (line.split(":", 1)[0] for line in listing.splitlines())
    return {os.path.basename(path).split(".", 1)[0].replace("-", "_") for path in paths}


def sysctls(machine: Machine, more: Sequence[str] = ()) -> Dict[str, Report]:
    """Value and whether it may be written. A sysctl that does not exist (its module is not loaded) is left out."""
    found = {}
    for name in dict.fromkeys((*SYSCTLS, *more)):
        path = settled.sysctl_path(name)
        if machine.exists(path):
            # The kernel judges access(2) to /proc/sys by file mode alone, also for root, and takes write permission
            # away where a value belongs to another network namespace: this is the true answer.
            found[name] = {"value": machine.word(path), "writable": os.access(machine.path(path), os.W_OK)}
    return found


def clock_synchronised() -> Optional[bool]:
    """Whether something disciplines the clock: adjtimex(2), which returns TIME_ERROR (5) if nothing does."""
    try:
        # Zeros ask and set nothing. struct timex is 208 bytes on 64-bit Linux.
        answer = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(512))
    except (OSError, AttributeError):
        return None
    return None if answer < 0 else answer != 5


def resolver(machine: Machine) -> Report:
    """Name servers of /etc/resolv.conf, and systemd-resolved's own list of what is behind its stub."""
    upstream = "/run/systemd/resolve/resolv.conf"
    behind = nameservers(machine.read(upstream))
    return {
        "nameservers": nameservers(machine.read("/etc/resolv.conf")),
        "upstream": upstream if behind else "",
        "upstream_nameservers": behind,
    }


def nameservers(text: str) -> List[str]:
    """Name servers of a resolv.conf(5)."""
    rows = (line.split() for line in text.splitlines())
    return [row[1] for row in rows if len(row) > 1 and row[0] == "nameserver"]


def manifest(machine: Machine) -> List[Dict[str, Any]]:
    """What kubeproof made on this host, as ``install_component`` remembers it."""
    document = machine.document(STATE_DIRECTORY + "/manifest.json")
    return list(document.get("entries", [])) if isinstance(document, dict) else []


def installed(machine: Machine, entries: List[Dict[str, Any]]) -> Report:
    """What there is of kubeproof's; ``manifest`` is false on a host that is new to it.

    ``settings``: what a host was installed with, of those that a cluster keeps.
    Static pods are among the units, under the name that they have as services.
    """
    units = {entry["name"] for entry in entries if entry["kind"] == "unit"}
    files = [os.path.split(entry["path"]) for entry in entries if entry["kind"] == "file"]
    pods = {os.path.splitext(name)[0] + ".service" for directory, name in files if directory == STATIC_PODS}
    settings = {entry["name"]: entry["value"] for entry in entries if entry["kind"] == "setting"}
    return {
        "manifest": bool(entries),
        "units": sorted(units | pods),
        "active": active(machine, units | pods),
        "settings": {**settings_in_files(machine, entries), **settings},
        "components": component_versions(machine),
    }


def settings_in_files(machine: Machine, entries: List[Dict[str, Any]]) -> Dict[str, str]:
    """Settings that a cluster keeps, as far as files of ours have them."""
    units = {"/etc/systemd/system/" + entry["name"] for entry in entries if entry["kind"] == "unit"}
    files = made_files(entries) | units
    found: Dict[str, str] = {}
    for name, paths, pattern in KEPT:
        for path in files.intersection(paths):
            match = re.search(pattern, machine.read(path), re.MULTILINE)
            if match:
                found.setdefault(name, match.group(1))
    return found


def active(machine: Machine, units: Set[str]) -> List[str]:
    """Of our units those that are enabled or running, and the manifests of those that are static pods.

    By their traces: systemd would have to be asked, which takes longer.
    """
    system = "/etc/systemd/system"
    wanted = {name for wants in machine.names(system) if wants.endswith(".wants")
              for name in machine.names(system + "/" + wants)}  # fmt: skip
    running = {name for slices in CGROUP_SLICES for name in machine.names(slices)}
    pods = [name for name in machine.names(STATIC_PODS) if os.path.splitext(name)[0] + ".service" in units]
    return sorted(units & (wanted | running)) + [os.path.join(STATIC_PODS, name) for name in pods]


def component_versions(machine: Machine) -> Dict[str, str]:
    """Versions by component and image, as ``distribute_components`` remembers them; older versions of it do not."""
    document = machine.document(STATE_DIRECTORY + "/components.json")
    versions = document.get("versions") if isinstance(document, dict) else None
    return versions if isinstance(versions, dict) else {}


def leftovers(machine: Machine, entries: List[Dict[str, Any]], data: Dict[str, str]) -> List[str]:
    """Paths of other installers that hold something, and where we made nothing and run nothing that would.

    ``data``, directories where our components' data is to be, by unit, are looked at like those.
    """
    units = {entry["name"] for entry in entries if entry["kind"] == "unit"}
    paths = [entry["path"] for entry in entries if "path" in entry]
    looked_at = {**LEFTOVERS, **{etcd_member.normal(path): unit for unit, path in data.items() if path}}

    def ours(path: str) -> bool:
        return looked_at[path] in units or any(made == path or made.startswith(path + "/") for made in paths)

    def held(path: str) -> bool:
        return any(not NOTHING.match(name) for name in machine.names(path))

    return sorted(path for path in looked_at if held(path) and not ours(path))


def made_files(entries: List[Dict[str, Any]]) -> Set[str]:
    """Files that we made, or put in the place of others."""
    return {entry["path"] for entry in entries if entry["kind"] == "file"}


def etcd(machine: Machine, entries: List[Dict[str, Any]], wanted: str) -> Report:
    """What there is of etcd. ``wanted``: its data directory by the settings."""
    ours = etcd_member.CONFIGURATION in made_files(entries)
    found: Report = etcd_member.report(wanted, ours, machine.root)
    return found


def installed_programs(entries: List[Dict[str, Any]]) -> Dict[str, str]:
    """Paths of installed programs that have versions, by their names."""
    paths = [entry["path"] for entry in entries if entry["kind"] == "file"]
    found = {os.path.basename(path): path for path in paths}
    plugins = {name: "%s/%s" % (program_versions.PLUGINS_DIRECTORY, name) for name in program_versions.PLUGINS}
    return {
        **{name: found[name] for name in VERSIONED if name in found},
        **{name: path for name, path in plugins.items() if path in paths},
    }


def report(
    machine: Machine,
    paths: Sequence[str],
    data: Dict[str, str],
    more: Sequence[str] = (),
    programs: Sequence[str] = (),
    etcd_disk: bool = False,
    writes: bool = True,
) -> Report:
    """The whole report, in the shape of ``kubeproof.settings.host_report.HostReport``.

    ``data``: see leftovers. ``more``: see sysctls. ``programs``: paths of further programs.
    ``etcd_disk``: whether etcd's disk is measured, where no member is yet. ``writes``: see program_versions.Look.
    """
    started = time.time()
    entries = manifest(machine)
    processes = running(machine)
    # Not before: what answers is a kubelet, too.
    look = program_versions.Look(machine.root, writes=writes)
    look.begin({**installed_programs(entries), **{path: path for path in programs}})
    mounted = mounts(machine)
    modules = kernel_modules(machine)
    swaps = swap_devices(machine)
    python_path, python = service_python(machine)
    found = {
        "user": {"id": os.geteuid(), "name": user_name(os.geteuid())},
        "hostname": platform.node(),
        "machine_id": machine.word("/etc/machine-id"),
        "os": operating_system(machine),
        "arch": ARCHITECTURES.get(platform.machine(), platform.machine()),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "service_python": python,
        "service_python_path": python_path,
        "systemd": systemd(machine),
        "container": container(machine),
        "hidepid": hidepid(machine),
        "package_manager": next((name for name in PACKAGE_MANAGERS if shutil.which(name)), ""),
        "commands": {name: command(name) for name in (*COMMANDS, *programs)},
        "cpus": os.cpu_count() or 1,
        "work_seconds": min(work() for _ in range(3)),
        "memory": memory(machine),
        "swap": {"on": bool(swaps), "devices": swaps},
        "disks": {path: disk(machine, path, mounted) for path in paths},
        "interfaces": interfaces(machine),
        "default_route": default_route(machine),
        "default_route_ipv6": default_route_ipv6(machine),
        "router_advertisements": router_advertisements(machine),
        "resolver": resolver(machine),
        "firewall": firewall(machine, modules),
        "ports": ports(machine),
        "processes": processes,
        "cgroup": cgroup(machine),
        "capabilities": {"init": capabilities(machine, "1"), "self": capabilities(machine, "self")},
        "user_namespace": user_namespace(machine),
        "limits": {"init": hard_limits(machine, "1"), "self": hard_limits(machine, "self")},
        "modules": modules,
        "sysctls": sysctls(machine, more),
        "apparmor": machine.word("/sys/module/apparmor/parameters/enabled") == "Y",
        "iptables_legacy": is_legacy(command("iptables")),
        "selinux": {"1": "enforcing", "0": "permissive"}.get(machine.word("/sys/fs/selinux/enforce"), "disabled"),
        "leftovers": leftovers(machine, entries, data),
        "etcd": etcd(machine, entries, data[ETCD]),
        "node": node_object.report(machine.root),
        "identity": identity.report(made_files(entries), machine.root),
        "installed": installed(machine, entries),
        "settled": {
            "tasks": settled.settled() if entries else {},
            "units": component_unit.settled() if entries else {},
        },
        "runs": host_runs.found(machine.path(STATE_DIRECTORY)),
    }
    members = found["etcd"]["lived"] or any(each["there"] for each in found["etcd"]["data"].values())
    measured = etcd_disk and not members and ETCD not in found["installed"]["units"]
    found["etcd_disk"] = sync_speed(machine, data[ETCD]) if measured else None
    # Programs have had the time of all this for their answers.
    running_programs, versions = look.end()
    found["handlers"] = {path: versions.pop(path) for path in programs if path in versions}
    found["installed"].update(running=running_programs, versions=versions)
    found["clock"] = {"synchronised": clock_synchronised(), "start": started, "end": time.time()}
    return found


def work() -> float:
    """Seconds for a fixed piece of the interpreter's own work, which tell how fast a host is."""
    begun, total = time.perf_counter(), 0
    for number in range(200000):
        total += number % 7
    return time.perf_counter() - begun


def user_name(number: int) -> str:
    """A user by number; the number itself where it has no name."""
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def command(name: str) -> Optional[str]:
    """Where a command is; the directories of the administrator's commands are searched too. A file is where it is."""
    if os.path.isabs(name):
        return name if os.path.exists(name) else None
    return shutil.which(name, path=os.environ.get("PATH", os.defpath) + ":/usr/local/sbin:/usr/sbin:/sbin")


def is_legacy(iptables: Optional[str]) -> bool:
    """Whether ``iptables`` has rules of its own in the kernel, as all had before 1.8, and not those of nftables."""
    return os.path.basename(os.path.realpath(iptables or "")) in LEGACY


def main() -> None:
    """Report on this host."""
    module = AnsibleModule(
        argument_spec={
            "paths": {"type": "list", "elements": "str", "default": PATHS},
            "etcd_data_directory": {"type": "path", "default": "/var/lib/etcd"},
            "etcd_disk": {"type": "bool", "default": False},
            "containerd_root_directory": {"type": "path", "default": "/var/lib/containerd"},
            "crio_root_directory": {"type": "path", "default": "/var/lib/crio"},
            "docker_root_directory": {"type": "path", "default": "/var/lib/docker"},
            "backup_directory": {"type": "path", "default": "/var/backups/etcd"},
            "sysctls": {"type": "list", "elements": "str", "default": []},
            "programs": {"type": "list", "elements": "str", "default": []},
            # For the action plugin.
            "trusted": {"type": "bool", "default": False},
            "again": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    data = {unit: module.params[option] for unit, option in DATA.items()}
    found = report(
        Machine(),
        module.params["paths"],
        data,
        module.params["sysctls"],
        module.params["programs"],
        etcd_disk=module.params["etcd_disk"] and not module.check_mode,
        writes=not module.check_mode,
    )
    module.exit_json(changed=False, ansible_facts={"kubeproof_host": found})


if __name__ == "__main__":
    main()
