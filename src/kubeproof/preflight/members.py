"""Checks of etcd's members: who has data, who knows whom. A run begins a cluster, or goes on with one; never both.

etcd begins a new cluster wherever it finds no data, and a few hosts without data are a majority among themselves.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from kubeproof.preflight.findings import Finding
from kubeproof.preflight.settings import Variables
from kubeproof.settings.host_report import Etcd, EtcdMember, EtcdSays

RESTORE = "`kubeproof backup restore`"
CTL = (
    "etcdctl --endpoints https://127.0.0.1:{port} --cacert /etc/etcd/pki/ca.crt --cert /etc/etcd/pki/operator.crt "
    "--key /etc/etcd/pki/operator.key"
)


@dataclass(frozen=True)
class Member:
    """A host of etcd as the settings want it, and what there is."""

    name: str
    directory: str
    peer_url: str
    port: int
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
            peer_url=f"https://{host.address}:{values['etcd_peer_port']}",
            port=int(values["cluster_etcd_port"]),
            etcd=host.report["etcd"],
        )

    def there(self, directory: str) -> bool:
        """Whether a directory has data of etcd's."""
        return directory in self.etcd["data"] and self.etcd["data"][directory]["there"]

    @property
    def has_data(self) -> bool:
        """Whether etcd would go on, rather than begin."""
        return self.there(self.directory)

    @property
    def restore(self) -> str:
        """The restore that its data is of."""
        return self.etcd["data"][self.directory]["restore"] if self.has_data else ""

    @property
    def elsewhere(self) -> str:
        """Another directory with data, of those in which this host's etcd was installed; empty if there is none."""
        known = (self.etcd["lived"], self.etcd["directory"])
        return next((path for path in known if path != self.directory and self.there(path)), "")

    def same_as(self, listed: EtcdMember) -> bool:
        """Whether it is the one that etcd lists: one that was added and never started has no name yet."""
        return listed["name"] == self.name or self.peer_url in listed["peer_urls"]


def check_members(hosts: Sequence[Variables], everyone: Sequence[str]) -> Iterator[Finding]:
    """All that speaks against starting etcd on these hosts. ``everyone``: all hosts of etcd, asked or not."""
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
    if says:
        yield from _addresses(settled, says)
        yield from _outsiders(settled, everyone, says, complete=not left_out)


def _directory(member: Member, number: int) -> Iterator[Finding]:
    """Data that is not where the settings look for it. ``number``: how many members there are."""
    old, new = member.elsewhere, member.directory
    if old and member.has_data:
        wrong = f"{old}, with which it is installed, and etcd_data_directory, {new}, both have data of etcd's"
        mend = f"Set etcd_data_directory to {old}, or move away what is no longer wanted."
        yield Finding("etcd-data-directory", wrong, mend, "etcd_data_directory", member.name)
    elif old:
        wrong = f"etcd's data is in {old}; in etcd_data_directory, {new}, it would begin a new, empty cluster"
        mend = (
            f"Set etcd_data_directory to {old}. To move the data, for one host after the other: "
            f"systemctl stop etcd; mkdir -p {new}; mv {old}/member {new}/; then run this with --limit HOST."
        )
        yield Finding("etcd-data-directory", wrong, mend, "etcd_data_directory", member.name)
    elif member.etcd["lived"] and not member.has_data:
        path = member.etcd["lived"]
        wrong = f"a member of etcd was ready here, and its data is not in {path}: etcd would begin a new, empty cluster"
        replace = f"{_replace(member)}, or, without a majority, " if number > 1 else ""
        mend = (
            f"Mount the disk that has it. If the data is lost: {replace}{RESTORE}; if nobody wants it: "
            "playbooks/reset.yml."
        )
        yield Finding("etcd-data-lost", wrong, mend, path, member.name)


def _clusters(members: Sequence[Member]) -> list[list[Member]]:
    """Members that answer, by the cluster that they are in."""
    found: dict[str, list[Member]] = {}
    for member in members:
        if member.etcd["says"]:
            found.setdefault(member.etcd["says"]["cluster"], []).append(member)
    return list(found.values())


def _split(clusters: Sequence[Sequence[Member]]) -> Finding:
    names = " and ".join(", ".join(member.name for member in cluster) for cluster in clusters)
    wrong = f"etcd runs as {len(clusters)} clusters with different content, on {names}"
    mend = (
        "Find out which has the objects (etcdctl get --prefix --keys-only /registry on each), and make it that of all: "
        f"{RESTORE} member:HOST. What the others have is kept beside it."
    )
    return Finding("etcd-clusters", wrong, mend)


@dataclass(frozen=True)
class Beginning:
    """Hosts on which etcd would begin, beside those on which it goes on.

    Only a first install that was interrupted may bring these together: whoever is to follow was named from the start,
    and has never been ready.
    """

    members: Sequence[Member]
    everyone: Sequence[str]
    says: EtcdSays | None

    @property
    def holders(self) -> list[Member]:
        """Those with data."""
        return [member for member in self.members if member.has_data]

    def findings(self, left_out: Sequence[str]) -> Iterator[Finding]:
        """What speaks against it. ``left_out``: hosts of etcd that were not asked."""
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
        """What the members that answer say of one."""
        return next((entry for entry in (self.says["members"] if self.says else ()) if member.same_as(entry)), None)

    def _without(self, empty: Sequence[Member], left_out: Sequence[str]) -> Finding:
        names = ", ".join(member.name for member in empty)
        wrong = f"etcd would begin a cluster on {names}, and nobody looks whether {', '.join(left_out)} has one"
        mend = (
            "Where etcd is started for the first time all its hosts have to be there: give a --limit that names all of "
            "them, or none; and take those that are gone out of the group `etcd`."
        )
        return Finding("etcd-left-out", wrong, mend)

    def _stranger(self, member: Member) -> Finding:
        others = ", ".join(holder.name for holder in self.holders if holder is not member)
        if member.has_data:
            wrong = f"it has data of an etcd that is no member of the cluster on {others}"
            mend = f"If nobody wants it, move {member.directory}/member away; or take the host out of the group `etcd`."
        else:
            wrong = f"etcd would begin a second, empty cluster beside that on {others}; API servers would read both"
            mend = (
                f"{_replace(member)} makes it a member again."
                if any(member.name in holder.etcd["peers"] for holder in self.holders)
                else "Take it out of the group `etcd`. The number of members is changed by a restore onto all of them: "
                "playbooks/backup.yml with the members as they are, then playbooks/restore.yml with all that are to be "
                "(docs/backups.md, Restore). If nobody wants what is there: playbooks/reset.yml."
            )
        return Finding("etcd-stranger", wrong, mend, host=member.name)

    def _beginner(self, member: Member, listed: EtcdMember | None) -> Iterator[Finding]:
        """A host without data that the others may be waiting for."""
        names = ", ".join(holder.name for holder in self.holders)
        restored = next((holder.restore for holder in self.holders if holder.restore), "")
        if listed and listed["started"]:
            wrong = f"it has no data, and {names} knows it as a member that had: etcd never begins twice as the same"
            mend = f"Mount the disk that has it. If the data is lost: {_replace(member)}."
        elif listed and not listed["name"]:
            wrong = f"etcd on {names} waits for it as one that joins, and it would begin a cluster of its own"
            mend = f"{_replace(member)} has it join."
        elif restored:
            wrong = (
                f"it has no data, and {names} has that of the restore {restored}: it would begin a cluster beside it"
            )
            mend = f"Run that restore again, which goes on; or, once etcd has a majority: {_replace(member)}."
        elif not all(self._began_alike(holder) for holder in self.holders):
            yield self._stranger(member)
            return
        elif listed is None and any(holder.etcd["lived"] for holder in self.holders):
            wrong = f"it has no data, and etcd on {names} has, but does not answer whether it was a member"
            mend = f"Start etcd there (systemctl start etcd), and run this again; or {RESTORE}."
        else:
            return
        yield Finding("etcd-beginner", wrong, mend, host=member.name)

    def _began_alike(self, holder: Member) -> bool:
        """Whether a member began as one of just those who are to be members now, where they are now."""
        peers = holder.etcd["peers"]
        return set(peers) == set(self.everyone) and all(peers[each.name] == each.peer_url for each in self.members)


def _replace(member: Member) -> str:
    return f"playbooks/replace-member.yml -e member={member.name}"


def _addresses(members: Sequence[Member], says: EtcdSays) -> Iterator[Finding]:
    """Members whose address has changed, which the others go on to look for where it was."""
    if len(says["members"]) == 1:
        return
    for member in members:
        known = [url for entry in says["members"] if entry["name"] == member.name for url in entry["peer_urls"]]
        if member.has_data and known and member.peer_url not in known:
            wrong = f"the other members of etcd know it at {', '.join(known)}, and not at {member.peer_url}"
            mend = f"Set cluster_host_address and etcd_peer_port back; or begin anew there: {_replace(member)}."
            yield Finding("etcd-address", wrong, mend, host=member.name)


def _outsiders(
    members: Sequence[Member], everyone: Sequence[str], says: EtcdSays, *, complete: bool
) -> Iterator[Finding]:
    """Members that the inventory does not have: they vote, and count for the majority even if they are off.

    ``complete``: all hosts of etcd were asked, so that one without a name is none of theirs.
    """
    for listed in says["members"]:
        known = listed["name"] in everyone or any(member.same_as(listed) for member in members)
        if known or not (listed["name"] or complete):
            continue
        who = listed["name"] or "one that was added and never started"
        wrong = f"etcd has a member that is not in the group `etcd`: {who} ({', '.join(listed['peer_urls'])})"
        ctl = CTL.format(port=members[0].port)
        mend = f"Put it back; or take it out of etcd first, on {members[0].name}: {ctl} member remove {listed['id']}"
        yield Finding("etcd-outsider", wrong, mend, listed["id"])
