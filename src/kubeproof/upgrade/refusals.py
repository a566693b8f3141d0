"""What is in the way of an upgrade, from what runs now: one list, with what to do about each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from kubeproof.core.versions import Minor, Version
from kubeproof.preflight.findings import Finding
from kubeproof.upgrade.goal import Goal
from kubeproof.upgrade.passes import Needs, etcd_minors, kubernetes_minors, kubernetes_passes
from kubeproof.upgrade.policy import ETCD_BEFORE
from kubeproof.upgrade.world import APISERVER, COMPONENTS, DNS, ETCD, KUBERNETES, UPGRADE, Host, World

# The first minor versions that can be left downwards: etcd's members migrate their data, Kubernetes emulates.
DOWNGRADES_FROM = Minor(3, 6)
EMULATES_FROM = Minor(1, 31)
DOWNGRADE = "version-step"
"""The finding that something would get older without being on its way back."""


def check(world: World, goal: Goal) -> list[Finding]:
    """All that speaks against a turn now. What only the API knows is asked in ``kubeproof.upgrade.questions``."""
    return [
        *_others(world, goal),
        *_hosts(world, goal),
        *_etcd(world),
        *_skipped(world, goal),
        *(_older(world, goal) if goal.direction == "forward" else _no_way_back(world, goal)),
        *_rehearsed(world, goal),
    ]


def _others(world: World, goal: Goal) -> Iterator[Finding]:
    if world.operation:
        problem = f"another operation is in progress: {world.operation}"
        yield Finding("operation", problem, "Wait until it has ended, or end it and run this again.")
    pending = {
        name: version
        for name, version in world.unfinished.items()
        if name in goal.target.versions and goal.target.versions[name] != version
    }
    if pending and goal.direction == "forward":
        problem = f"an upgrade to {_named(pending)} is not finished; this run changes its target"
        remediation = f"To finish it first: --to {pending.get(KUBERNETES, next(iter(pending.values())))}."
        yield Finding("unfinished", problem, remediation, severity="warning")


def _hosts(world: World, goal: Goal) -> Iterator[Finding]:
    """Hosts that cannot have their turn. The cluster can do without a worker for a while, and without no other."""

    def due(host: Host) -> bool:
        return host.cordoned == UPGRADE or bool(Needs(world, goal).of(host))

    for host in world.hosts:
        if host.unconfirmed and host.reachable:
            continue  # Its turn is completed or undone first.
        if not host.worker and not host.reachable:
            problem = "it can't be reached, and no other host of the control plane or etcd may stop meanwhile"
            remediation = "Repair it, or replace it, first. A --limit that leaves it out leaves it unseen."
            yield Finding("host-unreachable", problem, remediation, host=host.name)
        elif not host.worker and not host.well:
            problem = f"{_unwell(host)}, and no other host of the control plane or etcd may stop meanwhile"
            remediation = (
                f"Repair it first (kubectl describe node {host.name}; journalctl on it), or replace it; then run this "
                "again."
            )
            yield Finding("host-unhealthy", problem, remediation, host=host.name)
        elif not host.reachable and due(host):
            problem = "it can't be reached, and is left behind with what it runs"
            remediation = "Run the upgrade again when it is back."
            yield Finding("left-behind", problem, remediation, host=host.name, severity="warning")
        elif not host.well and goal.may_touch(host) and due(host):
            problem = "its node is not ready, so that an upgrade could not be seen to have worked"
            yield Finding("host-unhealthy", problem, f"Repair it, or --hosts '!{host.name}'.", host=host.name)


def _unwell(host: Host) -> str:
    """What is not healthy about a host."""
    silent = host.member is not None and not host.member.healthy
    return " and ".join(
        what
        for what, holds in (
            ("its etcd member does not answer, or has no leader", silent),
            ("its node is not ready", not host.ready),
        )
        if holds
    )


def _etcd(world: World) -> Iterator[Finding]:
    voters = world.voters
    if not voters:
        return
    # A turn that was not confirmed may have stopped a member: it is completed or undone first.
    healthy = [
        host
        for host in voters
        if host.reachable and (host.unconfirmed or (host.member is not None and host.member.healthy))
    ]
    if len(healthy) <= len(voters) // 2:
        away = ", ".join(host.name for host in voters if host not in healthy)
        problem = f"etcd has lost its quorum: {len(healthy)} of {len(voters)} voting members are healthy, not {away}"
        yield Finding("etcd-quorum", problem, "Repair members, or restore a backup (playbooks/restore.yml).", ETCD)
    for host in world.members:
        if host.member is not None and host.member.learner:
            problem = "its etcd member is a learner: it is being added or replaced"
            yield Finding("etcd-learner", problem, "Let that end first, or remove the member.", ETCD, host.name)
    for alarm in world.etcd.alarms:
        problem = f"etcd has an alarm: {alarm}"
        remediation = (
            "Remove its cause (NOSPACE: free space, defragment members; CORRUPT: replace the member), then: etcdctl "
            "alarm disarm."
        )
        yield Finding("etcd-alarm", problem, remediation, ETCD)


def _skipped(world: World, goal: Goal) -> Iterator[Finding]:
    """Minor versions on the way that can't be had: none may be skipped."""
    for component, minors in (
        (KUBERNETES, kubernetes_minors(world, goal)),
        (ETCD, etcd_minors(world, goal)),
    ):
        missing = [series for series in minors if goal.target.newest(component, series) is None]
        if missing:
            names = " and ".join(str(series) for series in missing)
            problem = f"{component} would skip {names}, of which no version is available"
            remediation = (
                f"Make one available: where components are built, a module (./kubeproof components add {component} "
                f"{missing[0]}.PATCH); else any that the source has, in component_versions."
            )
            yield Finding("version-skip", problem, remediation, component)
    if goal.direction == "forward":
        yield from _prerequisites(world, goal)


def _prerequisites(world: World, goal: Goal) -> Iterator[Finding]:
    lowest = min((running.version for _, _, running in world.running(ETCD)), default=None)
    for series in etcd_minors(world, goal):
        before = ETCD_BEFORE.get(series)
        if lowest is None or before is None:
            continue
        have = [lowest, *goal.target.available.get(ETCD, ())]
        if lowest < before and not any(each.series == before.series and each >= before for each in have):
            problem = f"etcd {series} needs all members at {before} or a later {before.series} first; one is {lowest}"
            yield Finding("version-skip", problem, f"Make a version of {before.series} from {before} available.", ETCD)


def _older(world: World, goal: Goal) -> Iterator[Finding]:
    """Forward, nothing gets older. Once for each component: it is a matter of the settings, and not of hosts."""
    found: dict[tuple[str, Version, Version], list[str]] = {}
    for host, program, running in world.running(*COMPONENTS):
        wanted = goal.wants(program)
        if wanted is not None and wanted < running.version:
            hosts = found.setdefault((COMPONENTS[program], running.version, wanted), [])
            hosts += [host.name] if host.name not in hosts else []
    dns = goal.wants(DNS)
    if world.dns is not None and dns is not None and dns < world.dns:
        found[DNS, world.dns, dns] = []
    for (component, version, wanted), hosts in found.items():
        where = f" on {', '.join(hosts)}" if hosts else ""
        problem = f"{component} would go from {version} to {wanted}{where}, a downgrade"
        yield Finding(DOWNGRADE, problem, "To go back: ./kubeproof upgrade back.", component)


def _no_way_back(world: World, goal: Goal) -> Iterator[Finding]:
    etcd = max((running.version.series for _, _, running in world.running(ETCD)), default=None)
    wanted = goal.wants(ETCD)
    if etcd is not None and wanted is not None and wanted.series < etcd and world.etcd.version == etcd:
        lowest = min([etcd, *etcd_minors(world, goal)[:-1]])
        if lowest < DOWNGRADES_FROM:
            problem = (
                f"etcd {etcd} can't go back to {wanted.series}: its data can be migrated from {DOWNGRADES_FROM} on"
            )
            yield Finding("no-way-back", problem, restore_left(world), ETCD)
    minors = kubernetes_minors(world, goal)
    if minors and min(minors) < EMULATES_FROM:
        problem = f"Kubernetes can't go back to {min(minors)}: API servers emulate {EMULATES_FROM} and newer"
        yield Finding("no-way-back", problem, restore_left(world), APISERVER)


def _rehearsed(world: World, goal: Goal) -> Iterator[Finding]:
    """A rehearsal that failed, on the backup that counts for this goal."""
    backup = world.backup
    if backup is None or not world.unfinished or not backup.goal.startswith(goal.key):
        return
    for version in kubernetes_passes(world, goal):
        if backup.readable.get(version) is False:
            problem = f"in the rehearsal, Kubernetes {version} could not read all objects"
            way = "Its report names them: change or delete them, and run this again."
            left = f" {restore_left(world)}" if goal.direction == "back" else ""
            yield Finding("rehearsal", problem, way + left, APISERVER)


def restore_left(world: World) -> str:
    """What is left where there is no way back, and what it would cost."""
    if world.backup is None:
        return "What is left is a restore (playbooks/restore.yml) of a backup that was taken before."
    return (
        f"What is left is a restore (playbooks/restore.yml) of the backup of {age(world.backup.age)} ago: what was "
        "written since is lost."
    )


def age(seconds: float) -> str:
    """Seconds in the unit that people would use."""
    for size, unit in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} seconds"


def _named(versions: Mapping[str, Version]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())
