"""One member of a cluster that works is replaced, and nothing else touched: whether it may be, and what that takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kubeproof.core.errors import KubeproofError
from kubeproof.restore.checking import Look


@dataclass(frozen=True)
class Replacement:
    """What is to be done about a member.

    ``through`` is the host on which the others are asked, ``endpoints`` where they are. ``replace``: whether it is
    taken out and begins from nothing; if not, it has joined already. ``promote``: whether it has yet to become a voter.
    """

    member: str
    through: str
    endpoints: Sequence[str]
    replace: bool
    promote: bool

    @property
    def needed(self) -> bool:
        """Whether there is anything to do."""
        return self.replace or self.promote


def plan(member: str, looks: Sequence[Look], *, healthy_too: bool = False) -> Replacement:
    """Judge what the hosts show. Raises KubeproofError if the member can't be replaced without risk to the others."""
    by_host = {look.host: look for look in looks}
    if member not in by_host:
        raise KubeproofError(
            f"member: {member!r} is not an etcd host of the inventory", hint=f"Its etcd hosts are {', '.join(by_host)}."
        )
    if not by_host[member].seen:
        raise KubeproofError(
            f"{member} is not replaced: this run leaves it out", hint="Run it with a --limit that has all etcd hosts."
        )
    unseen = [look.host for look in looks if not look.seen]
    limited = f" This run leaves out {', '.join(unseen)}, which may respond." if unseen else ""
    others = [look for look in looks if look.host != member and look.live.get("leader")]
    if not others:
        raise KubeproofError(
            f"{member} is not replaced: no other etcd host has quorum, so that there is no cluster to join",
            hint="Repair the others first, or restore the cluster: playbooks/restore.yml, with -e "
            f"restore_from=member:HOST if one member's data is all that is left.{limited}",
        )
    known: Sequence[Mapping[str, Any]] = others[0].live["members"]
    voters = [each for each in known if not each["learner"]]
    majority = len(voters) // 2 + 1
    if len(others) < majority:
        raise KubeproofError(
            f"{member} is not replaced: {len(others)} of {len(voters)} members respond besides it "
            f"({', '.join(look.host for look in others)}), and removing it needs {majority}",
            hint=f"Repair the others first.{limited}",
        )
    mine = by_host[member].live
    joined = bool(mine) and mine["cluster_id"] == others[0].live["cluster_id"] and _listed(mine["member_id"], known)
    learner = joined and any(each["learner"] for each in known if each["id"] == mine["member_id"])
    well = joined and (learner or bool(mine.get("leader")))
    return Replacement(
        member=member,
        through=others[0].host,
        endpoints=[each["url"] for each in known if each["name"] in {look.host for look in others}],
        replace=healthy_too or not well,
        promote=healthy_too or not well or learner,
    )


def _listed(identity: str, known: Sequence[Mapping[str, Any]]) -> bool:
    return any(each["id"] == identity for each in known)
