"""What goes before and after turns: settling, staging, backups, rehearsals, the verification."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from kubeproof.core.versions import Version
from kubeproof.upgrade.goal import Goal, Kind
from kubeproof.upgrade.passes import Needs, kubernetes_passes
from kubeproof.upgrade.turn import Due, Moment, Turn, Waits
from kubeproof.upgrade.world import APISERVER, COMPONENTS, DNS, ETCD, UPGRADE, Host, World


def settle(moment: Moment) -> Due:
    """A turn that was not confirmed is completed or undone before another one begins."""
    for host in moment.world.hosts:
        if host.unconfirmed and host.reachable:
            yield Turn(Kind.SETTLE, (host.name,))


def stage(moment: Moment) -> Due:
    """Everything that hosts will need lies on them before the first of them changes."""
    world, goal = moment.world, moment.goal
    needs = Needs(world, goal)
    lacking = tuple(
        host.name for host in world.hosts if host.reachable and goal.may_touch(host) and needs.of(host) - host.staged
    )
    if lacking:
        yield Turn(Kind.STAGE, lacking)


def stored_data(moment: Moment) -> Due:
    """A backup, and rehearsals with what API servers are going to be, before they or etcd change."""
    world, goal = moment.world, moment.goal
    changes = any(
        program in goal.programs and (goal.wants(program) not in (None, running.version) or running.emulating)
        for _, program, running in world.running(ETCD, APISERVER)
    )
    if not changes:
        return
    if not fresh_backup(world, goal.key):
        yield Turn(Kind.BACKUP, mark=goal.key, readable=world.rehearsed.get(rehearsal_of(world, goal), frozenset()))
        return
    if not goal.rehearses:
        return
    tried = world.backup.readable if world.backup is not None else {}
    for version in kubernetes_passes(world, goal):
        if version not in tried:
            yield Turn(Kind.REHEARSAL, series=version.series, version=version, mark=rehearsal_of(world, goal))
        elif not tried[version]:
            yield Waits(f"in the rehearsal, Kubernetes {version} could not read all objects")


def rehearsal_of(world: World, goal: Goal) -> str:
    """What a rehearsal is of: the versions that are wanted, and those of API servers and etcd that it began from.

    Another backup of the same need not be rehearsed again for a while.
    """
    now = sorted({f"{program} {running}" for _, program, running in world.running(ETCD, APISERVER)})
    return f"{goal.key}; from {', '.join(now)}"


def backing_up(world: World) -> list[Host]:
    """Hosts that can make a backup; the first one does. With an API server beside it, it is rehearsed where it is."""
    return sorted((host for host in world.members if host.reachable), key=lambda host: not host.control_plane)


def rehearsing(world: World) -> list[Host]:
    """Hosts that can rehearse; the first one does. They have an API server's keys, and where possible the backup."""
    makers = backing_up(world)
    both = [host for host in makers if host.control_plane]
    return both or [host for host in world.hosts if host.control_plane and host.reachable and makers]


def fresh_backup(world: World, mark: str) -> bool:
    """Whether the newest backup was taken for this, since the upgrade began."""
    backup = world.backup
    return backup is not None and bool(world.unfinished) and backup.goal.startswith(mark) and backup.age <= world.began


def dns(moment: Moment) -> Due:
    """The cluster's DNS, which is an image in the API and of no host: of a run that leaves out no node."""
    wanted = moment.goal.wants(DNS)
    if wanted is not None and _other_dns(moment) and not left_out(moment):
        yield Turn(Kind.DNS, version=wanted)


def dns_left(moment: Moment) -> Due:
    """Why the cluster's DNS has no turn in this run. On the way back it comes first, and keeps nothing waiting."""
    if _other_dns(moment):
        yield Waits(f"DNS is of the whole cluster, and --hosts leaves out {', '.join(left_out(moment))}")


def _other_dns(moment: Moment) -> bool:
    wanted = moment.goal.wants(DNS)
    return moment.world.dns is not None and wanted is not None and moment.world.dns != wanted


def left_out(moment: Moment) -> list[str]:
    """Nodes that could have a turn, and that ``--hosts`` leaves out."""
    return [host.name for host in moment.world.nodes if host.reachable and not moment.goal.may_touch(host)]


def verification(moment: Moment) -> Due:
    """At the end of every run that did something, and of an upgrade whose last run was killed before it."""
    world, done = moment.world, set(moment.done)
    pending = {**world.unfinished, **moment.goal.versions}
    due = done - {Kind.STAGE} or (world.unfinished and complete(to_be_complete(world, moment.goal), pending))
    if due and Kind.VERIFICATION not in done:
        yield Turn(Kind.VERIFICATION)


def to_be_complete(world: World, goal: Goal) -> World:
    """What an upgrade ends with: all of it, but for hosts that it leaves behind. A part of one leaves none behind."""
    return (
        world
        if goal.limited
        else dataclasses.replace(world, hosts=tuple(each for each in world.hosts if each.reachable))
    )


def complete(world: World, versions: Mapping[str, Version]) -> bool:
    """Whether all that runs is of these versions, on hosts that cannot be reached, too."""
    return not any(host.cordoned == UPGRADE or host.unconfirmed for host in world.hosts) and all(
        not running.emulating and versions.get(COMPONENTS[program], running.version) == running.version
        for _, program, running in world.running(*COMPONENTS)
    ) and world.dns in (None, versions.get(DNS, world.dns))  # fmt: skip
