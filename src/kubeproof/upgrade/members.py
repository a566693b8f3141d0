"""etcd, member by member, the leader last."""

from __future__ import annotations

import dataclasses

from kubeproof.core.versions import Minor, Version
from kubeproof.upgrade.goal import Kind
from kubeproof.upgrade.policy import ETCD_BEFORE
from kubeproof.upgrade.turn import Due, Moment, Process, Turn, Waits, switches
from kubeproof.upgrade.world import ETCD, Running, World


def forward(moment: Moment) -> Due:
    """One minor version after the other, each in all members before the next."""
    wanted, members = moment.goal.wants(ETCD), list(moment.world.running(ETCD))
    if wanted is None or not members:
        return
    if moment.world.etcd.downgrade is not None:
        yield Turn(Kind.ETCD_CANCEL, series=wanted.series)
    lowest = min(running.version.series for _, _, running in members)
    series = min(lowest.plus(1), max(lowest, wanted.series))
    prerequisite = ETCD_BEFORE.get(series) if series != lowest else None
    if prerequisite is not None:
        patch = moment.goal.target.newest(ETCD, prerequisite.series)
        old = [each for each in members if each[2].version < prerequisite]
        if old and (patch is None or patch < prerequisite):
            yield Waits(f"no version of etcd {prerequisite.series} from {prerequisite} on is available")
        elif patch is not None:
            yield from _members(moment, old, patch)
    version = wanted if series == wanted.series else moment.goal.target.newest(ETCD, series)
    if version is None:
        yield Waits(f"no version of etcd {series} is available")
    elif series == lowest:
        yield from _members(moment, [each for each in members if each[2].version != wanted], wanted)
    else:
        old = [each for each in members if each[2].version.series < series]
        for turn in _members(moment, old, version):
            yield dataclasses.replace(turn, puts_back=False) if isinstance(turn, Turn) and len(old) == 1 else turn


def back(moment: Moment) -> Due:
    """While one member is old, old binaries do; afterwards the cluster's version has to be lowered first."""
    wanted, members = moment.goal.wants(ETCD), list(moment.world.running(ETCD))
    if wanted is None or not members:
        return
    highest = max(running.version.series for _, _, running in members)
    if highest <= wanted.series:
        yield from _members(moment, [each for each in members if each[2].version != wanted], wanted)
        return
    series = highest.plus(-1)
    version = moment.goal.target.newest(ETCD, series)
    if version is None:
        yield Waits(f"no version of etcd {series} is available")
        return
    if not lowered(moment.world, series):
        yield Turn(Kind.ETCD_DOWNGRADE, series=series, version=version)
    yield from _members(moment, [each for each in members if each[2].version.series > series], version)


def lowered(world: World, series: Minor) -> bool:
    """Whether members of a minor version may join: the cluster is of it, and so is the data of the newer ones."""
    stored = [host.member.storage for host in world.members if host.member is not None]
    return world.etcd.version == series and all(each is None or each <= series for each in stored)


def _members(moment: Moment, due: list[Process], version: Version) -> Due:
    followers = [each for each in due if each[0].member is None or not each[0].member.leader]
    return switches(moment, Kind.ETCD, followers or due, lambda _: Running(version), version.series)
