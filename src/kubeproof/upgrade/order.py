"""The next turn, from nothing but what runs now and what is wanted: any run continues one that was killed."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from kubeproof.upgrade import control_plane, evidence, members, nodes, policy
from kubeproof.upgrade.afterwards import after
from kubeproof.upgrade.goal import Direction, Kind
from kubeproof.upgrade.turn import Due, Moment, Turn, Waits

_BEFORE = (evidence.settle, evidence.stage, evidence.stored_data)
PHASES: Mapping[Direction, tuple[Callable[[Moment], Due], ...]] = {
    "forward": (
        *_BEFORE,
        members.forward,
        control_plane.forward,
        nodes.due,
        nodes.proxies,
        evidence.dns,
        evidence.verification,
        evidence.dns_left,
    ),
    "back": (
        *_BEFORE,
        evidence.dns,
        nodes.due,
        nodes.proxies,
        control_plane.back,
        members.back,
        evidence.verification,
        evidence.dns_left,
    ),
}


def next_turn(moment: Moment) -> Turn | Waits | None:
    """The next turn, or why there is none yet; ``None`` if there is nothing left to do.

    A turn that leads out of the version skew policy, or further out of it, is none.
    """
    turn = _due(moment)
    if isinstance(turn, Turn) and turn.changes:
        found = policy.violations(after(moment.world, turn, moment.goal))
        worse = policy.added(policy.violations(moment.world), found) if found else []
        if worse:
            return Waits(f"{turn.kind} of {', '.join(turn.hosts)}: {worse[0].problem}", tuple(worse))
    return turn


def _due(moment: Moment) -> Turn | Waits | None:
    goal = moment.goal
    for phase in PHASES[goal.direction]:
        turn = next(phase(moment), None)
        if turn is not None:
            break
    else:
        return None
    if isinstance(turn, Waits) or goal.until is None or turn.kind is Kind.SETTLE:
        return turn
    # Of several passes the first that has this step is the last of the run.
    over = goal.until in moment.done and turn.kind is not goal.until
    if over or goal.rank(turn.kind) > goal.rank(goal.until):
        return Waits(f"this run ends after {goal.until}")
    return turn
