"""Checks of etcd's members: which have data, and which list which.

A run bootstraps a cluster or continues one, never both. etcd bootstraps a new cluster wherever it finds no data, and a
few hosts without data have quorum among themselves.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from kubeproof.preflight.findings import Finding
from kubeproof.preflight.model import MEBIBYTE
from kubeproof.preflight.settings import Variables
from kubeproof.settings.host_report import Etcd, EtcdMember, EtcdSays
from kubeproof.settings.urls import in_url

RESTORE = "`kubeproof backup restore`"
CTL = (
    "etcdctl --endpoints https://127.0.0.1:{port} --cacert /etc/etcd/pki/ca.crt --cert /etc/etcd/pki/operator.crt "
    "--key /etc/etcd/pki/operator.key"
)
# etcd's own, where the setting is 0 (server/storage/quota.go).
_DEFAULT_QUOTA = 2 * 1024 * MEBIBYTE
# Of the quota, from which a database is said to be large.
_FULL_PERCENT = 80
# What a leader keeps of its log for those behind (DefaultSnapshotCatchUpEntries, server/etcdserver/server.go).
_CATCH_UP_ENTRIES = 5000


@dataclass(frozen=True)
class Member:
    """An etcd host: its settings, and its actual state."""

    name: str
    directory: str
    peer_url: str
    port: int
    quota: int
    etcd: Etcd

    @classmethod
    def of(cls, variables: Variables) -> Member | None:
        """From a host's variables and report; ``None`` if it lacks one of these."""
        host, values = variables.host, variables.values
        if host.report is None or variables.broken:
            return None
        return cls(
            name=host.name,
            directory=posixpath.normpath(str(values["etcd_data_directory"])),
            peer_url=f"https://{in_url(host.address)}:{values['etcd_peer_port']}",
            port=int(values["cluster_etcd_port"]),
            quota=int(values["etcd_quota_backend_bytes"]) or _DEFAULT_QUOTA,
            etcd=host.report["etcd"],
        )

    def there(self, directory: str) -> bool:
        """Whether a directory has etcd data."""
        return directory in self.etcd["data"] and self.etcd["data"][directory]["there"]

    @property
    def has_data(self) -> bool:
        """Whether etcd would continue, rather than bootstrap."""
        return self.there(self.directory)

    @property
    def restore(self) -> str:
        """The restore from which its data is."""
        return self.etcd["data"][self.directory]["restore"] if self.has_data else ""

    @property
    def elsewhere(self) -> str:
        """Another directory with data, of those in which this host's etcd was installed; empty if there is none."""
        known = (self.etcd["lived"], self.etcd["directory"])
        return next((path for path in known if path != self.directory and self.there(path)), "")

    def same_as(self, listed: EtcdMember) -> bool:
        """Whether it is the one that etcd lists: one that was added and never started has no name yet."""
        return listed["name"] == self.name or self.peer_url in listed["peer_urls"]


def check_members(hosts: Sequence[Variables], everyone: Sequence[str], forks: int = 0) -> Iterator[Finding]:
    """Reasons not to start etcd on these hosts.

    ``everyone``: all etcd hosts, checked or not. ``forks``: on how many hosts Ansible works side by side; 0 if unknown.
    """
    asked = {variables.host.name for variables in hosts}
    members = [member for variables in hosts if variables.host.name in everyone and (member := Member.of(variables))]
    misplaced = {finding.host: finding for member in members for finding in _directory(member, len(everyone))}
    yield from misplaced.values()
    settled = [member for member in members if member.name not in misplaced]
    clusters = _clusters(settled)
    if len(clusters) > 1:
        yield _split(clusters)
        return
    says = clusters[0][0].etcd["says"] if clusters else None
    left_out = [name for name in everyone if name not in asked]
    yield from Beginning(settled, everyone, says).findings(left_out)
    # Members that the run does not have may be there: then one that is started finds them.
    if members and not says and not left_out:
        yield from _forks(len(everyone), forks)
    if says:
        yield from _alarms(clusters[0][0], says, settled)
        yield from _sizes(settled)
        yield from _lags(settled)
        yield from _addresses(settled, says)
        yield from _outsiders(settled, everyone, says, complete=not left_out)


def _directory(member: Member, number: int) -> Iterator[Finding]:
    """Data that is not where the settings look for it. ``number``: how many members there are."""
    old, new = member.elsewhere, member.directory
    if old and member.has_data:
        problem = f"both {old}, with which it is installed, and etcd_data_directory, {new}, have etcd data"
        remediation = f"Set etcd_data_directory to {old}, or move away the data that is no longer needed."
        yield Finding("etcd-data-directory", problem, remediation, "etcd_data_directory", member.name)
    elif old:
        problem = f"etcd's data is in {old}; in etcd_data_directory, {new}, etcd would bootstrap a new, empty cluster"
        remediation = (
            f"Set etcd_data_directory to {old}. To move the data, one host at a time: "
            f"systemctl stop etcd; mkdir -p {new}; mv {old}/member {new}/; then run this with --limit HOST."
        )
        yield Finding("etcd-data-directory", problem, remediation, "etcd_data_directory", member.name)
    elif member.etcd["lived"] and not member.has_data:
        path = member.etcd["lived"]
        problem = (
            f"an etcd member was ready here, and its data is missing from {path}: etcd would bootstrap a new, empty "
            "cluster"
        )
        replace = f"{_replace(member)}, or, without quorum, " if number > 1 else ""
        remediation = (
            f"Mount the disk that has the data. If it is lost: {replace}{RESTORE}; if it is no longer needed: "
            "playbooks/reset.yml."
        )
        yield Finding("etcd-data-lost", problem, remediation, path, member.name)


def _forks(number: int, forks: int) -> Iterator[Finding]:
    """Members that are started side by side, each of which waits for a quorum. ``number``: how many there are."""
    quorum = number // 2 + 1
    if 0 < forks < quorum:
        problem = (
            f"no member of etcd responds, and a start of one waits for {quorum} of {number}, but Ansible works on only "
            f"{forks} {'host' if forks == 1 else 'hosts'} side by side"
        )
        yield Finding("etcd-forks", problem, f"Run with --forks {quorum} or more (`forks` in ansible.cfg).")


def _clusters(members: Sequence[Member]) -> list[list[Member]]:
    """Members that respond, by the cluster that they are in."""
    found: dict[str, list[Member]] = {}
    for member in members:
        if member.etcd["says"]:
            found.setdefault(member.etcd["says"]["cluster"], []).append(member)
    return list(found.values())


def _split(clusters: Sequence[Sequence[Member]]) -> Finding:
    names = " and ".join(", ".join(member.name for member in cluster) for cluster in clusters)
    problem = f"etcd runs as {len(clusters)} clusters with different content, on {names}"
    remediation = (
        "Find out which has the objects (etcdctl get --prefix --keys-only /registry on each), and restore it on all: "
        f"{RESTORE} member:HOST. The others' data is kept next to it."
    )
    return Finding("etcd-clusters", problem, remediation)


@dataclass(frozen=True)
class Beginning:
    """Hosts on which etcd would bootstrap, besides those on which it continues.

    Only an interrupted first install may combine these: the remaining members were named from the start, and have never
    been ready.
    """

    members: Sequence[Member]
    everyone: Sequence[str]
    says: EtcdSays | None

    @property
    def holders(self) -> list[Member]:
        """Members with data."""
        return [member for member in self.members if member.has_data]

    def findings(self, left_out: Sequence[str]) -> Iterator[Finding]:
        """Reasons against it. ``left_out``: etcd hosts that were not checked."""
        empty = [member for member in self.members if not member.has_data]
        if not self.holders:
            if empty and left_out:
                yield self._without(empty, left_out)
            return
        for member in self.members if self.says else empty:
            listed = self._listed(member)
            if self.says and not listed:
                yield self._stranger(member)
            elif not member.has_data:
                yield from self._beginner(member, listed)

    def _listed(self, member: Member) -> EtcdMember | None:
        """How the members that respond list one."""
        return next((entry for entry in (self.says["members"] if self.says else ()) if member.same_as(entry)), None)

    def _without(self, empty: Sequence[Member], left_out: Sequence[str]) -> Finding:
        names = ", ".join(member.name for member in empty)
        problem = (
            f"etcd would bootstrap a cluster on {names}, and the run does not check whether {', '.join(left_out)} has "
            "one"
        )
        remediation = (
            "The first start of etcd needs all etcd hosts: run with a --limit that names all of them, or without one; "
            "and "
            "remove hosts that no longer exist from the group `etcd`."
        )
        return Finding("etcd-left-out", problem, remediation)

    def _stranger(self, member: Member) -> Finding:
        others = ", ".join(holder.name for holder in self.holders if holder is not member)
        if member.has_data:
            problem = f"it has data of an etcd member that is not in the cluster on {others}"
            remediation = (
                f"If the data is not needed, move {member.directory}/member away; or remove the host from the group "
                "`etcd`."
            )
        else:
            problem = (
                f"etcd would bootstrap a second, empty cluster besides that on {others}; API servers would read both"
            )
            remediation = (
                f"{_replace(member)} makes the host a member again."
                if any(member.name in holder.etcd["peers"] for holder in self.holders)
                else "Remove the host from the group `etcd`. To change the number of members, restore onto all: "
                "playbooks/backup.yml with the current members, then playbooks/restore.yml with all future members "
                "(docs/operations/backups.md, Restore). If the data is not needed: playbooks/reset.yml."
            )
        return Finding("etcd-stranger", problem, remediation, host=member.name)

    def _beginner(self, member: Member, listed: EtcdMember | None) -> Iterator[Finding]:
        """A host without data for which the others may be waiting."""
        names = ", ".join(holder.name for holder in self.holders)
        restored = next((holder.restore for holder in self.holders if holder.restore), "")
        if listed and listed["started"]:
            problem = (
                f"it has no data, and {names} lists it as a member that was started: a member cannot bootstrap twice"
            )
            remediation = f"Mount the disk that has the data. If it is lost: {_replace(member)}."
        elif listed and not listed["name"]:
            problem = f"etcd on {names} expects it to join, and it would bootstrap a cluster of its own"
            remediation = f"{_replace(member)} makes it join."
        elif restored:
            problem = (
                f"it has no data, and {names} has that of the restore {restored}: it would bootstrap another cluster"
            )
            remediation = f"Run that restore again, which resumes it; or, once etcd has quorum: {_replace(member)}."
        elif not all(self._began_alike(holder) for holder in self.holders):
            yield self._stranger(member)
            return
        elif listed is None and any(holder.etcd["lived"] for holder in self.holders):
            problem = (
                f"it has no data, and etcd on {names} has data, but does not respond, so that its members are unknown"
            )
            remediation = f"Start etcd on {names} (systemctl start etcd), and run this again; or {RESTORE}."
        else:
            return
        yield Finding("etcd-beginner", problem, remediation, host=member.name)

    def _began_alike(self, holder: Member) -> bool:
        """Whether a member was bootstrapped with exactly the current members, at their current addresses."""
        peers = holder.etcd["peers"]
        return set(peers) == set(self.everyone) and all(peers[each.name] == each.peer_url for each in self.members)


def _replace(member: Member) -> str:
    return f"playbooks/replace-member.yml -e member={member.name}"


def _addresses(members: Sequence[Member], says: EtcdSays) -> Iterator[Finding]:
    """Members whose address has changed, which the others still expect at the old one."""
    if len(says["members"]) == 1:
        return
    for member in members:
        known = [url for entry in says["members"] if entry["name"] == member.name for url in entry["peer_urls"]]
        if member.has_data and known and member.peer_url not in known:
            problem = f"the other etcd members expect it at {', '.join(known)}, not at {member.peer_url}"
            remediation = (
                f"Set cluster_host_address and etcd_peer_port back; or replace the member: {_replace(member)}."
            )
            yield Finding("etcd-address", problem, remediation, host=member.name)


def _alarms(asked: Member, says: EtcdSays, members: Sequence[Member]) -> Iterator[Finding]:
    """Alarms that are up, which etcd keeps until they are disarmed. ``asked``: a member that responds."""
    names = {listed["id"]: listed["name"] for listed in says["members"]}
    ctl = CTL.format(port=asked.port)
    for raised in says["alarms"]:
        name = names.get(raised["member"]) or raised["member"]
        disarm = f"on {asked.name}: {ctl} alarm disarm"
        if raised["alarm"] == "NOSPACE":
            full = next((member for member in members if member.name == name), asked)
            problem, first = _no_space(name, full)
            remediation = (
                f"{first} Then, on each etcd host, the leader's last: {ctl} --command-timeout 10m defrag; and at the "
                f"end, {disarm}."
            )
        else:
            problem = f"etcd has the alarm {raised['alarm']} of {name}"
            remediation = (
                f"If its data differs from the others' ({ctl} endpoint hashkv --cluster, on {asked.name}), replace it: "
                f"playbooks/replace-member.yml -e member={name}. Then, {disarm}."
            )
        yield Finding("etcd-alarm", problem, remediation, raised["alarm"], severity="warning")


def _no_space(name: str, member: Member) -> tuple[str, str]:
    """What is wrong with a member that is full, and what comes first: a larger quota, unless it is one by now."""
    quota = f"{member.quota // MEBIBYTE} MiB"
    begin = f"etcd accepts no writes: the database of {name}"
    size = member.etcd["says"]["size"] if member.etcd["says"] else 0
    if size and not _large(size, member.quota):
        had = f"had reached its quota (alarm NOSPACE), and has {size // MEBIBYTE} MiB of the {quota} by"
        return f"{begin} {had} etcd_quota_backend_bytes", "This run applies etcd_quota_backend_bytes."
    return (
        f"{begin} has reached its quota (alarm NOSPACE), {quota} by etcd_quota_backend_bytes",
        "Raise etcd_quota_backend_bytes, and run this again.",
    )


def _large(size: int, quota: int) -> bool:
    """Whether a database will soon be full. A quota below 0 is none."""
    return 0 < quota * _FULL_PERCENT <= size * 100


def _sizes(members: Sequence[Member]) -> Iterator[Finding]:
    """Databases that will soon be full."""
    for member in members:
        says = member.etcd["says"]
        if says and _large(says["size"], member.quota):
            size, free = says["size"] // MEBIBYTE, (says["size"] - says["in_use"]) // MEBIBYTE
            problem = (
                f"its etcd database has {size} MiB, {says['size'] * 100 // member.quota} % of etcd_quota_backend_bytes "
                f"({member.quota // MEBIBYTE} MiB), at which etcd accepts no more writes"
            )
            remediation = (
                f"Raise etcd_quota_backend_bytes. To free what is not in use, {free} MiB, one etcd host at a time, the "
                f"leader's last: {CTL.format(port=member.port)} --command-timeout 10m defrag"
            )
            yield Finding("etcd-size", problem, remediation, host=member.name, severity="warning")


def _lags(members: Sequence[Member]) -> Iterator[Finding]:
    """Members that are far behind another one, and so no help to the quorum."""
    known = {member.name: member.etcd["says"]["applied"] for member in members if member.etcd["says"]}
    ahead = max(known, key=lambda name: known[name], default="")
    for member in members:
        behind = known[ahead] - known[member.name] if known.get(member.name) else 0
        if behind > _CATCH_UP_ENTRIES:
            problem = (
                f"its etcd member is {behind} entries behind that of {ahead}, more than etcd keeps for it to catch up "
                f"with ({_CATCH_UP_ENTRIES}): it is sent the whole database, and is no help to the quorum until then"
            )
            ctl = CTL.format(port=member.port)
            remediation = (
                f"Wait until it has caught up, on {member.name}: {ctl} endpoint status --cluster -w table. If it stays "
                f"behind, its disk or its way to the others is too slow: journalctl -u etcd."
            )
            yield Finding("etcd-lag", problem, remediation, host=member.name, severity="warning")


def _outsiders(
    members: Sequence[Member], everyone: Sequence[str], says: EtcdSays, *, complete: bool
) -> Iterator[Finding]:
    """Members that the inventory does not have: they vote, and count for the quorum even if they are off.

    ``complete``: all etcd hosts were checked, so that a member without a name is none of theirs.
    """
    for listed in says["members"]:
        known = listed["name"] in everyone or any(member.same_as(listed) for member in members)
        if known or not (listed["name"] or complete):
            continue
        who = listed["name"] or "a member that was added and never started"
        problem = f"etcd has a member that is not in the group `etcd`: {who} ({', '.join(listed['peer_urls'])})"
        ctl = CTL.format(port=members[0].port)
        remediation = (
            f"Put it back into the group; or remove it from etcd first, on {members[0].name}: {ctl} member remove "
            f"{listed['id']}"
        )
        yield Finding("etcd-outsider", problem, remediation, listed["id"])
