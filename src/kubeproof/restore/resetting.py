"""Whether a reset would take voting members from an etcd cluster that stays: decided before anything is touched."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kubeproof.preflight.members import CTL
from kubeproof.restore.checking import Look


@dataclass(frozen=True)
class Decision:
    """Reasons against a reset, and what was found that the operator should know of."""

    refusals: Sequence[str]
    notes: Sequence[str]


def decide(looks: Sequence[Look], staying: Sequence[str], port: int) -> Decision:
    """Judge what the hosts to be reset show. ``staying``: etcd hosts of the inventory that are not to be reset.

    Only what a running member says counts: one that was removed stops, and one that is broken has to be resettable.
    """
    refusals, notes = [], []
    for look in looks:
        mine = _own(look)
        others = [name for name in _voters(look) if name in staying]
        if mine and others and not mine["learner"]:
            refusals.append(_refusal(look, others, mine, port))
        elif mine and others:
            notes.append(
                f"{look.host}: its etcd member is a learner, without a vote; {', '.join(others)} will still list it: "
                f"{_removal(mine, port)}"
            )
        elif not look.live:
            notes.extend(_silent(look, staying))
    return Decision(refusals, notes)


def _own(look: Look) -> Mapping[str, Any] | None:
    """A host's member, as it is listed itself; ``None`` if it does not respond, or was removed."""
    return next((each for each in look.live.get("members", ()) if each["id"] == look.live["member_id"]), None)


def _voters(look: Look) -> list[str]:
    return [str(each["name"]) for each in look.live.get("members", ()) if not each["learner"]]


def _refusal(look: Look, others: Sequence[str], mine: Mapping[str, Any], port: int) -> str:
    voters = len(_voters(look))
    return (
        f"{look.host} has one of {voters} voting members of etcd, and {', '.join(others)} would stay, and still need "
        f"{voters // 2 + 1} of {voters} for a quorum. Remove it first, {_removal(mine, port)}"
    )


def _removal(mine: Mapping[str, Any], port: int) -> str:
    return f"on a host that stays: {CTL.format(port=port)} member remove {mine['id']}"


def _silent(look: Look, staying: Sequence[str]) -> Iterator[str]:
    """What is to be said of a host whose etcd does not respond; nothing where etcd never was, or the last member."""
    if look.there and staying:
        yield (
            f"{look.host}: etcd has data and does not respond, so that it is unknown whether it is a voting member; if "
            f"etcdctl member list on {staying[0]} has it, remove it there"
        )
    elif look.active and staying:
        yield f"{look.host}: etcd runs and has no data in etcd_data_directory; it does not say whether it is a member"
