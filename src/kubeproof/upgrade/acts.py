"""A plan as what a playbook carries out: one act after the other, each on hosts of its own, some at a time."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from types import MappingProxyType
from typing import Any, NamedTuple

from kubeproof.core.errors import KubeproofError
from kubeproof.core.versions import Version
from kubeproof.upgrade.afterwards import after, settled
from kubeproof.upgrade.evidence import backing_up, rehearsing
from kubeproof.upgrade.goal import Kind
from kubeproof.upgrade.passes import etcd_passes, kubernetes_passes
from kubeproof.upgrade.plan import Plan, title
from kubeproof.upgrade.turn import Changes, Turn
from kubeproof.upgrade.world import (
    APISERVER,
    COMPONENTS,
    CONTROLLERS,
    CRI_DOCKERD,
    DNS,
    ETCD,
    KUBE_PROXY,
    KUBELET,
    NODE_PROGRAMS,
    RUNTIMES,
    Host,
    World,
)

# Plays of playbooks/upgrade.yml: Ansible has no loop over plays.
PLAYS = 24
# Turns that begin together. One API server after the other has its whole turn: they are what clients see.
TOGETHER = (Kind.ETCD, Kind.CONTROLLERS)
# What goes with Kubernetes and is on nodes.
IMAGES = ("pause", "agnhost")
# Binaries and images that are switched together, by the kind of an act. A component's name stands for all its binaries.
PROGRAMS: Mapping[str, tuple[str, ...]] = {
    Kind.ETCD: (ETCD,),
    Kind.API_SERVERS: (APISERVER,),
    Kind.CONTROLLERS: CONTROLLERS,
    Kind.NODES: (*NODE_PROGRAMS, *IMAGES),
    Kind.KUBE_PROXY: (KUBE_PROXY,),
}
# After these the cluster is as it was before.
_PREPARING = (Kind.SETTLE, Kind.STAGE, Kind.BACKUP, Kind.REHEARSAL)
# Where a node stops on the way, it has only these of the version in between.
_STOPOVER = (KUBELET, KUBE_PROXY, *IMAGES)


@dataclass(frozen=True)
class Act:
    """One play.

    ``kind``: the file of tasks. ``serial``: how many hosts at a time, in their order; all at once if it is empty, where
    restarts are one at a time all the same, and what is around them is done side by side.
    ``programs`` are switched, all that a host needs if there are none, to ``versions``, which has all components, those
    that are not switched as they are; a rehearsal is of these. ``emulates``: the minor version as which a control plane
    works, empty if as its own. ``former``: by host, what to put back. ``mixed``: whether other acts have fetched other
    versions since. ``mark``: what a backup is for, and what a rehearsal is of. ``version``: of Kubernetes, of what is
    rehearsed. ``readable``: versions that need not be, with this backup.
    ``begun``: whether etcd's downgrade was begun by an earlier run, and is to be waited for.
    ``confirmed``: hosts that put themselves back unless their turn is confirmed. ``undone``: those whose earlier turn
    is put back, where the others' is confirmed. ``backup_host``: where a rehearsal gets its backup from; empty if it is
    where it is rehearsed. ``untouched``: whether no act before this one changes what runs.
    """

    kind: str
    title: str
    hosts: tuple[str, ...] = ()
    serial: tuple[int, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    programs: tuple[str, ...] = ()
    emulates: str = ""
    former: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    drained: tuple[str, ...] = ()
    seconds: float = 0.0
    series: str = ""
    mixed: bool = False
    mark: str = ""
    version: str = ""
    confirmed: tuple[str, ...] = ()
    undone: tuple[str, ...] = ()
    begun: bool = False
    readable: tuple[str, ...] = ()
    backup_host: str = ""
    untouched: bool = True


def acts(plan: Plan, given: Mapping[str, str] = MappingProxyType({})) -> list[Act]:
    """All acts of a plan, in their order. The verification is none: it comes last, after what is of no act.

    ``given``: see ``running``.
    """
    # What is put back is what was there before a turn that is settled first.
    undone = tuple(
        host.name for host in plan.world.hosts if host.unconfirmed and host.reachable and not host.confirmable
    )
    now_settled = [settled(host) for host in plan.world.hosts if host.unconfirmed and host.reachable]
    plan = replace(plan, world=plan.world.replacing(now_settled))
    groups: list[list[_Due]] = []
    world = plan.world
    for turn in plan.turns:
        due, world = _Due(turn, world), after(world, turn, plan.goal)
        if turn.kind is Kind.VERIFICATION:
            continue
        if groups and _key(groups[-1][-1].turn) == _key(turn):
            groups[-1].append(due)
        else:
            groups.append([due])
    mixed = len(kubernetes_passes(plan.world, plan.goal)) > 1 or len(etcd_passes(plan.world, plan.goal)) > 1
    # DNS alone is nothing that is staged on hosts: what is to be distributed for it has not been fetched.
    staged = any(turn.kind is Kind.STAGE for turn in plan.turns)
    made = _staged(
        plan,
        [_act(plan, due, mixed=mixed or (due[0].turn.kind is Kind.DNS and not staged)) for due in groups],
        now := running(plan, given),
    )
    return [
        replace(
            act,
            hosts=tuple(dict.fromkeys((*act.hosts, *_everywhere(plan, act)))),
            serial=() if act.kind in TOGETHER or not act.hosts else act.serial,
            versions={**now, **act.versions},
            former={name: {**each, "versions": {**now, **each["versions"]}} for name, each in act.former.items()},
            undone=tuple(name for name in act.hosts if name in undone) if act.kind == Kind.SETTLE else (),
            untouched=all(each.kind in _PREPARING for each in made[:at]),
        )
        for at, act in enumerate(made)
    ]


def running(plan: Plan, given: Mapping[str, str] = MappingProxyType({})) -> dict[str, str]:
    """The oldest versions that run, by component: those of what has no turn.

    What a host runs that cannot be reached may be too old to be had any more. ``given``: versions that the cluster was
    given, by component, for what runs on no other.
    """
    found: dict[str, Version] = {DNS: plan.world.dns} if plan.world.dns else {}
    for host, program, each in plan.world.running(*COMPONENTS):
        if host.reachable:
            name = COMPONENTS[program]
            found[name] = min(found.get(name, each.version), each.version)
    kept = {name: version for name, version in given.items() if name in COMPONENTS.values()}
    return {**kept, **{name: str(version) for name, version in found.items()}}


def _everywhere(plan: Plan, act: Act) -> tuple[str, ...]:
    """The hosts of what concerns the whole cluster. etcd's leadership is transferred while all API servers pause."""
    kind = act.kind
    if act.hosts and kind != Kind.ETCD:
        return ()
    if kind == Kind.REHEARSAL:
        return tuple(host.name for host in rehearsing(plan.world)[:1])
    if kind in (Kind.DNS, Kind.KUBE_PROXY):
        return tuple(host.name for host in plan.world.nodes if host.reachable)
    if kind in (Kind.BACKUP, Kind.ETCD_DOWNGRADE, Kind.ETCD_CANCEL):
        return tuple(host.name for host in backing_up(plan.world))
    return tuple(host.name for host in plan.world.hosts if host.control_plane and host.reachable)


def data(plan: Plan, given: Mapping[str, str] = MappingProxyType({})) -> list[dict[str, Any]]:
    """The same for a playbook. Raises KubeproofError if it has fewer plays: what is left would have no turn."""
    found = acts(plan, given)
    if len(found) > PLAYS:
        raise KubeproofError(
            f"this upgrade has {len(found)} acts, and one run carries out {PLAYS}",
            hint="upgrade in several runs, by a minor version each: --to",
        )
    return [asdict(act) for act in found]


def _key(turn: Turn) -> tuple[object, ...]:
    programs = frozenset(name for changes in turn.changes.values() for name in changes)
    each = None if turn.kind is Kind.NODES else programs
    return turn.kind, turn.series, turn.version, each


class _Due(NamedTuple):
    """A turn, and the world right before it: what is put back is that, and not what was there when the run began."""

    turn: Turn
    before: World


def _act(plan: Plan, due: Sequence[_Due], *, mixed: bool) -> Act:
    turns = [each.turn for each in due]
    first = turns[0]
    kind = _kind(first)
    changes = {name: each for turn in turns for name, each in turn.changes.items()}
    versions = {COMPONENTS[program]: str(run.version) for each in changes.values() for program, run in each.items()}
    programs = PROGRAMS.get(kind, ())
    if first.kind is Kind.NODES:
        wanted = {name: str(version) for name, version in plan.goal.versions.items()}
        partly = {name: versions[name] for name in versions if versions[name] != wanted.get(name)}
        programs = _STOPOVER if partly else _of_node(plan.goal.programs, plan.world)
        moved = {COMPONENTS[each] for each in programs if each in COMPONENTS}
        versions = partly or {name: wanted[name] for name in moved & wanted.keys()}
    if first.kind is Kind.DNS:
        # By then nodes have what is wanted of them, or, on the way back, have it still.
        forward = plan.goal.direction == "forward"
        versions = {name: str(version) for name, version in plan.goal.versions.items() if forward or name == DNS}
        programs = (DNS,)
    if first.kind is Kind.REHEARSAL:
        versions = _rehearsed(plan, first)
    emulates = {str(run.emulates) for each in changes.values() for run in each.values() if run.emulates}
    return Act(
        kind,
        _title(first),
        tuple(name for turn in turns for name in turn.hosts),
        tuple(len(turn.hosts) for turn in turns),
        versions,
        programs,
        "".join(emulates),
        {
            name: {**_former(each.before.host(name), kind, to), "mixed": mixed}
            for each in due
            for name, to in each.turn.changes.items()
        },
        tuple(name for turn in turns for name in turn.hosts if name in turn.drained),
        first.seconds,
        str(first.series or ""),
        mixed,
        first.mark,
        str(first.version or ""),
        tuple(name for turn in turns if turn.puts_back for name in turn.changes),
        begun=first.kind is Kind.ETCD_DOWNGRADE and due[0].before.etcd.downgrade == first.series,
        readable=tuple(sorted(str(version) for version in first.readable)),
        backup_host=_backup_host(plan) if first.kind is Kind.REHEARSAL else "",
    )


def _backup_host(plan: Plan) -> str:
    """Where a rehearsal gets its backup from; empty if the host that rehearses has made it."""
    maker, rehearser = (next((host.name for host in each(plan.world)), "") for each in (backing_up, rehearsing))
    return "" if maker == rehearser else maker


def _rehearsed(plan: Plan, turn: Turn) -> dict[str, str]:
    """What Kubernetes is rehearsed with: the next minor version of etcd at most, since none may be skipped.

    On the way back it is the present one: the older one opens newer data only once all members have migrated it.
    Nothing emulates: emulating, the target would write as the old version does.
    """
    now = [running.version.series for _, _, running in plan.world.running(ETCD)]
    forward = etcd_passes(plan.world, plan.goal) if plan.goal.direction == "forward" else []
    etcd = [str(version) for version in forward if version.series <= min(now).plus(1)]
    return {"kubernetes": str(turn.version), **({ETCD: etcd[-1]} if etcd else {})}


def _of_node(scope: Collection[str], world: World) -> tuple[str, ...]:
    """What is switched on nodes, of runtimes the one that they have. Images go with the kubelet."""
    lacking = {name for name in (*RUNTIMES, CRI_DOCKERD) if not any(name in host.runs for host in world.hosts)}
    programs = tuple(name for name in NODE_PROGRAMS if name in scope and name not in lacking)
    return (*programs, *IMAGES) if KUBELET in programs else programs


def _kind(turn: Turn) -> str:
    """What is done; to lift an emulation, or to begin one, the same programs are restarted."""
    if turn.kind not in (Kind.LIFT, Kind.EMULATE):
        return str(turn.kind)
    programs = {name for changes in turn.changes.values() for name in changes}
    return str(Kind.API_SERVERS if APISERVER in programs else Kind.CONTROLLERS)


def _title(turn: Turn) -> str:
    """As in the plan, where API servers and what comes after them are one step."""
    if turn.kind not in (Kind.LIFT, Kind.EMULATE):
        return title(turn)
    return f"{'API servers' if _kind(turn) == Kind.API_SERVERS else 'controllers'} as {turn.series}"


def _former(host: Host, kind: str, to: Changes) -> dict[str, Any]:
    """What a host has before a turn, as an act of its own: it is put back by doing the same with it."""
    programs = PROGRAMS.get(kind, ())
    running = {name: host.runs[name] for name in programs if name in host.runs}
    # Of programs of one component the first counts: a kubelet's version, and not kube-proxy's, which may differ.
    versions = {COMPONENTS[name]: str(each.version) for name, each in reversed(running.items())}
    emulates = next((str(each.emulates) for each in running.values() if each.emulates), "")
    what = ", ".join(f"{name} {each}" for name, each in running.items())
    by_program = {name: str(each.version) for name, each in running.items()}
    return {
        "kind": kind,
        "versions": versions,
        "programs": list(programs),
        "emulates": emulates,
        "what": what,
        # As the host records it, to be read by the next look.
        "turn": {**by_program, "emulates": emulates, "to": {name: str(each) for name, each in to.items()}},
    }


def _staged(plan: Plan, made: Sequence[Act], now: Mapping[str, str]) -> list[Act]:
    """All versions are staged before the first host changes: an act for each that differs from the ones before."""
    switching = [act for act in made if act.versions and act.kind != Kind.REHEARSAL]
    needed = list(dict.fromkeys(tuple(sorted(act.versions.items())) for act in switching))
    final = tuple(sorted((name, str(version)) for name, version in plan.goal.versions.items()))
    # Those of the end last: the lock names what was fetched last as the target.
    others = [each for each in needed if not set(each) <= {*final, *now.items()}]
    result: list[Act] = []
    for act in made:
        if act.kind != Kind.STAGE:
            result.append(act)
            continue
        result += [Act(act.kind, act.title, act.hosts, (len(act.hosts),), dict(each)) for each in [*others, final]]
    return result
