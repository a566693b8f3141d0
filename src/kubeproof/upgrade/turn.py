"""A turn: what one host, or a batch of workers, does at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from kubeproof.core.versions import Minor, Version
from kubeproof.upgrade.goal import Goal, Kind
from kubeproof.upgrade.policy import Violation
from kubeproof.upgrade.world import Host, Running, World

Changes = Mapping[str, Running]
Process = tuple[Host, str, Running]


@dataclass(frozen=True)
class Turn:
    """What one or more hosts do at a time. ``hosts`` is empty for what concerns the cluster.

    ``changes``: by host, the programs that are switched, and to what. ``drained``: hosts whose pods are evicted first.
    ``stranded``: hosts whose pods would be, and have nowhere to go. ``series``: the minor version that this pass leads
    to. ``version``: what it is about, where there is one. ``seconds``: how long a soak still is. ``mark``: what a
    backup is marked with, and what a rehearsal is of. ``readable``: versions of Kubernetes that a backup need not be
    rehearsed with. ``puts_back``: whether a host that is not confirmed may put itself back: not the last etcd member,
    whose cluster is of the new version at once.
    """

    kind: Kind
    hosts: tuple[str, ...] = ()
    changes: Mapping[str, Changes] = field(default_factory=dict)
    drained: frozenset[str] = frozenset()
    series: Minor | None = None
    version: Version | None = None
    seconds: float = 0.0
    mark: str = ""
    readable: frozenset[Version] = frozenset()
    puts_back: bool = True
    stranded: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Waits:
    """Why there is no further turn, though there is more to do. ``violations``: what the next one would lead to."""

    reason: str
    violations: tuple[Violation, ...] = ()


Due = Iterator[Turn | Waits]
"""What is due, the most urgent first."""


@dataclass(frozen=True)
class Moment:
    """What decides about the next turn. ``done``: kinds of the turns that this run has done, in their order."""

    world: World
    goal: Goal
    done: Sequence[Kind] = ()

    def done_in_this_pass(self, kind: Kind) -> bool:
        """Whether this run has done it since the last pass of the control plane ended with a lift."""
        order = list(self.done)
        last = len(order) - order[::-1].index(Kind.LIFT) if Kind.LIFT in order else 0
        return kind in order[last:]


def switches(
    moment: Moment, kind: Kind, due: Sequence[Process], to: Callable[[Running], Running], series: Minor
) -> Due:
    """The turn of the first host that is due and may have one, with all programs that are due on it.

    What ``--hosts`` leaves out keeps all that follows waiting.
    """
    changes: dict[str, dict[str, Running]] = {}
    hosts: dict[str, Host] = {}
    for host, program, running in due:
        hosts[host.name] = host
        changes.setdefault(host.name, {})[program] = to(running)
    first = next((name for name, host in hosts.items() if moment.goal.may_touch(host)), None)
    if first is not None:
        version = next(iter(changes[first].values())).version
        yield Turn(kind, (first,), {first: changes[first]}, series=series, version=version)
    elif hosts:
        yield Waits(f"{kind} of {', '.join(hosts)}, which --hosts leaves out, come first")
