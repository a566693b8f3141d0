"""A cluster that is upgraded in memory: hosts that fail, put themselves back, or are unreachable; runs that are killed.

What the planner promises is checked at each moment of each turn, as ``Broken``.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tests.unit.upgrade.worlds import AVAILABLE, host, target

from kubeproof.core.versions import Version
from kubeproof.preflight.findings import errors
from kubeproof.upgrade import policy
from kubeproof.upgrade.afterwards import after, agreed, settled
from kubeproof.upgrade.evidence import complete
from kubeproof.upgrade.goal import FORWARD, SCOPES, Goal, Kind
from kubeproof.upgrade.order import next_turn
from kubeproof.upgrade.plan import begun
from kubeproof.upgrade.refusals import check
from kubeproof.upgrade.turn import Changes, Moment, Turn, Waits
from kubeproof.upgrade.world import (
    APISERVER,
    CONTROLLERS,
    ETCD,
    KUBE_PROXY,
    NODE_PROGRAMS,
    UPGRADE,
    EtcdCluster,
    Host,
    Running,
    World,
)


class Broken(AssertionError):
    """What must never be."""


class Killed(Exception):
    """The run was killed, or the controller was lost."""


class Failed(Exception):
    """A turn has failed; the run stops."""


@dataclass
class Chaos:
    """What goes wrong, as long as ``budget`` lasts."""

    random: random.Random
    budget: int = 0
    rate: float = 0.04

    def strikes(self, factor: float = 1.0) -> bool:
        """Whether something goes wrong at this point."""
        if self.budget <= 0 or self.random.random() >= self.rate * factor:
            return False
        self.budget -= 1
        return True


@dataclass
class Cluster:
    """A cluster, and what has happened to it. ``ended``: why each run has ended."""

    world: World
    chaos: Chaos
    ended: list[str] = field(default_factory=list)
    backups: int = 0
    switched: int = 0
    turns: list[Turn] = field(default_factory=list)

    def run(self, goal: Goal) -> str:
        """One run of the upgrade, until it is done, refused, or dead."""
        try:
            outcome = self._run(goal)
        except Killed:
            outcome = "killed"
        except Failed:
            outcome = "failed"
        self.ended.append(outcome)
        self._later()
        return outcome

    def _run(self, goal: Goal) -> str:
        done: list[Kind] = []
        while True:
            self._meanwhile()
            if errors(check(self.world, goal)):
                return "refused"
            turn = next_turn(Moment(self.world, goal, done))
            if turn is None:
                return "done"
            if isinstance(turn, Waits):
                return f"waits: {turn.reason}"
            self.world = begun(self.world, goal)
            self._maybe_killed()
            turns = self._together(turn, goal, done)
            self._execute(turns, goal)
            done += [each.kind for each in turns]
            self.turns += turns
            if len(done) > 500:
                raise Broken("the run does not end")

    def _together(self, turn: Turn, goal: Goal, done: Sequence[Kind]) -> list[Turn]:
        """The turns that begin with this one: those of controllers that are alike."""
        found, world = [turn], after(self.world, turn, goal)
        while _has_company(turn):
            coming = next_turn(Moment(world, goal, [*done, *(each.kind for each in found)]))
            if not isinstance(coming, Turn) or (coming.kind, coming.series, coming.version, _programs(coming)) != (
                turn.kind, turn.series, turn.version, _programs(turn),
            ):  # fmt: skip
                break
            found.append(coming)
            world = after(world, coming, goal)
        return found

    def _execute(self, turns: Sequence[Turn], goal: Goal) -> None:
        turn = turns[0]
        if turn.kind in (Kind.BACKUP, Kind.STAGE, Kind.REHEARSAL, Kind.DNS, Kind.ETCD_DOWNGRADE, Kind.ETCD_CANCEL):
            self._maybe_killed()
        if turn.kind is Kind.SETTLE:
            self._settle(turn.hosts[0])
        elif turn.kind is Kind.KUBE_PROXY:
            self._rolled(turn, goal)
        elif _has_company(turn):
            self._side_by_side(turns, goal)
        elif turn.changes:
            for name, changes in turn.changes.items():
                self._begin(name, changes, turn)
            for name in turn.changes:
                self._down(name, turn)
            for name, changes in turn.changes.items():
                self._switch(name, changes, turn, goal)
        else:
            self.backups += turn.kind is Kind.BACKUP
            self.world = after(self.world, turn, goal)
            self.sound()

    def _side_by_side(self, turns: Sequence[Turn], goal: Goal) -> None:
        """Turns that begin together: restarts are one at a time, program by program, and all are confirmed at the end.

        After one that fails nobody else is restarted. Those that have come back are confirmed, the others put back.
        """
        mine = {name: (turn, dict(changes)) for turn in turns for name, changes in turn.changes.items()}
        for name, (turn, changes) in mine.items():
            self._begin(name, changes, turn)
        failed = False
        for program in sorted(_programs(turns[0])):
            for name, (turn, changes) in list(mine.items()):
                if failed or self._fails(name, {program: changes[program]}, turn, goal):
                    failed = True
                    del mine[name]
        for name in mine:
            self._set(dataclasses.replace(self.world.host(name), arrived=True))
        for name in mine:
            self._maybe_killed()
            self._set(dataclasses.replace(self.world.host(name), unconfirmed=frozenset(), before={}, arrived=True))
        if failed:
            for name in [each for turn in turns for each in turn.changes if each not in mine]:
                self._maybe_killed()
                self._put_back(name)
            raise Failed

    def _fails(self, name: str, changes: Changes, turn: Turn, goal: Goal) -> bool:
        """Restart a host's process; whether it does not come back."""
        self._down(name, turn)
        for program, to in changes.items():
            self._forward_only(program, self.world.host(name).runs[program], to, goal)
            self.switched += 1
            self._set(self.world.host(name).with_runs({program: to}))
        self._maybe_killed(0.5)
        if self.chaos.strikes():
            return True
        self._up(name)
        self.world = agreed(self.world)
        self._maybe_killed()
        return False

    def _begin(self, name: str, changes: Changes, turn: Turn) -> None:
        """The node is cordoned, and the mark and timer are set by which the host puts itself back."""
        one = self.world.host(name)
        if turn.kind is Kind.NODES and not one.cordoned:
            one = dataclasses.replace(one, cordoned=UPGRADE)
        before = {program: one.runs[program] for program in changes} if turn.puts_back else {}
        arrived = not before
        self._set(dataclasses.replace(one, unconfirmed=frozenset(changes), before=before, arrived=arrived))
        self._maybe_killed()

    def _switch(self, name: str, changes: Changes, turn: Turn, goal: Goal) -> None:
        """Up as another version, judged by the gate, and confirmed."""
        for program, to in changes.items():
            self._forward_only(program, self.world.host(name).runs[program], to, goal)
            self.switched += 1
            self._set(self.world.host(name).with_runs({program: to}))
            self._maybe_killed(0.5)
        if self.chaos.strikes():
            self._put_back(name)
            raise Failed
        self._set(dataclasses.replace(self.world.host(name), arrived=True))
        self._up(name)
        self.world = agreed(self.world)
        self._maybe_killed()
        one = dataclasses.replace(self.world.host(name), unconfirmed=frozenset(), before={}, arrived=True)
        if turn.kind is Kind.NODES:
            self._maybe_killed()
            one = dataclasses.replace(one, cordoned="" if one.cordoned == UPGRADE else one.cordoned)
        self._set(one)

    def _rolled(self, turn: Turn, goal: Goal) -> None:
        """A DaemonSet is changed once, and its pods follow one by one, also where the run is killed meanwhile."""
        for number, (name, changes) in enumerate(turn.changes.items()):
            if self.chaos.strikes(0.5):
                for other, more in list(turn.changes.items())[number:]:
                    self._set(self.world.host(other).with_runs(more))
                raise Killed
            for program, to in changes.items():
                self._forward_only(program, self.world.host(name).runs[program], to, goal)
                self._set(self.world.host(name).with_runs({program: to}))

    def _settle(self, name: str) -> None:
        one = self.world.host(name)
        fails = not one.well and not one.before
        if one.confirmable and any(one.runs[program] == was for program, was in one.before.items()):
            raise Broken(f"{name} was confirmed as what it was: its host could not put back the next turn")
        self._set(dataclasses.replace(one, unconfirmed=frozenset(), arrived=True) if fails else settled(one))
        self.world = agreed(self.world)

    def _put_back(self, name: str) -> None:
        """What failed runs again as before; or, rarely, it does not, and an operator has to look at it."""
        one = self.world.host(name)
        if one.before and not self.chaos.strikes(5):
            self._set(settled(dataclasses.replace(one, ready=False)))
        else:
            self._set(dataclasses.replace(one, unconfirmed=frozenset(), before={}, arrived=True))

    def _forward_only(self, program: str, old: Running, new: Running, goal: Goal) -> None:
        """Each switch leads somewhere: what is there already is not done again."""
        order = (new.version, new.effective) > (old.version, old.effective)
        if goal.direction == "back":
            order = (new.version, new.effective) < (old.version, old.effective)
            # Back to what all ran: a lift of what was emulating, and nodes that an upgrade had left behind.
            order = order or (new.version == old.version and old.emulating and not new.emulating)
            order = order or program in NODE_PROGRAMS
        if not order:
            raise Broken(f"{old} was switched to {new}")

    def _down(self, name: str, turn: Turn) -> None:
        one = self.world.host(name)
        member = one.member
        if turn.kind is Kind.ETCD and member is not None:
            coming = turn.changes[name][ETCD].version
            now = one.runs[ETCD].version
            if member.leader and any(
                other.runs[ETCD].version.series == now.series != coming.series
                for other in self.world.members
                if other.name != name
            ):
                raise Broken("the leader was restarted before all others")
            member = dataclasses.replace(member, healthy=False, leader=False)
        self._set(dataclasses.replace(one, ready=False, member=member))
        self._elect()
        self._maybe_killed()

    def _up(self, name: str) -> None:
        one = self.world.host(name)
        member = one.member and dataclasses.replace(one.member, healthy=True)
        self._set(dataclasses.replace(one, ready=True, member=member))
        self._elect()

    def _elect(self) -> None:
        """Members that are well have a leader among them."""
        if any(one.member.leader for one in self.world.members if one.member):
            return
        well = [one for one in self.world.members if one.member and one.member.healthy]
        if well:
            chosen = self.chaos.random.choice(well)
            assert chosen.member is not None
            self._set(dataclasses.replace(chosen, member=dataclasses.replace(chosen.member, leader=True)))

    def _set(self, one: Host) -> None:
        same = self.world.host(one.name).runs is one.runs
        self.world = self.world.replacing([one])
        self.sound(versions=not same)

    def _maybe_killed(self, factor: float = 1.0) -> None:
        if self.chaos.strikes(factor):
            raise Killed

    def _meanwhile(self) -> None:
        """What happens between turns, that the next look has to see."""
        for one in self.world.hosts:
            if one.worker and one.reachable and self.chaos.strikes(0.3):
                self.world = self.world.replacing([dataclasses.replace(one, reachable=False)])
            elif not one.worker and one.well and self.chaos.strikes(0.1) and self._spare():
                member = one.member and dataclasses.replace(one.member, healthy=False)
                self.world = self.world.replacing([dataclasses.replace(one, ready=False, member=member)])

    def _spare(self) -> bool:
        """A second failure is none that a planner could prevent."""
        return all(one.well for one in self.world.hosts if not one.worker)

    def _later(self) -> None:
        """Between runs: timers of hosts put back, some of them; operators repair."""
        for one in self.world.hosts:
            if one.unconfirmed and one.reachable and self.chaos.random.random() < 0.5:
                if one.before:
                    self._set(settled(dataclasses.replace(one, ready=False)))
                self.world = agreed(self.world)
        self._elect()
        if self.chaos.budget <= 0 or self.chaos.random.random() < 0.7:
            self.repair()

    def repair(self) -> None:
        """All hosts are back, as what they run."""
        for one in self.world.hosts:
            if one.unconfirmed and not one.reachable:
                self._set(dataclasses.replace(one, reachable=True))
            elif not one.well and not one.unconfirmed:
                member = one.member and dataclasses.replace(one.member, healthy=True)
                self._set(dataclasses.replace(one, ready=True, reachable=True, member=member))
        self.world = agreed(self.world)

    def sound(self, *, versions: bool = True) -> None:
        """What has to be at every moment. ``versions``: whether any has changed."""
        found = policy.violations(self.world) if versions else []
        if found:
            raise Broken(found[0].problem)
        servers = [running for _, _, running in self.world.running(APISERVER)] if versions else []
        if servers and max(one.effective for one in servers) > min(one.version.series for one in servers):
            raise Broken("something may be stored that the oldest API server can't read")
        members = [one.name for one in self.world.members if one.member and not one.member.healthy]
        if len(members) > 1:
            raise Broken(f"two members were away: {members}")
        away = [one.name for one in self.world.hosts if not one.worker and not one.well]
        if len(away) > 1:
            raise Broken(f"two hosts of the control plane were away: {away}")


def _programs(turn: Turn) -> set[str]:
    return {program for changes in turn.changes.values() for program in changes}


def _has_company(turn: Turn) -> bool:
    """Whether its act's turns begin together. Those of etcd do too, and ask each other before they are put back."""
    programs = _programs(turn)
    return bool(programs) and programs <= set(CONTROLLERS)


def limits(chance: random.Random, world: World) -> dict[str, object]:
    """What an operator may limit a run to."""
    some = [one.name for one in world.hosts if chance.random() < 0.7]
    return {
        "only": frozenset(chance.sample(sorted(SCOPES), chance.randrange(1, 4)) if chance.random() < 0.2 else ()),
        "hosts": frozenset(some) if chance.random() < 0.2 else None,
        "until": chance.choice(FORWARD) if chance.random() < 0.2 else None,
    }


@dataclass(frozen=True)
class Scenario:
    """Where it begins, and where it is to lead."""

    world: World
    old: Mapping[str, str]
    new: Mapping[str, str]
    options: Mapping[str, object]
    operators: frozenset[str]

    def goal(self, **more: object) -> Goal:
        """Forward, without the options unless they are given."""
        return Goal(target(self.new), **more)  # type: ignore[arg-type]

    def back(self) -> Goal:
        """Back to where it began."""
        return Goal(target(self.old), direction="back")


def scenario(chance: random.Random) -> Scenario:
    """A random cluster of versions that go together, and newer ones, or the same."""
    kubernetes = AVAILABLE["kubernetes"]
    first = chance.randrange(len(kubernetes))
    last = chance.randrange(first, len(kubernetes))
    old = {"kubernetes": kubernetes[first]}
    new = {"kubernetes": kubernetes[last]}
    for name in ("etcd", "containerd", "runc", "cni-plugins", "coredns"):
        choices = AVAILABLE[name]
        old[name], new[name] = (choices[index] for index in sorted(chance.choices(range(len(choices)), k=2)))
    if chance.random() < 0.2:
        # Another patch alone.
        new = {**old, "kubernetes": f"{old['kubernetes']}9"}
    hosts = _hosts(chance, old)
    operators = frozenset(one.name for one in hosts if one.worker and chance.random() < 0.2)
    hosts = [dataclasses.replace(one, cordoned="operator" if one.name in operators else "") for one in hosts]
    members = [one.runs[ETCD].version.series for one in hosts if ETCD in one.runs]
    pods = chance.random() < 0.3
    if pods:
        # A DaemonSet is of one version.
        oldest = min(one.runs[KUBE_PROXY].version for one in hosts if one.node)
        hosts = [one.with_runs({KUBE_PROXY: Running(oldest)}) if one.node else one for one in hosts]
    world = World(tuple(hosts), EtcdCluster(min(members)), Version.of(old["coredns"]), pods)
    options = {"at_once": chance.choice([1, 2, "50%"]), "soak": chance.choice([0.0, 60.0])}
    return Scenario(world, old, new, options, operators)


def _hosts(chance: random.Random, versions: Mapping[str, str]) -> list[Host]:
    planes, workers = chance.choice([1, 3, 3]), chance.randrange(4)
    apart = chance.random() < 0.25
    hosts = [host(f"cp{number}", versions, etcd=not apart) for number in range(1, planes + 1)]
    if apart:
        hosts += [host(f"e{number}", versions) for number in range(1, planes + 1)]
    for number in range(1, workers + 1):
        older = [each for each in ("1.33.9", *AVAILABLE["kubernetes"]) if each <= versions["kubernetes"]][-4:]
        # Some were left behind by an earlier upgrade.
        mine = chance.choice(older) if chance.random() < 0.2 else versions["kubernetes"]
        hosts.append(host(f"w{number}", {**versions, "kubernetes": mine}))
    leader = chance.choice([index for index, one in enumerate(hosts) if one.member])
    member = hosts[leader].member
    assert member is not None
    hosts[leader] = dataclasses.replace(hosts[leader], member=dataclasses.replace(member, leader=True))
    return hosts


def finish(cluster: Cluster, goal: Goal, most: int = 12) -> None:
    """Run again until it is done, as an operator does."""
    for _ in range(most):
        outcome = cluster.run(goal)
        if outcome == "done" and complete(cluster.world, goal.versions):
            return
        cluster.repair()
    raise Broken(f"not finished: {cluster.ended}, {[str(each) for each in errors(check(cluster.world, goal))]}")
