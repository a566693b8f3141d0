"""What an upgrade looks at, and what it wants: the versions of running processes, host by host.

A version is that of a process, not that of a file: after a killed run the disk may be ahead of what runs.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from kubeproof.core.versions import Minor, Version

ETCD = "etcd"
APISERVER = "kube-apiserver"
CONTROLLER_MANAGER = "kube-controller-manager"
SCHEDULER = "kube-scheduler"
CONTROLLERS = (CONTROLLER_MANAGER, SCHEDULER)
KUBELET = "kubelet"
KUBE_PROXY = "kube-proxy"
CONTAINERD = "containerd"
CRIO = "crio"
DOCKER = "docker"
CRI_DOCKERD = "cri-dockerd"
RUNC = "runc"
CNI = "cni-plugins"
KUBERNETES = "kubernetes"
DNS = "coredns"

# What a node runs, in the order in which it is switched: the runtime before what it runs.
# Of the runtimes a cluster has one.
RUNTIMES = (CONTAINERD, CRIO, DOCKER)
NODE_PROGRAMS = (*RUNTIMES, CRI_DOCKERD, RUNC, CNI, KUBELET, KUBE_PROXY)
# The component of each program, by which versions are chosen.
COMPONENTS: Mapping[str, str] = MappingProxyType(
    {
        ETCD: ETCD,
        APISERVER: KUBERNETES,
        CONTROLLER_MANAGER: KUBERNETES,
        SCHEDULER: KUBERNETES,
        KUBELET: KUBERNETES,
        KUBE_PROXY: KUBERNETES,
        CONTAINERD: CONTAINERD,
        CRIO: CRIO,
        DOCKER: DOCKER,
        CRI_DOCKERD: CRI_DOCKERD,
        RUNC: RUNC,
        CNI: CNI,
    }
)
# By whom a node is cordoned, if it is by an upgrade: what an operator has cordoned stays so.
UPGRADE = "upgrade"


@dataclass(frozen=True)
class Running:
    """A version that runs, and the minor version that it emulates, if it is another one.

    ``age``: seconds since the process was started. Programs that are started for each container (runc, CNI plugins)
    have the version of their file.
    """

    version: Version
    emulates: Minor | None = None
    age: float = 0.0

    @functools.cached_property
    def effective(self) -> Minor:
        """The minor version as which it serves and asks."""
        return self.emulates or self.version.series

    @property
    def emulating(self) -> bool:
        """Whether it behaves as an older minor version than its own."""
        return self.effective != self.version.series

    def __str__(self) -> str:
        return f"{self.version} as {self.emulates}" if self.emulating else str(self.version)


@dataclass(frozen=True)
class Member:
    """The etcd member of a host. ``storage``: the minor version that its data is of, ``None`` if it does not say."""

    leader: bool = False
    learner: bool = False
    healthy: bool = True
    storage: Minor | None = None


@dataclass(frozen=True)
class Host:
    """A host, and what runs on it.

    ``ready``: all of its components that were asked for their health are well. ``cordoned``: by whom, empty if its node
    is not. ``taints``: those of its node that keep pods away. ``unconfirmed``: programs whose turn has switched them,
    and was not confirmed: the host itself may put them back at any moment. ``before``: what these ran before.
    ``arrived``: whether they run what the turn was to lead to: files of a turn that was killed may be ahead of what
    runs, and a turn that begins with them could not be put back by the host. ``staged``: versions by component that lie
    on the host, so that they can be switched to. ``turned``: what the host did about its last turn, if it was not
    confirmed, and ``keeps``: whether files of other versions are kept on it, both for people.
    """

    name: str
    groups: frozenset[str]
    runs: Mapping[str, Running] = field(default_factory=dict)
    member: Member | None = None
    ready: bool = True
    reachable: bool = True
    cordoned: str = ""
    taints: frozenset[str] = frozenset()
    unconfirmed: frozenset[str] = frozenset()
    before: Mapping[str, Running] = field(default_factory=dict)
    arrived: bool = True
    staged: frozenset[tuple[str, Version]] = frozenset()
    turned: str = ""
    keeps: bool = False

    @property
    def control_plane(self) -> bool:
        """Whether it runs API server, controller manager and scheduler."""
        return "control_plane" in self.groups

    @property
    def node(self) -> bool:
        """Whether it is a node of the cluster."""
        return not self.groups.isdisjoint(("control_plane", "workers"))

    @property
    def worker(self) -> bool:
        """Whether it is nothing but a node: the cluster can do without it for a while."""
        return self.groups.isdisjoint(("control_plane", "etcd"))

    @property
    def well(self) -> bool:
        """Whether it can be reached, and its components are healthy."""
        return self.reachable and self.ready and (self.member is None or self.member.healthy)

    @property
    def confirmable(self) -> bool:
        """Whether a turn that is not confirmed has got to its end, so that it can be."""
        return self.well and self.arrived

    def with_runs(self, changes: Mapping[str, Running]) -> Host:
        """The same host with other versions of some programs."""
        return dataclasses.replace(self, runs={**self.runs, **changes})


@dataclass(frozen=True)
class EtcdCluster:
    """What the members agree on: the cluster's minor version, the target of a downgrade, and alarms."""

    version: Minor | None = None
    downgrade: Minor | None = None
    alarms: tuple[str, ...] = ()


@dataclass(frozen=True)
class Backup:
    """The newest verified backup that an upgrade has taken. ``goal``: what for. ``age``: in seconds.

    ``readable``: by Kubernetes version that was rehearsed with it, whether all objects could be read.
    """

    goal: str
    age: float = 0.0
    readable: Mapping[Version, bool] = field(default_factory=dict)


@dataclass(frozen=True)
class World:
    """What runs now. ``dns``: of the cluster's DNS; ``None`` if kubeproof does not install it.

    ``proxy_pods``: whether kube-proxy is a DaemonSet, whose image is of all nodes and not switched with one of them.

    ``rehearsed``: versions of Kubernetes that have lately read a backup, by what was rehearsed (``rehearsal_of``).

    ``unfinished``: what the lock has as the target of an upgrade that was not finished, and ``began`` is how many
    seconds ago that was. ``operation``: another one that changes the cluster at this moment, described for people;
    empty if there is none.
    """

    hosts: tuple[Host, ...]
    etcd: EtcdCluster = field(default_factory=EtcdCluster)
    dns: Version | None = None
    proxy_pods: bool = False
    backup: Backup | None = None
    rehearsed: Mapping[str, frozenset[Version]] = field(default_factory=dict)
    unfinished: Mapping[str, Version] = field(default_factory=dict)
    began: float = 0.0
    operation: str = ""
    name: str = ""

    def host(self, name: str) -> Host:
        """A host by its name."""
        return next(host for host in self.hosts if host.name == name)

    def running(self, *programs: str) -> Iterator[tuple[Host, str, Running]]:
        """Each process of these programs, with its host."""
        for host in self.hosts:
            for program in programs:
                if program in host.runs:
                    yield host, program, host.runs[program]

    @property
    def members(self) -> list[Host]:
        """Hosts with an etcd member."""
        return [host for host in self.hosts if host.member is not None]

    @property
    def voters(self) -> list[Host]:
        """Hosts with an etcd member that votes."""
        return [host for host in self.members if host.member is not None and not host.member.learner]

    @property
    def nodes(self) -> list[Host]:
        """Hosts that are nodes."""
        return [host for host in self.hosts if host.node]

    def replacing(self, hosts: Iterable[Host]) -> World:
        """The same world with some hosts in another state."""
        changed = {host.name: host for host in hosts}
        return dataclasses.replace(self, hosts=tuple(changed.get(host.name, host) for host in self.hosts))


@dataclass(frozen=True)
class Target:
    """Versions that are wanted, by component. ``available``: all that can be had, by component.

    The latter are what intermediate minor versions are chosen from.
    """

    versions: Mapping[str, Version]
    available: Mapping[str, frozenset[Version]] = field(default_factory=dict)

    def of(self, program: str) -> Version | None:
        """The version wanted of a program; ``None`` if it may stay as it is."""
        return self.versions.get(COMPONENTS.get(program, program))

    def newest(self, component: str, series: Minor) -> Version | None:
        """The version of a minor version: the wanted one, or else the newest that can be had."""
        wanted = self.versions.get(component)
        if wanted is not None and wanted.series == series:
            return wanted
        return max((each for each in self.available.get(component, ()) if each.series == series), default=None)
