"""Which versions may run side by side.

Sources: https://kubernetes.io/releases/version-skew-policy/ and https://etcd.io/docs/v3.7/upgrades/upgrade_3_7/.
Clients reach API servers through a load balancer, so each one has to go with all API servers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from kubeproof.core.versions import Minor, Version
from kubeproof.upgrade.world import APISERVER, CONTROLLERS, ETCD, KUBE_PROXY, KUBELET, World

# How many minor versions a program may be older than the newest API server. None may be newer than the oldest.
OLDER = {**dict.fromkeys(CONTROLLERS, 1), KUBELET: 3, KUBE_PROXY: 3}
# How far kube-proxy may be from the kubelet of its node, either way.
APART = 3
# The oldest version that may be upgraded to a minor version of etcd: older ones fail in a mixed cluster.
ETCD_BEFORE = {Minor(3, 6): Version(3, 5, 26), Minor(3, 7): Version(3, 6, 11)}


@dataclass(frozen=True)
class Violation:
    """Versions that must not run side by side. ``excess``: by how many minor versions."""

    host: str
    program: str
    rule: str
    excess: int
    problem: str

    @property
    def key(self) -> tuple[str, str, str]:
        """What it is about, whatever the versions."""
        return self.host, self.program, self.rule


def violations(world: World) -> list[Violation]:
    """All that is outside the policy among what runs, also on hosts that cannot be reached, as far as it is known."""
    return [*_api_servers(world), *_clients(world), *_neighbours(world), *_etcd(world)]


def added(before: Iterable[Violation], after: Iterable[Violation]) -> list[Violation]:
    """Violations that are new, or worse."""
    known = {each.key: each.excess for each in before}
    return [each for each in after if each.excess > known.get(each.key, 0)]


def _api_servers(world: World) -> Iterator[Violation]:
    """The oldest and the newest within one minor version, by what they are and by what they emulate."""
    servers = [(host, running) for host, _, running in world.running(APISERVER)]
    for rule, minors in (
        ("binary", {host.name: running.version.series for host, running in servers}),
        ("emulation", {host.name: running.effective for host, running in servers}),
    ):
        newest = max(minors.values(), default=None)
        for host, series in minors.items():
            if newest is not None and _distance(newest, series) > 1:
                yield Violation(
                    host,
                    APISERVER,
                    rule,
                    _distance(newest, series) - 1,
                    f"{APISERVER} {series} next to {newest} on another host: at most one minor version apart",
                )


def _clients(world: World) -> Iterator[Violation]:
    """Everything that asks API servers: not newer than the oldest, not too old for the newest.

    What an API server emulates is what it serves, so that counts as its age for programs that could be newer.
    """
    servers = [running for _, _, running in world.running(APISERVER)]
    if not servers:
        return
    oldest = min(running.effective for running in servers)
    oldest_binary = min(running.version.series for running in servers)
    newest = max(running.version.series for running in servers)
    for host, program, running in world.running(*OLDER):
        series = running.version.series
        # Controllers may emulate as API servers do; nodes' programs can't.
        asks, serves = (series, oldest_binary) if program in CONTROLLERS else (series, oldest)
        if asks > serves:
            yield Violation(
                host.name, program, "newer", _distance(asks, serves), f"{program} {running} is newer than {APISERVER} "
                f"{serves}, the oldest that it may reach",
            )  # fmt: skip
        elif running.effective > oldest:
            yield Violation(
                host.name, program, "emulation", _distance(running.effective, oldest),
                f"{program} {running} may ask for what {APISERVER} does not serve as {oldest}",
            )  # fmt: skip
        if _distance(newest, series) > OLDER[program]:
            yield Violation(
                host.name, program, "older", _distance(newest, series) - OLDER[program],
                f"{program} {running} is too old for {APISERVER} {newest}: at most {_minors(OLDER[program])} older",
            )  # fmt: skip


def _neighbours(world: World) -> Iterator[Violation]:
    for host in world.hosts:
        if KUBELET in host.runs and KUBE_PROXY in host.runs:
            kubelet, proxy = host.runs[KUBELET].version, host.runs[KUBE_PROXY].version
            apart = abs(_distance(kubelet.series, proxy.series))
            if apart > APART:
                problem = f"{KUBE_PROXY} {proxy} next to {KUBELET} {kubelet}: at most {_minors(APART)} apart"
                yield Violation(host.name, KUBE_PROXY, "neighbour", apart - APART, problem)


def _etcd(world: World) -> Iterator[Violation]:
    """Members within one minor version; none older than the cluster's version, since it would not start again."""
    members = [(host, running.version) for host, _, running in world.running(ETCD)]
    newest = max((version.series for _, version in members), default=None)
    for host, version in members:
        if newest is not None and _distance(newest, version.series) > 1:
            problem = f"{ETCD} {version} next to {newest} on another host: at most one minor version apart"
            yield Violation(host.name, ETCD, "members", _distance(newest, version.series) - 1, problem)
        if world.etcd.version is not None and version.series < world.etcd.version:
            problem = f"{ETCD} {version} is older than its cluster, which is {world.etcd.version}"
            yield Violation(host.name, ETCD, "cluster", _distance(world.etcd.version, version.series), problem)


def _distance(newer: Minor, older: Minor) -> int:
    """Minor versions between two; of another major version too many."""
    return newer.minor - older.minor + 100 * (newer.major - older.major)


def _minors(number: int) -> str:
    return f"{number} minor version{'s' * (number > 1)}"
