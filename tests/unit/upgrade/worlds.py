"""Worlds to plan in."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from kubeproof.core.versions import Minor, Version
from kubeproof.upgrade.goal import Goal
from kubeproof.upgrade.world import (
    APISERVER,
    CNI,
    CONTAINERD,
    CONTROLLERS,
    ETCD,
    KUBE_PROXY,
    KUBELET,
    RUNC,
    EtcdCluster,
    Host,
    Member,
    Running,
    Target,
    World,
)

AVAILABLE = {
    "kubernetes": ("1.34.4", "1.35.4", "1.36.3", "1.37.2"),
    "etcd": ("3.5.27", "3.6.16", "3.7.3"),
    "containerd": ("2.3.7", "2.4.2"),
    "runc": ("1.4.3", "1.5.2"),
    "cni-plugins": ("1.9.1", "1.10.0"),
    "coredns": ("1.14.0", "1.15.0"),
}
OLD = {
    "kubernetes": "1.36.3", "etcd": "3.6.16", "containerd": "2.3.7", "runc": "1.4.3", "cni-plugins": "1.9.1",
    "coredns": "1.14.0",
}  # fmt: skip
NEW = {
    "kubernetes": "1.37.2", "etcd": "3.7.3", "containerd": "2.4.2", "runc": "1.5.2", "cni-plugins": "1.10.0",
    "coredns": "1.15.0",
}  # fmt: skip


def target(versions: Mapping[str, str] = NEW, available: Mapping[str, tuple[str, ...]] = AVAILABLE) -> Target:
    return Target(
        {name: Version.of(text) for name, text in versions.items()},
        {name: frozenset(Version.of(text) for text in texts) for name, texts in available.items()},
    )


def goal(versions: Mapping[str, str] = NEW, **more: Any) -> Goal:
    return Goal(target(versions), **more)


def back(versions: Mapping[str, str] = OLD, **more: Any) -> Goal:
    return Goal(target(versions), direction="back", **more)


def running(text: str) -> Running:
    """``1.37.2``, or ``1.37.2 as 1.36``."""
    version, _, emulates = text.partition(" as ")
    return Running(Version.of(version), Minor.of(emulates) if emulates else None)


def host(name: str, versions: Mapping[str, str] = OLD, *, etcd: bool | None = None, **more: Any) -> Host:
    """A control-plane host with a member (cp…), a worker (w…), or a host of etcd alone (e…)."""
    control_plane, node = name.startswith("cp"), not name.startswith("e")
    member = control_plane or not node if etcd is None else etcd
    kubernetes = running(versions["kubernetes"])
    runs: dict[str, Running] = {}
    groups = set()
    if member:
        groups.add("etcd")
        runs[ETCD] = running(versions["etcd"])
        more.setdefault("member", Member(storage=runs[ETCD].version.series))
    if control_plane:
        groups.add("control_plane")
        runs |= dict.fromkeys((APISERVER, *CONTROLLERS), kubernetes)
    elif node:
        groups.add("workers")
    if node:
        runs |= {KUBELET: Running(kubernetes.version), KUBE_PROXY: Running(kubernetes.version)}
        runs |= {name: running(versions[name]) for name in (CONTAINERD, RUNC, CNI)}
    return Host(name, frozenset(groups), runs, **more)


def world(*hosts: Host, versions: Mapping[str, str] = OLD, **more: Any) -> World:
    """Three control-plane hosts and two workers, the first one leading etcd, unless others are given."""
    if not hosts:
        hosts = tuple(host(name, versions) for name in ("cp1", "cp2", "cp3", "w1", "w2"))
        first = hosts[0]
        assert first.member is not None
        hosts = (dataclasses.replace(first, member=dataclasses.replace(first.member, leader=True)), *hosts[1:])
    members = [each.runs[ETCD].version.series for each in hosts if ETCD in each.runs]
    more.setdefault("etcd", EtcdCluster(min(members, default=None)))
    more.setdefault("dns", Version.of(versions["coredns"]))
    return World(hosts, name="prod", **more)


def changed(before: World, name: str, *, runs: Mapping[str, str] | None = None, **more: Any) -> World:
    """A world in which one host is another one: versions of some programs, or any of its fields."""
    one = before.host(name)
    if runs:
        one = one.with_runs({program: running(text) for program, text in runs.items()})
    return before.replacing([dataclasses.replace(one, **more)])
