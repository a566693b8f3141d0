"""The versions on the way: neither API servers nor etcd skip a minor version."""

from __future__ import annotations

from kubeproof.core.versions import Minor, Version
from kubeproof.upgrade.goal import Goal
from kubeproof.upgrade.policy import ETCD_BEFORE, OLDER
from kubeproof.upgrade.world import (
    APISERVER,
    COMPONENTS,
    CONTROLLERS,
    ETCD,
    KUBE_PROXY,
    KUBELET,
    KUBERNETES,
    Host,
    World,
)


def kubernetes_minors(world: World, goal: Goal) -> list[Minor]:
    """The minor versions that the control plane goes through, the wanted one last; none if it is of that one."""
    wanted = goal.wants(APISERVER)
    processes = [running for _, _, running in world.running(APISERVER, *CONTROLLERS)]
    if wanted is None or not processes:
        return []
    if goal.direction == "forward":
        return between(min(running.effective for running in processes), wanted.series)
    highest = max(running.version.series for running in processes)
    return between(wanted.series.plus(-1), highest.plus(-1))[::-1]


def kubernetes_passes(world: World, goal: Goal) -> list[Version]:
    """The versions that the control plane goes through, the wanted one last; what can't be had is left out."""
    wanted = goal.wants(APISERVER)
    minors = kubernetes_minors(world, goal)
    if wanted is not None and not minors:
        processes = world.running(APISERVER, *CONTROLLERS)
        return [wanted] if any(running.version != wanted for _, _, running in processes) else []
    return [version for series in minors if (version := goal.target.newest(KUBERNETES, series))]


def etcd_minors(world: World, goal: Goal) -> list[Minor]:
    """The minor versions that members go through, the wanted one last; none if they are of that one."""
    wanted = goal.wants(ETCD)
    minors = [running.version.series for _, _, running in world.running(ETCD)]
    if wanted is None or not minors:
        return []
    if goal.direction == "forward":
        return between(min(minors), wanted.series)
    return between(wanted.series.plus(-1), max(minors).plus(-1))[::-1]


def etcd_passes(world: World, goal: Goal) -> list[Version]:
    """The versions that members go through, the wanted one last, with patches that the next minor version needs."""
    wanted = goal.wants(ETCD)
    versions = [running.version for _, _, running in world.running(ETCD)]
    if wanted is None or all(version == wanted for version in versions):
        return []
    passes: list[Version] = []
    for series in etcd_minors(world, goal):
        prerequisite = ETCD_BEFORE.get(series)
        if goal.direction == "forward" and prerequisite and (passes[-1] if passes else min(versions)) < prerequisite:
            better = goal.target.newest(ETCD, prerequisite.series)
            passes = [*passes[:-1], better] if better else passes
        version = goal.target.newest(ETCD, series)
        passes += [version] if version else []
    return passes or [wanted]


def between(older: Minor, newer: Minor) -> list[Minor]:
    """Minor versions after one, up to another."""
    return [Minor(newer.major, minor) for minor in range(older.minor + 1, newer.minor + 1)]


class Needs:
    """What hosts will be switched to, passes on the way included."""

    def __init__(self, world: World, goal: Goal) -> None:
        self._goal = goal
        self._kubernetes = kubernetes_passes(world, goal)
        self._etcd = etcd_passes(world, goal)
        servers = [running.version for _, _, running in world.running(APISERVER)]
        self._served = min(servers, default=None)

    def of(self, host: Host) -> frozenset[tuple[str, Version]]:
        """Versions by component."""
        found: set[tuple[str, Version]] = set()
        for program, running in host.runs.items():
            wanted = self._goal.wants(program)
            if wanted is not None and running.version != wanted:
                found |= {(COMPONENTS[program], step) for step in self._steps(program, running.version, wanted)}
        return frozenset(found)

    def _steps(self, program: str, version: Version, wanted: Version) -> list[Version]:
        if program in (APISERVER, *CONTROLLERS):
            return self._kubernetes
        if program == ETCD:
            return self._etcd
        return [wanted, *self._stopovers(program, version)] if program in (KUBELET, KUBE_PROXY) else [wanted]

    def _stopovers(self, program: str, version: Version) -> list[Version]:
        """What a node runs between two passes of the control plane, where it would be left too far behind."""
        stopovers = []
        present = self._served
        for coming in self._kubernetes:
            if present is not None and version.series < coming.series.plus(-OLDER[program]):
                stopovers.append(present)
                version = present
            present = coming
        return stopovers
