"""The kinds of faults: what they hit, how they begin and end, and which settings bound what they cost."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from kubeproof.local_hosts import lifecycle, podman
from kubeproof.local_hosts.instances import maker
from kubeproof.local_hosts.plan import HostKind, Plan, has_local_hosts, plan
from kubeproof.settings.urls import in_url
from kubeproof.verify.act import announced, leader_election
from kubeproof.verify.act.disruption import cut_off, frozen, stopped
from kubeproof.verify.faults.outside import Outside
from kubeproof.verify.observe import component_control
from kubeproof.verify.observe.cluster import Cluster
from kubeproof.verify.observe.hosts import Host, NotObservable

Targets = Callable[["Field"], Sequence[Host]]
Hit = Callable[["Field", Host], AbstractContextManager[None]]

# A slow disk: what each flush of etcd's log takes longer. Its election timeout is a second.
_SLOW_FLUSH_MICROSECONDS = 300_000


@dataclass(frozen=True)
class Field:
    """Where faults happen. ``client`` is the host that asks; what ends a whole host leaves it alone.

    ``outside``: another client, on this machine, for faults that only that one notices.
    """

    cluster: Cluster
    client: Host
    outside: Outside

    def host(self, name: str) -> Host:
        """The host of this name."""
        return next(host for host in self.cluster.hosts.all if host.name == name)

    @property
    def bystanders(self) -> tuple[Host, ...]:
        """The workers that ask nothing."""
        return tuple(host for host in self.cluster.hosts.group("workers") if host is not self.client)


@dataclass(frozen=True)
class Kind:
    """One kind of fault. ``hold``: seconds it lasts. ``settings``: what governs how long it is felt.

    ``refuses``: whether no write may succeed while it lasts, and each has to be refused soon. ``outside``: whether the
    client outside the cluster asks meanwhile.
    """

    name: str
    title: str
    targets: Targets
    hit: Hit
    hold: float
    settings: tuple[str, ...]
    refuses: bool = False
    outside: bool = False


def _group(name: str) -> Targets:
    return lambda field: field.cluster.hosts.group(name)


def _client(field: Field) -> Sequence[Host]:
    return (field.client,)


def _bystanders(field: Field) -> Sequence[Host]:
    return field.bystanders


def etcd_leader(field: Field) -> Sequence[Host]:
    """The host of etcd's leader."""
    members = {member.id: member.name for member in field.cluster.etcd.members()}
    port = field.cluster.settings["cluster_etcd_port"]
    endpoints = [f"https://{in_url(host.address)}:{port}" for host in field.cluster.etcd_hosts]
    status = next(iter(field.cluster.etcd.statuses(endpoints).values()))
    return (field.host(members[status["leader"]]),)


def _holder(lease: str) -> Targets:
    """The host whose component holds a lease."""

    def find(field: Field) -> Sequence[Host]:
        found = leader_election.holder(field.cluster, leader_election.lease(field.cluster.api, lease))
        return (found,) if found else ()

    return find


def _kill(unit: str) -> Hit:
    """End a process without warning; systemd or the kubelet starts another."""

    @contextmanager
    def hit(_field: Field, host: Host) -> Iterator[None]:
        pids = component_control.processes(host, unit)
        host.run(f"kill -KILL {' '.join(map(str, pids))}")
        yield

    return hit


def _kill_runtime(field: Field, host: Host) -> AbstractContextManager[None]:
    return _kill(f"{field.cluster.runtime}.service")(field, host)


def _stop(unit: str) -> Hit:
    return lambda _field, host: stopped(host, unit)


def _freeze(unit: str) -> Hit:
    return lambda _field, host: frozen(host, unit)


@contextmanager
def _majority_lost(field: Field, survivor: Host) -> Iterator[None]:
    """Stop etcd on all hosts but one, which can do nothing alone."""
    with ExitStack() as stack:
        for host in field.cluster.etcd_hosts:
            if host is not survivor:
                stack.enter_context(stopped(host, "etcd.service"))
        yield


def _cut(_field: Field, host: Host) -> AbstractContextManager[None]:
    return cut_off(host)


def _announcer(field: Field) -> Sequence[Host]:
    return (field.outside.announcer(field.bystanders),)


def _dead(_field: Field, host: Host) -> AbstractContextManager[None]:
    return announced.dead(host)


@contextmanager
def _power_off(field: Field, host: Host) -> Iterator[None]:
    """Pull a local host's plug, and switch it on again."""
    local = _local(field)
    victim = next(each for each in local.hosts if each.name == host.name)
    maker(victim).kill(victim.unique_name)
    try:
        yield
    finally:
        lifecycle.create(local, lambda _: None)
        field.cluster.hosts.forget(host)


@contextmanager
def _traced(field: Field, host: Host, injection: str) -> Iterator[None]:
    """Tamper with what the kernel does for etcd, from this machine, whose processes those of local hosts are."""
    command = ["strace", "--follow-forks", "--quiet=all", f"--attach={_etcd_process(field, host)}"]
    command += ["--trace=fdatasync", f"--inject=fdatasync:{injection}", "--output=/dev/null"]
    try:
        tracer = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    except FileNotFoundError:
        raise NotObservable("strace is not installed on this machine") from None
    with tracer:
        try:
            yield
        finally:
            ended = tracer.poll()
            tracer.terminate()
    # With 0 it ends when etcd does, as one does whose disk is full.
    if ended:
        raise NotObservable(f"strace could not tamper with etcd on {host}: it ended with {ended}")


def _slow_disk(field: Field, host: Host) -> AbstractContextManager[None]:
    return _traced(field, host, f"delay_enter={_SLOW_FLUSH_MICROSECONDS}")


def _full_disk(field: Field, host: Host) -> AbstractContextManager[None]:
    return _traced(field, host, "error=ENOSPC")


def _etcd_process(field: Field, host: Host) -> int:
    local = next(each for each in _local(field).hosts if each.name == host.name)
    if local.kind is not HostKind.CONTAINER:
        raise NotObservable(f"{host} is a virtual machine, whose processes are not this machine's")
    namespace = Path(f"/proc/{podman.first_process(local.unique_name)}/ns/pid").readlink()
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            if (directory / "ns" / "pid").readlink() == namespace and _program(directory) == "etcd":
                return int(directory.name)
        except OSError:
            # It ended meanwhile.
            continue
    raise NotObservable(f"no etcd is running on {host}")


def _program(process: Path) -> str:
    return (process / "comm").read_text().strip()


def _local(field: Field) -> Plan:
    if not has_local_hosts(field.cluster.inventory):
        raise NotObservable("only hosts that are made on this machine can be switched off and slowed down from here")
    return plan(field.cluster.inventory)


_ETCD = ("etcd_heartbeat_interval", "etcd_election_timeout")
_BALANCER = ("balancer_check_interval", "balancer_check_timeout", "balancer_check_fall")
_NODE = ("controller_manager_node_grace_seconds",)

KINDS: tuple[Kind, ...] = (
    Kind("etcd-killed", "An etcd member is killed", _group("etcd"), _kill("etcd.service"), 3, _ETCD),
    Kind("etcd-leader-killed", "etcd's leader is killed", etcd_leader, _kill("etcd.service"), 3, _ETCD),
    Kind("etcd-stopped", "An etcd member is stopped", _group("etcd"), _stop("etcd.service"), 8, _ETCD),
    Kind("etcd-majority-lost", "Only one etcd member is left", _group("etcd"), _majority_lost, 20, _ETCD, refuses=True),
    Kind("etcd-leader-frozen", "etcd's leader hangs", etcd_leader, _freeze("etcd.service"), 8, _ETCD),
    Kind("etcd-slow-disk", "The disk under etcd's leader is slow", etcd_leader, _slow_disk, 8, _ETCD),
    Kind("etcd-full-disk", "The disk under etcd's leader is full", etcd_leader, _full_disk, 5, _ETCD),
    Kind(
        "apiserver-killed",
        "An API server is killed",
        _group("control_plane"),
        _kill("kube-apiserver.service"),
        3,
        _BALANCER,
    ),
    Kind(
        "apiserver-stopped",
        "An API server is stopped",
        _group("control_plane"),
        _stop("kube-apiserver.service"),
        8,
        _BALANCER,
    ),
    Kind(
        "apiserver-frozen",
        "An API server hangs",
        _group("control_plane"),
        _freeze("kube-apiserver.service"),
        8,
        _BALANCER,
    ),
    Kind(
        "scheduler-killed",
        "The acting scheduler is killed",
        _holder("kube-scheduler"),
        _kill("kube-scheduler.service"),
        3,
        ("scheduler_lease_seconds",),
    ),
    Kind(
        "controller-manager-killed",
        "The acting controller manager is killed",
        _holder("kube-controller-manager"),
        _kill("kube-controller-manager.service"),
        3,
        ("controller_manager_lease_seconds",),
    ),
    Kind(
        "controller-manager-frozen",
        "The acting controller manager hangs",
        _holder("kube-controller-manager"),
        _freeze("kube-controller-manager.service"),
        20,
        ("controller_manager_lease_seconds",),
    ),
    Kind("balancer-killed", "The client's load balancer is killed", _client, _kill("kube-balancer.service"), 3, ()),
    Kind("kubelet-killed", "A worker's kubelet is killed", _bystanders, _kill("kubelet.service"), 3, ()),
    Kind("runtime-killed", "A worker's runtime is killed", _bystanders, _kill_runtime, 3, ()),
    Kind(
        "control-plane-host-off",
        "A control-plane host loses power",
        _group("control_plane"),
        _power_off,
        8,
        (*_ETCD, *_BALANCER),
    ),
    Kind("worker-off", "A worker loses power", _bystanders, _power_off, 8, _NODE),
    Kind(
        "control-plane-host-cut",
        "A control-plane host is cut off",
        _group("control_plane"),
        _cut,
        8,
        (*_ETCD, *_BALANCER),
    ),
    Kind("worker-cut", "A worker is cut off", _bystanders, _cut, 8, _NODE),
    # Longer than it takes until another speaker answers, and shorter than until the node is lost to the API.
    Kind(
        "worker-announcing-dies",
        "The worker that answers for a Service's address dies",
        _announcer,
        _dead,
        20,
        (),
        outside=True,
    ),
)
