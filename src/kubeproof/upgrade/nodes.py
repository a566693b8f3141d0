"""Nodes: a canary, workers in batches, and hosts that are more than a node, one at a time."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from kubeproof.core.versions import Minor, Version
from kubeproof.upgrade.evidence import left_out
from kubeproof.upgrade.goal import Kind
from kubeproof.upgrade.turn import Changes, Due, Moment, Turn, Waits
from kubeproof.upgrade.world import KUBE_PROXY, KUBELET, NODE_PROGRAMS, RUNTIMES, UPGRADE, Host, Running


def due(moment: Moment) -> Due:
    """Nodes that do not run what is wanted, and those that an upgrade has left cordoned."""
    goal = moment.goal
    changes: dict[str, Changes] = {}
    for host in moment.world.nodes:
        programs = [each for each in NODE_PROGRAMS if not (each == KUBE_PROXY and moment.world.proxy_pods)]
        wanted = {program: goal.wants(program) for program in programs if program in host.runs}
        switched = {
            program: Running(version)
            for program, version in wanted.items()
            if version is not None and host.runs[program].version != version
        }
        if switched or host.cordoned == UPGRADE:
            changes[host.name] = switched
    kubelet = goal.wants(KUBELET)
    yield from batch(moment, changes, kubelet.series if kubelet else None)


def proxies(moment: Moment) -> Due:
    """The DaemonSet of kube-proxy, once all nodes have had their turn, with which they get its image.

    Forward that is after API servers, of which it must not be newer; back it is before them, for the same reason.
    """
    wanted = moment.goal.wants(KUBE_PROXY)
    if wanted is None or not moment.world.proxy_pods:
        return
    yield from rolled(moment, wanted)


def rolled(moment: Moment, version: Version) -> Due:
    """All pods of the DaemonSet, as this version, unless they are."""
    reachable = [host for host in moment.world.nodes if host.reachable]
    changes = {
        host.name: {KUBE_PROXY: Running(version)}
        for host in reachable
        if KUBE_PROXY in host.runs and host.runs[KUBE_PROXY].version != version
    }
    if changes and left_out(moment):
        yield Waits(f"{KUBE_PROXY}'s DaemonSet is of all nodes, and --hosts leaves out {', '.join(left_out(moment))}")
    elif changes:
        yield Turn(Kind.KUBE_PROXY, (), changes, series=version.series, version=version, puts_back=False)


def batch(moment: Moment, changes: Mapping[str, Changes], series: Minor | None) -> Due:
    """The next of these nodes. Those that cannot be reached, or that ``--hosts`` leaves out, are left behind."""
    candidates = [
        host for host in moment.world.nodes if host.name in changes and host.reachable and moment.goal.may_touch(host)
    ]
    chosen = candidates[:1]
    workers = [host for host in candidates if host.worker]
    if workers:
        # What an earlier run has left cordoned comes first: until then nothing can go there.
        workers.sort(key=lambda host: host.cordoned != UPGRADE)
        everyone = [host for host in moment.world.nodes if host.worker]
        chosen = workers[: moment.goal.batch(len(everyone)) if _canary_lives(everyone, changes) else 1]
    if chosen:
        mine = {host.name: changes[host.name] for host in chosen}
        leaving = [host for host in chosen if moves_minor(host, mine[host.name])]
        drained = frozenset(host.name for host in leaving if _places(moment, host, mine))
        stranded = frozenset(host.name for host in leaving) - drained
        yield Turn(Kind.NODES, tuple(mine), mine, drained, series, stranded=stranded)


def _places(moment: Moment, leaving: Host, batch: Collection[str]) -> bool:
    """Whether there is another node for the pods of one. They tolerate its own taints, and need not tolerate more."""
    return any(
        KUBELET in host.runs and host.ready and not host.cordoned and host.taints <= leaving.taints
        for host in moment.world.nodes
        if host.name not in batch
    )


def _canary_lives(workers: Sequence[Host], changes: Mapping[str, Changes]) -> bool:
    """Whether a worker runs already what is due on others."""
    coming = {(program, running.version) for each in changes.values() for program, running in each.items()}
    return any(
        host.reachable
        and host.name not in changes
        and all(host.runs[program].version == version for program, version in coming if program in host.runs)
        for host in workers
    )


def moves_minor(host: Host, changes: Changes) -> bool:
    """Whether pods have to leave first: neither a kubelet nor a runtime is to change its minor version under them."""
    return any(
        host.runs[program].version.series != running.version.series
        for program, running in changes.items()
        if program in (KUBELET, *RUNTIMES)
    )
