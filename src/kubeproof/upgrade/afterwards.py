"""The world after a turn that went well."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from types import MappingProxyType

from kubeproof.upgrade.evidence import complete, to_be_complete
from kubeproof.upgrade.goal import Goal, Kind
from kubeproof.upgrade.passes import Needs
from kubeproof.upgrade.turn import Turn
from kubeproof.upgrade.world import ETCD, UPGRADE, Backup, Host, World


def after(world: World, turn: Turn, goal: Goal) -> World:
    """The world after a turn that went well."""
    if turn.kind is Kind.STAGE:
        needs = Needs(world, goal)
        hosts = [world.host(name) for name in turn.hosts]
        return world.replacing(dataclasses.replace(host, staged=host.staged | needs.of(host)) for host in hosts)
    if turn.kind is Kind.VERIFICATION:
        done = complete(to_be_complete(world, goal), world.unfinished)
        return dataclasses.replace(world, unfinished={}) if done else world
    if turn.kind in _EFFECTS:
        return _EFFECTS[turn.kind](world, turn)
    switched = [world.host(name).with_runs(changes) for name, changes in turn.changes.items()]
    if turn.kind is Kind.NODES:
        switched = [dataclasses.replace(host, cordoned=host.cordoned.replace(UPGRADE, "")) for host in switched]
    return agreed(world.replacing(switched))


def settled(host: Host) -> Host:
    """A host whose unconfirmed turn is over: confirmed if it is well and has got to its end, put back otherwise."""
    host = host if host.confirmable else host.with_runs(host.before)
    member = host.member and dataclasses.replace(host.member, healthy=True)
    return dataclasses.replace(host, unconfirmed=frozenset(), before={}, arrived=True, ready=True, member=member)


def agreed(world: World) -> World:
    """What etcd's members agree on by themselves, a moment after they are what they are."""
    versions = [running.version.series for _, _, running in world.running(ETCD)]
    if not versions:
        return world
    etcd = world.etcd
    if etcd.downgrade is not None:
        etcd = dataclasses.replace(etcd, version=etcd.downgrade)
        if all(series == etcd.downgrade for series in versions):
            etcd = dataclasses.replace(etcd, downgrade=None)
    elif etcd.version is None or etcd.version < min(versions):
        etcd = dataclasses.replace(etcd, version=min(versions))
    members = [
        dataclasses.replace(host, member=dataclasses.replace(host.member, storage=etcd.version))
        for host in world.members
        if host.member is not None and host.member.storage != etcd.version
    ]
    if not members and etcd == world.etcd:
        return world
    return dataclasses.replace(world.replacing(members), etcd=etcd)


def _settle(world: World, turn: Turn) -> World:
    return agreed(world.replacing(settled(world.host(name)) for name in turn.hosts))


def _backup(world: World, turn: Turn) -> World:
    return dataclasses.replace(world, backup=Backup(turn.mark, readable=dict.fromkeys(turn.readable, True)))


def _rehearsal(world: World, turn: Turn) -> World:
    if world.backup is None or turn.version is None:
        return world
    readable = {**world.backup.readable, turn.version: True}
    return dataclasses.replace(world, backup=dataclasses.replace(world.backup, readable=readable))


def _soak(world: World, turn: Turn) -> World:
    def older(host: Host) -> Host:
        aged = {name: dataclasses.replace(one, age=one.age + turn.seconds) for name, one in host.runs.items()}
        return host.with_runs(aged)

    return world.replacing(older(host) for host in world.hosts)


def _downgrade(world: World, turn: Turn) -> World:
    return agreed(dataclasses.replace(world, etcd=dataclasses.replace(world.etcd, downgrade=turn.series)))


def _cancel(world: World, _turn: Turn) -> World:
    return agreed(dataclasses.replace(world, etcd=dataclasses.replace(world.etcd, downgrade=None)))


def _dns(world: World, turn: Turn) -> World:
    return dataclasses.replace(world, dns=turn.version)


def _nothing(world: World, _turn: Turn) -> World:
    return world


_EFFECTS: Mapping[Kind, Callable[[World, Turn], World]] = MappingProxyType(
    {
        Kind.SETTLE: _settle,
        Kind.BACKUP: _backup,
        Kind.REHEARSAL: _rehearsal,
        Kind.SOAK: _soak,
        Kind.ETCD_DOWNGRADE: _downgrade,
        Kind.ETCD_CANCEL: _cancel,
        Kind.DNS: _dns,
        Kind.QUICK: _nothing,
    }
)
