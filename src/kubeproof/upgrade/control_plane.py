"""API servers, controller managers and schedulers: all API servers before any controller, behind a load balancer.

A new minor version first emulates the old one. Until that is lifted, the old binaries may be put back.
"""

from __future__ import annotations

from kubeproof.core.versions import Minor, Version
from kubeproof.upgrade import nodes
from kubeproof.upgrade.evidence import fresh_backup
from kubeproof.upgrade.goal import Kind
from kubeproof.upgrade.policy import OLDER
from kubeproof.upgrade.turn import Changes, Due, Moment, Process, Turn, Waits, switches
from kubeproof.upgrade.world import APISERVER, CONTROLLERS, KUBE_PROXY, KUBELET, KUBERNETES, Running


def forward(moment: Moment) -> Due:
    """One minor version after the other, each in all processes and lifted before the next."""
    wanted, servers, controllers = _look(moment)
    if wanted is None or not servers:
        return
    lowest = min(running.effective for _, _, running in [*servers, *controllers])
    if lowest >= wanted.series:
        for kind, each in ((Kind.API_SERVERS, servers), (Kind.CONTROLLERS, controllers)):
            due = [one for one in each if one[2].version != wanted]
            yield from switches(moment, kind, due, lambda _: Running(wanted), wanted.series)
        return
    series = lowest.plus(1)
    version = moment.goal.target.newest(KUBERNETES, series)
    if version is None:
        yield Waits(f"no version of Kubernetes {series} is available")
    else:
        yield from _left_too_far_behind(moment, series)
        yield from _emulating(moment, lowest, version)
        yield from _lifted(moment, lowest)


def _emulating(moment: Moment, old: Minor, version: Version) -> Due:
    """The new binaries, as the old minor version."""
    wanted, servers, controllers = _look(moment)

    def due(running: Running) -> bool:
        # On the way any patch will do; a patch other than the wanted one may be what was wanted before.
        other = running.version != version if version == wanted else running.version.series < version.series
        return running.effective == old and other

    for kind, each in ((Kind.API_SERVERS, servers), (Kind.CONTROLLERS, controllers)):
        processes = [one for one in each if due(one[2])]
        yield from switches(moment, kind, processes, lambda _: Running(version, old), version.series)


def _lifted(moment: Moment, old: Minor) -> Due:
    """Then all as what they are, API servers first. Nothing is lifted before a look, and the soak."""
    _, servers, controllers = _look(moment)
    series = old.plus(1)
    if all(running.effective == old for _, _, running in servers):
        if not moment.done_in_this_pass(Kind.QUICK):
            yield Turn(Kind.QUICK, series=series)
        youngest = min(running.age for _, _, running in servers)
        if youngest < moment.goal.soak:
            yield Turn(Kind.SOAK, series=series, seconds=moment.goal.soak - youngest)
    for each in (servers, controllers):
        due = [one for one in each if one[2].effective == old]
        yield from switches(moment, Kind.LIFT, due, lambda running: _as(running, series), series)


def _as(running: Running, series: Minor) -> Running:
    return Running(running.version, None if running.version.series == series else series)


def _left_too_far_behind(moment: Moment, series: Minor) -> Due:
    """Nodes that API servers of the next minor version would leave behind have their turn before these."""
    _, servers, _ = _look(moment)
    version = min(running.version for _, _, running in servers)
    due: dict[str, Changes] = {}
    pods = False
    for host, program, running in moment.world.running(KUBELET, KUBE_PROXY):
        if running.version.series < series.plus(-OLDER[program]):
            if program == KUBE_PROXY and moment.world.proxy_pods:
                pods = True
                continue
            if not host.reachable or not moment.goal.may_touch(host):
                yield Waits(f"{program} {running} of {host.name} would be too old for Kubernetes {series}")
            due[host.name] = {**due.get(host.name, {}), program: Running(version)}
    yield from nodes.batch(moment, due, version.series)
    if pods:
        yield from nodes.rolled(moment, version)


def back(moment: Moment) -> Due:
    """First as the old minor version, which is rehearsed; then its binaries, API servers last."""
    wanted, servers, controllers = _look(moment)
    if wanted is None or not servers:
        return
    highest = max(running.version.series for _, _, running in [*servers, *controllers])
    if highest <= wanted.series:
        yield from _patch_back(moment, wanted)
        return
    series = highest.plus(-1)
    version = moment.goal.target.newest(KUBERNETES, series)
    if version is None:
        yield Waits(f"no version of Kubernetes {series} is available")
        return
    for each in (controllers, servers):
        due = [one for one in each if one[2].effective > series]
        yield from switches(moment, Kind.EMULATE, due, lambda running: _as(running, series), series)
    # From here on nothing is stored that the old version does not know: what is there now is what it has to read.
    mark = f"{moment.goal.key}, as {series}"
    if not fresh_backup(moment.world, mark):
        yield Turn(Kind.BACKUP, series=series, mark=mark)
    for kind, each in ((Kind.CONTROLLERS, controllers), (Kind.API_SERVERS, servers)):
        due = [one for one in each if one[2].version.series > series]
        yield from switches(moment, kind, due, lambda _: Running(version), series)


def _patch_back(moment: Moment, wanted: Version) -> Due:
    """To an older patch; and what emulates an older minor version than is wanted ends that."""
    _, servers, controllers = _look(moment)
    for kind, each in ((Kind.CONTROLLERS, controllers), (Kind.API_SERVERS, servers)):
        due = [one for one in each if one[2].version != wanted]
        yield from switches(moment, kind, due, lambda running: Running(wanted, running.emulates), wanted.series)
    for each in (servers, controllers):
        due = [one for one in each if one[2].emulating]
        yield from switches(moment, Kind.LIFT, due, lambda _: Running(wanted), wanted.series)


def _look(moment: Moment) -> tuple[Version | None, list[Process], list[Process]]:
    """The wanted version, API servers, and controllers."""
    world = moment.world
    return moment.goal.wants(APISERVER), list(world.running(APISERVER)), list(world.running(*CONTROLLERS))
