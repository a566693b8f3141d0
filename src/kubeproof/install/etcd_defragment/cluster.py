"""What all members say of themselves at one moment, and what follows from it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Dict, List, Optional, Sequence

from kubeproof.install.etcd_defragment.errors import EtcdError
from kubeproof.install.etcd_defragment.gateway import Etcd

NOSPACE = "NOSPACE"
# An alarm among a status's errors. To ask for alarms as such is a proposal: no log would ever rest.
_ALARM = re.compile(r"memberID:\s*(\d+)\s+alarm:\s*(\w+)")
# Of the quota: a database that is so large is defragmented whatever its share of unused space is.
_LARGE_PERCENT = 80
# Of the quota, above which writes would soon be refused again.
_FULL_PERCENT = 90


@dataclass(frozen=True)
class Threshold:
    """When defragmenting pays: so much of the database is not in use, in percent and in bytes."""

    percent: int
    bytes: int


@dataclass(frozen=True)
class Alarm:
    """An alarm that is up, and the ID of the member that raised it."""

    member: str
    kind: str


@dataclass(frozen=True)
class Member:
    """One member by its own account; ``problem`` is why there is none, and then the rest says nothing.

    Sizes are in bytes; ``quota`` is 0 where etcd does not say it, and negative where there is none.
    """

    id: str
    name: str
    url: str
    problem: str = ""
    learner: bool = False
    leader: str = ""
    log: int = 0
    applied: int = 0
    size: int = 0
    in_use: int = 0
    quota: int = 0
    alarms: Sequence[Alarm] = ()

    @property
    def unused(self) -> int:
        """Bytes that are free within the file."""
        return max(0, self.size - self.in_use)

    def pays(self, threshold: Threshold) -> bool:
        """Whether defragmenting gives back enough."""
        enough = self.unused * 100 >= threshold.percent * self.size or self.fills(_LARGE_PERCENT)
        return self.unused >= max(1, threshold.bytes) and enough

    def fills(self, percent: int) -> bool:
        """Whether the database takes so much of its quota."""
        return self.quota > 0 and self.size * 100 >= percent * self.quota


@dataclass(frozen=True)
class Cluster:
    """All members. ``me`` is the ID of the one on this host."""

    me: str
    members: Sequence[Member]

    @property
    def mine(self) -> Member:
        """The member on this host."""
        return next(member for member in self.members if member.id == self.me)

    @property
    def others(self) -> List[Member]:
        """The members on other hosts."""
        return [member for member in self.members if member.id != self.me]

    @property
    def leads(self) -> bool:
        """Whether the member on this host is the leader."""
        return self.mine.leader == self.me

    @property
    def alarms(self) -> List[Alarm]:
        """The alarms of which any member knows."""
        return sorted({alarm for member in self.members for alarm in member.alarms}, key=lambda each: each.member)

    @property
    def full(self) -> List[Alarm]:
        """The alarms NOSPACE: while one is up, etcd takes no writes, and so no lock."""
        return [alarm for alarm in self.alarms if alarm.kind == NOSPACE]

    def alarm(self) -> str:
        """Another alarm, with which no member is to be touched; empty if there is none."""
        other = [alarm for alarm in self.alarms if alarm.kind != NOSPACE]
        names = {member.id: member.name for member in self.members}
        return ", ".join("%s of %s" % (alarm.kind, names.get(alarm.member, alarm.member)) for alarm in other)

    def obstacle(self) -> str:
        """Why no member may be stalled now; empty if all are healthy and agree on their leader."""
        for member in self.members:
            if member.problem:
                return "%s is not healthy: %s" % (member.name or "a member", member.problem)
            if member.learner:
                return "%s is a learner, which is about to join" % member.name
        leaders = {member.leader for member in self.members}
        if len(leaders) != 1 or not leaders <= {member.id for member in self.members}:
            return "members do not agree on their leader"
        return ""

    def first(self, threshold: Threshold) -> Optional[Member]:
        """Whose turn it is, seen alike from every host: followers in the order of their IDs, and the leader last."""
        waiting = [member for member in self.members if member.pays(threshold)]
        return min(waiting, key=lambda member: (member.id == member.leader, int(member.id)), default=None)

    def roomy(self) -> bool:
        """Whether every database is so far below its quota that etcd can take writes again."""
        return all(member.quota > 0 and not member.fills(_FULL_PERCENT) for member in self.members)


def look(etcd: Etcd, url: str) -> Cluster:
    """Ask all members; ``url`` is this host's. Raises EtcdError."""
    try:
        me = str(etcd.ask(url, "/v3/maintenance/status")["header"]["member_id"])
        # Read through a majority.
        listed = etcd.ask(url, "/v3/cluster/member/list").get("members", [])
        found = Cluster(me, [_member(etcd, each, url if each["ID"] == me else "") for each in listed])
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise EtcdError("etcd answers what was not expected: %r" % error) from None
    if me not in {member.id for member in found.members}:
        raise EtcdError("the member on this host is none of the cluster's any more")
    return found


def _member(etcd: Etcd, listed: Dict[str, Any], url: str) -> Member:
    """``url`` in place of the one that it advertises."""
    identity, name, urls = str(listed["ID"]), str(listed.get("name", "")), listed.get("clientURLs", [])
    url = url or (str(urls[0]) if urls else "")
    if not url:
        return Member(identity, name, url, problem="it was added and never started")
    problem = etcd.health(url)
    if problem:
        return Member(identity, name, url, problem=problem)
    status = etcd.ask(url, "/v3/maintenance/status")
    alarms = [_ALARM.search(error) for error in status.get("errors", [])]
    return Member(
        id=identity,
        name=name,
        url=url,
        learner=bool(listed.get("isLearner")),
        leader=str(status.get("leader", "")),
        log=int(status.get("raftIndex", 0)),
        applied=int(status.get("raftAppliedIndex", 0)),
        size=int(status.get("dbSize", 0)),
        in_use=int(status.get("dbSizeInUse", 0)),
        quota=int(status.get("dbSizeQuota", 0)),
        alarms=[Alarm(match.group(1), match.group(2)) for match in alarms if match],
    )
