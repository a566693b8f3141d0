"""The plan: all turns up to the end, as steps, and everything that is in the way."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kubeproof.core.versions import Minor
from kubeproof.preflight.findings import Finding, Severity, errors, relevant
from kubeproof.upgrade import policy
from kubeproof.upgrade.afterwards import after
from kubeproof.upgrade.goal import Goal, Kind
from kubeproof.upgrade.order import next_turn
from kubeproof.upgrade.refusals import DOWNGRADE, check
from kubeproof.upgrade.turn import Moment, Turn, Waits
from kubeproof.upgrade.world import ETCD, World

NOTHING, REFUSED, WORK = 0, 1, 2
"""Exit codes of a plan."""
# More turns than any cluster needs: a planner that does not end has a bug.
_ENDLESS = 20_000


@dataclass(frozen=True)
class Step:
    """Turns of one kind, one after the other. ``batches``: the hosts of each turn.

    ``restarts``: programs. ``moves``: what they go from and to. ``drained``: hosts whose pods are evicted. ``reason``:
    what for. ``back``: how far one can go back after it.
    """

    kind: Kind
    title: str
    batches: tuple[tuple[str, ...], ...] = ()
    restarts: tuple[str, ...] = ()
    moves: tuple[str, ...] = ()
    drained: tuple[str, ...] = ()
    reason: str = ""
    back: str = ""

    @property
    def hosts(self) -> list[str]:
        """Its hosts in their order."""
        return list(dict.fromkeys(name for batch in self.batches for name in batch))


@dataclass(frozen=True)
class Plan:
    """Steps from what runs to what is wanted. ``notes``: why the run ends before all is done, if it does."""

    world: World
    goal: Goal
    turns: tuple[Turn, ...]
    steps: tuple[Step, ...]
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]
    end: World

    @property
    def exit_code(self) -> int:
        """0: nothing to do; 1: refused; 2: there is work."""
        if errors(self.findings):
            return REFUSED
        return WORK if self.turns else NOTHING


def plan(world: World, goal: Goal, more: Sequence[Finding] = ()) -> Plan:
    """The plan. ``more``: findings about what only the API or hosts know."""
    turns, end, waits = _unfold(world, goal)
    wrong = check(world, goal)
    # What a wish for older versions would lead to adds nothing.
    led_to = [] if any(each.id == DOWNGRADE for each in wrong) else _led_to(waits)
    everything = [*wrong, *_outside(world, end, turns), *led_to, *_idle(goal, turns, waits), *more]
    notes = (waits.reason,) if waits and not waits.violations else ()
    return Plan(world, goal, tuple(turns), steps(world, goal, turns), tuple(relevant(everything, ())), notes, end)


def begun(world: World, goal: Goal) -> World:
    """The world when a run has noted what it is about: what is not finished is known from then on.

    A run that is limited to some components leaves it to another one to finish the rest.
    """
    pending = {**world.unfinished, **goal.versions}
    return world if pending == world.unfinished else dataclasses.replace(world, unfinished=pending, began=0.0)


def _unfold(world: World, goal: Goal) -> tuple[list[Turn], World, Waits | None]:
    """All turns up to the end, as if each went well, and why they end before all is done, if they do."""
    turns: list[Turn] = []
    if next_turn(Moment(world, goal)) is not None:
        world = begun(world, goal)
    while len(turns) < _ENDLESS:
        turn = next_turn(Moment(world, goal, [each.kind for each in turns]))
        if turn is None:
            break
        if isinstance(turn, Waits):
            return turns, world, turn
        turns.append(turn)
        world = after(world, turn, goal)
    return turns, world, None


def _outside(world: World, end: World, turns: Sequence[Turn]) -> list[Finding]:
    """Versions outside the policy as they are now: a warning if this plan is what ends it."""
    left = {each.key for each in policy.violations(end)} if turns else None
    found = []
    for each in policy.violations(world):
        ends = left is not None and each.key not in left
        remediation = (
            "This upgrade ends it."
            if ends
            else f"Bring {each.program} to a version within https://kubernetes.io/releases/version-skew-policy/ first."
        )
        severity: Severity = "warning" if ends else "error"
        found.append(Finding("version-skew", f"now: {each.problem}", remediation, each.program, each.host, severity))
    return found


def _led_to(waits: Waits | None) -> list[Finding]:
    """Versions outside the policy that the plan would lead to: what is left behind is too old, or too new."""
    remediation = "Bring that host back, or let it have its turn; or remove it from the cluster."
    return [
        Finding("version-skew", f"this would lead to: {each.problem}", remediation, each.program, each.host)
        for each in (waits.violations if waits else ())
    ]


def _idle(goal: Goal, turns: Sequence[Turn], waits: Waits | None) -> list[Finding]:
    """A run that is limited to hosts whose turn has not come: a backup would be all that it did."""
    if goal.hosts is None or goal.until is not None or waits is None or waits.violations:
        return []
    if any(turn.changes or turn.kind is Kind.SETTLE for turn in turns):
        return []
    problem = f"nothing can be done in this run: {waits.reason}"
    remediation = "Let these have their turn: without --hosts, or with them in it."
    return [Finding("hosts-too-early", problem, remediation)]


# --- steps ---


def steps(world: World, goal: Goal, turns: Sequence[Turn]) -> tuple[Step, ...]:
    """Turns that are alike and follow each other, as steps."""
    groups: list[list[Turn]] = []
    for turn in turns:
        if groups and _alike(groups[-1][-1], turn):
            groups[-1].append(turn)
        else:
            groups.append([turn])
    lifts = {group[0].series: number for number, group in enumerate(groups, 1) if group[0].kind is Kind.LIFT}
    return tuple(_step(world, goal, group, lifts) for group in groups)


def _alike(one: Turn, other: Turn) -> bool:
    return (one.kind, one.series, one.version) == (other.kind, other.series, other.version) or (
        one.kind is other.kind is Kind.NODES and one.series == other.series
    )


def _step(world: World, goal: Goal, turns: Sequence[Turn], lifts: Mapping[Minor | None, int]) -> Step:
    first = turns[0]
    programs = tuple(dict.fromkeys(name for turn in turns for changes in turn.changes.values() for name in changes))
    moves = tuple(
        dict.fromkeys(
            f"{name} {running}"
            for turn in turns
            for changes in turn.changes.values()
            for name, running in changes.items()
        )
    )
    drained = tuple(name for turn in turns for name in turn.hosts if name in turn.drained)
    return Step(
        first.kind,
        title(first),
        tuple(turn.hosts for turn in turns if turn.hosts),
        programs,
        moves,
        drained,
        _reason(goal, first, drained, any(turn.stranded for turn in turns)),
        _back(world, goal, turns, lifts),
    )


def title(turn: Turn) -> str:
    """What a turn is called, in the plan and while it is done."""
    emulated = next((running.emulates for each in turn.changes.values() for running in each.values()), None)
    return {
        Kind.SETTLE: "confirm or undo an unconfirmed turn",
        Kind.STAGE: "stage all versions",
        Kind.BACKUP: (f"backup as {turn.series}, verified" if turn.series else "backup, verified")
        # A plan without a rehearsal would seem to have forgotten it.
        + ("; was rehearsed within the hour" if turn.readable else ""),
        Kind.REHEARSAL: f"rehearsal with {turn.version} on that backup",
        Kind.ETCD_CANCEL: "cancel etcd's downgrade",
        Kind.ETCD_DOWNGRADE: f"lower etcd's cluster version to {turn.series}",
        Kind.ETCD: f"etcd {turn.version}",
        Kind.API_SERVERS: f"API servers {turn.version}" + (f" as {emulated}" if emulated else ""),
        Kind.CONTROLLERS: f"controllers {turn.version}" + (f" as {emulated}" if emulated else ""),
        Kind.QUICK: "verification, quick",
        Kind.SOAK: f"soak, {turn.seconds:.0f} s",
        Kind.LIFT: f"API servers, controllers as {turn.series}",
        Kind.EMULATE: f"controllers, API servers as {turn.series}",
        Kind.NODES: "nodes",
        Kind.KUBE_PROXY: f"kube-proxy's DaemonSet {turn.version}",
        Kind.DNS: f"DNS {turn.version}",
        Kind.VERIFICATION: "verification",
    }[turn.kind]


def _reason(goal: Goal, turn: Turn, drained: Sequence[str], stranded: bool) -> str:
    forward = goal.direction == "forward"
    if turn.kind is Kind.NODES:
        if stranded and not drained:
            return "not drained: pods have nowhere to go"
        return "drained: a minor version of kubelet or runtime changes" if drained else "not drained: patches alone"
    return {
        Kind.SETTLE: "a run was killed before it confirmed this turn",
        Kind.STAGE: "no host changes before all of them have what they will need",
        Kind.BACKUP: "what there is to restore, whatever happens",
        Kind.REHEARSAL: "finds what it can't read before anything is changed",
        Kind.ETCD: "one member at a time, the leader last",
        Kind.ETCD_CANCEL: "etcd's version is not raised while it is being downgraded",
        Kind.ETCD_DOWNGRADE: "all members are new, and the old binary refuses newer data",
        Kind.API_SERVERS: "all before any controller: clients reach each of them" if forward else "after controllers",
        Kind.CONTROLLERS: "not newer than any API server that they may reach",
        Kind.QUICK: "before the old binaries can no longer simply be put back",
        Kind.SOAK: "upgrade_soak",
        Kind.LIFT: "the APIs and features of the new minor version",
        Kind.EMULATE: "from then on nothing is stored that the old version does not know",
        Kind.KUBE_PROXY: "of all nodes, once they have its image; not newer than any API server",
        Kind.DNS: "",
        Kind.VERIFICATION: "",
    }[turn.kind]


def _back(world: World, goal: Goal, turns: Sequence[Turn], lifts: Mapping[Minor | None, int]) -> str:
    """How far one can go back after a step of an upgrade."""
    first = turns[0]
    if goal.direction == "back":
        return ""
    if first.kind is Kind.ETCD:
        old = [running.version.series for _, _, running in world.running(ETCD)]
        if first.series is not None and all(series >= first.series for series in old):
            return "any time"
        return f"old binary until {turns[-1].hosts[-1]}, then a downgrade"
    if first.kind in (Kind.API_SERVERS, Kind.CONTROLLERS):
        emulates = any(running.emulating for each in first.changes.values() for running in each.values())
        if not emulates:
            return "any time"
        return f"any time until step {lifts[first.series]}" if first.series in lifts else "any time until the lift"
    return {
        Kind.LIFT: "if the old version reads all objects",
        Kind.NODES: "any time",
        Kind.KUBE_PROXY: "any time",
        Kind.DNS: "any time",
    }.get(first.kind, "")
