"""The shape of what ``plugins/modules/host_report.py`` finds on a host. Sizes in bytes, times in seconds since 1970."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NotRequired, TypedDict


class User(TypedDict):
    """Who the report was made by: the user that playbooks work as."""

    id: int
    name: str


class OperatingSystem(TypedDict):
    """From os-release(5): ``debian``, ``12``, ``Debian GNU/Linux 12 (bookworm)``, and what it is like."""

    id: str
    version: str
    pretty: str
    like: list[str]


class Systemd(TypedDict):
    """``init``: systemd is PID 1. ``state``: as ``systemctl is-system-running`` says."""

    init: bool
    version: int | None
    state: str
    virtualization: str


class Memory(TypedDict):
    """Of the kernel, whatever the limits of a container."""

    total: int
    available: int


class Swap(TypedDict):
    """Devices and files in use as swap; a container sees its machine's."""

    on: bool
    devices: list[str]


class Disk(TypedDict):
    """The file system under a path.

    ``on`` is the path or its nearest parent that exists; ``device`` tells file systems apart; what is kept for root
    is not free.
    """

    on: str
    device: int
    type: str
    total: int
    free: int
    inodes_total: int
    inodes_free: int
    read_only: bool
    noexec: bool
    nodev: bool


class Interface(TypedDict):
    """A network interface, its addresses with prefix. ``kind``: ``veth``, ``bridge`` …, empty for hardware."""

    mac: str
    mtu: int
    up: bool
    kind: str
    addresses: list[str]


class Route(TypedDict):
    """The default route."""

    interface: str
    gateway: str


class Resolver(TypedDict):
    """Name servers of /etc/resolv.conf; where systemd-resolved lists those behind its stub (or empty), and these."""

    nameservers: list[str]
    upstream: str
    upstream_nameservers: list[str]


class Chain(TypedDict):
    """A base chain that drops what no rule accepts, and the program that lists it.

    That is ``nft``, ``iptables-legacy`` or ``iptables-nft``, the latter two ``ip6tables-…`` for IPv6. ``by``: its
    policy, or a rule without a condition.
    """

    program: str
    family: str
    table: str
    name: str
    hook: Literal["forward", "input"]
    by: Literal["policy", "rule"]


class Firewall(TypedDict):
    """What may drop what the cluster sends, besides firewalld, which is among the processes."""

    ufw: bool
    chains: list[Chain]


class Process(TypedDict):
    """``name`` is the kernel's (15 characters), ``unit`` the systemd service or scope, if any."""

    pid: int
    name: str
    unit: str


class Port(TypedDict):
    """A listening TCP port; ``process`` is ``None`` if it is unknown."""

    port: int
    address: str
    process: Process | None


class Cgroup(TypedDict):
    """``hybrid``: version 1 with an empty unified hierarchy beside it."""

    version: Literal[1, 2]
    hybrid: bool
    controllers: list[str]


class Limits(TypedDict):
    """Hard limits; ``None`` is unlimited."""

    nofile: int | None
    nproc: int | None


class LimitsOf(TypedDict):
    """Of PID 1, which units inherit, and of the process that looked."""

    init: Limits
    self: Limits


class CapabilitiesOf(TypedDict):
    """Effective capabilities that matter, as in capabilities(7), of PID 1 and of the process that looked."""

    init: list[str]
    self: list[str]


class Sysctl(TypedDict):
    """``writable``: the kernel would let root write it from here."""

    value: str
    writable: bool


class RunningProgram(TypedDict):
    """A process of a component: the version of its very executable, and the minor version that it emulates, or empty.

    ``form``: ``service``, ``static-pod`` or ``pod``; the version of the latter is that of its image. ``age``: seconds
    since its start.
    """

    program: str
    pid: int
    version: str
    emulates: str
    age: float
    form: str


class Installed(TypedDict):
    """What there is of kubeproof's: whether anything, units with their suffix, versions by program (``1.36.3``).

    ``versions`` are of files, which may be ahead of what is ``running``; CNI plugins are one program, ``cni-plugins``.

    ``active``: of the units those that are enabled or running, and paths of static pods' manifests. ``components``:
    versions by component and image, as they were distributed; empty where that was before they were
    recorded. ``settings``: those that a cluster keeps for its life, as the host was installed with them, from the
    manifest, or else from files.
    """

    manifest: bool
    units: list[str]
    active: list[str]
    settings: dict[str, str]
    versions: dict[str, str]
    running: list[RunningProgram]
    components: dict[str, str]


class EtcdData(TypedDict):
    """``there``: etcd would continue with it. ``restore``: the restore from which it is, empty if there was none."""

    there: bool
    restore: str


class EtcdMember(TypedDict):
    """As etcd lists it; ``started`` once it was ready for the first time."""

    id: str
    name: str
    peer_urls: list[str]
    started: bool


class EtcdAlarm(TypedDict):
    """An alarm that is up (``NOSPACE``, ``CORRUPT``), and the ID of the member that raised it."""

    member: str
    alarm: str


class EtcdSays(TypedDict):
    """What the running member knows of its cluster, and the size of its own database; 0 if it does not say.

    ``revision`` is that of its key space, ``applied`` the last entry of the log that it has applied.
    """

    cluster: str
    members: list[EtcdMember]
    alarms: list[EtcdAlarm]
    size: int
    in_use: int
    revision: int
    applied: int


class Etcd(TypedDict):
    """What there is of etcd.

    ``directory`` and ``peers`` (URLs by name) are of the configuration that was installed, ``lived`` is where a
    member's data was when it was ready; empty if there was none. ``data`` has these two directories, and the one that
    the settings want. ``says`` is ``None`` if no member answers.
    """

    directory: str
    lived: str
    data: dict[str, EtcdData]
    peers: dict[str, str]
    says: EtcdSays | None


class EtcdDisk(TypedDict):
    """How long ``fdatasync`` took after each of so many writes of etcd's size: the 99th percentile, seconds."""

    writes: int
    p99: float


class Node(TypedDict):
    """The host's Node object, as its kubelet is shown it.

    ``there``: the API has it. ``networks``: its pod networks by the API (``10.244.1.0/24``). ``given``: those of the
    CNI configuration that the host was given; empty if that is not ours.
    """

    there: bool
    networks: list[str]
    given: list[str]


class Settled(TypedDict):
    """What is as an earlier run left it.

    ``tasks``: answers of ``install_component`` by the digest of what was asked for. ``units``: digests of what
    ``component_service`` was asked for, by unit.
    """

    tasks: dict[str, Any]
    units: dict[str, str]


class HostRun(TypedDict):
    """A run that changes this host, or did and was killed.

    ``id``: by which its record is found. ``record``: as its controller wrote it (``kubeproof.core.active_run``).
    ``age``: seconds since its last change.
    """

    id: str
    record: dict[str, Any]
    age: float


class Clock(TypedDict):
    """The host's time when the examination began and ended. ``synchronised`` is ``None`` if it is unknown."""

    synchronised: bool | None
    start: float
    end: float


class Asked(TypedDict):
    """The controller's time before it asked and after it had the answer; added by the action plugin."""

    before: float
    after: float


ModuleState = Literal["loaded", "builtin", "loadable", "missing"]


class HostReport(TypedDict):
    """The fact ``kubeproof_host`` of a host that could be examined.

    ``service_python``: version of the Python that services run by, ``service_python_path``: where it is. ``hidepid``:
    as proc(5) has it; empty if nothing is hidden. ``work_seconds``: how long a fixed piece of work took, see
    ``kubeproof.core.patience``.
    """

    user: User
    hostname: str
    machine_id: str
    os: OperatingSystem
    arch: str
    kernel: str
    python: str
    service_python: str
    service_python_path: str
    systemd: Systemd
    container: str
    hidepid: str
    package_manager: str
    commands: dict[str, str | None]
    handlers: dict[str, str]
    cpus: int
    work_seconds: float
    memory: Memory
    swap: Swap
    disks: dict[str, Disk]
    interfaces: dict[str, Interface]
    default_route: Route | None
    default_route_ipv6: Route | None
    # `accept_ra` of the interfaces whose IPv6 default routes the kernel has from router advertisements.
    router_advertisements: dict[str, str]
    resolver: Resolver
    firewall: Firewall
    ports: list[Port]
    processes: list[Process]
    cgroup: Cgroup
    capabilities: CapabilitiesOf
    user_namespace: bool
    limits: LimitsOf
    modules: dict[str, ModuleState]
    sysctls: dict[str, Sysctl]
    apparmor: bool
    # Whether `iptables` is the one with rules of its own in the kernel, beside those of nftables.
    iptables_legacy: bool
    selinux: Literal["enforcing", "permissive", "disabled"]
    installed: Installed
    leftovers: list[str]
    etcd: Etcd
    # Only of a host that is to get its first member.
    etcd_disk: EtcdDisk | None
    # None without a kubelet of ours, and if the API gives no answer.
    node: Node | None
    # SHA-256 (hex) of the CAs and keys that it was installed with, by the names that the controller has for
    # them.
    identity: dict[str, list[str]]
    runs: list[HostRun]
    clock: Clock
    asked: Asked
    # Only where a run may trust it.
    settled: NotRequired[Settled]


class Unexamined(TypedDict):
    """The fact ``kubeproof_host`` of a host that could not: ``unreachable`` if no connection was had, and why.

    ``remediation``: what to do about it, if that is known. ``lacks_python``: what is wrong with its Python, if that is
    why.
    """

    unreachable: bool
    problem: str
    remediation: NotRequired[str]
    lacks_python: NotRequired[str]


def reported(hostvars: Mapping[str, Any], host: str) -> Mapping[str, Any]:
    """What this run has found on a host; empty if it has not asked it. ``hostvars``: Ansible's.

    As it is: rendered, as ``hostvars[host]`` has it, takes ten times as long, and no report has a template.
    """
    variables = hostvars.raw_get(host) if hasattr(hostvars, "raw_get") else hostvars.get(host, {})
    found: Mapping[str, Any] = variables.get("ansible_facts", {}).get("kubeproof_host", {})
    return found
