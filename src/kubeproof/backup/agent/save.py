"""``save``: one backup."""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Mapping

from kubeproof.backup.agent import backups, check, coordination, files, manifest, programs, retention
from kubeproof.backup.agent.configuration import Configuration
from kubeproof.backup.agent.errors import BackupError, Damaged
from kubeproof.backup.agent.manifest import File, Manifest
from kubeproof.backup.agent.programs import Ctl, ProgramFailed
from kubeproof.backup.agent.records import Records, timestamp

SCHEDULE, HAND, RESTORE, UPGRADE = TRIGGERS = ("schedule", "hand", "restore", "upgrade")
# A snapshot is as large as the database, which may grow while it is being sent; and etcdutl needs a little.
_ROOM = 1.2


@dataclass(frozen=True)
class Member:
    """The member on this host, by its own account. IDs are hex, as etcdctl shows them."""

    id: str
    cluster_id: str
    version: str
    database: int


def save(configuration: Configuration, trigger: str) -> str:
    """Make a backup, unless a scheduled one need not be made; says which, in a line."""
    ctl = Ctl(configuration.programs.etcdctl, configuration.etcd)
    _remove_unfinished(configuration.directory)
    if trigger != SCHEDULE:
        return _save(configuration, ctl, trigger, quorum=_majority(ctl))
    if _recent(configuration, ctl, everywhere=True):
        return _spared(configuration)
    if not _majority(ctl):
        return _save(configuration, ctl, trigger, quorum=False)
    try:
        with coordination.lock(ctl, patience=configuration.timeout):
            # Whoever held it until now may have made one.
            if _recent(configuration, ctl):
                return _spared(configuration)
            return _save(configuration, ctl, trigger, quorum=True)
    except coordination.NotLockable as error:
        # It only spares other hosts the same work. A snapshot is a read, which an etcd that is full answers.
        told = _save(configuration, ctl, trigger, quorum=_majority(ctl))
        return "%s; without the lock, so that other hosts make one too: %s" % (told, error)


def _majority(ctl: Ctl) -> bool:
    """Whether the member on this host reads through a majority."""
    try:
        coordination.last_good(ctl)
    except ProgramFailed:
        return False
    return True


def _recent(configuration: Configuration, ctl: Ctl, *, everywhere: bool = False) -> bool:
    """Whether there is a backup that is recent enough; it is noted in this host's status."""
    try:
        record = coordination.last_good(ctl, everywhere=everywhere)
    except ProgramFailed:
        return False
    if record is None or not coordination.enough(record, configuration.interval, time.time()):
        return False
    with Records(configuration.state).changing() as status:
        status["cluster"] = record
    return True


def _spared(configuration: Configuration) -> str:
    record = Records(configuration.state).status()["cluster"]
    return "nothing to do: %s was made on %s, %s" % (record["name"], record["host"], record["finished"])


def _save(configuration: Configuration, ctl: Ctl, trigger: str, *, quorum: bool) -> str:
    started, begun = time.monotonic(), time.time()
    member = _member(ctl)
    _require_space(configuration, member.database)
    name = _free_name(configuration, begun)
    partial = configuration.directory / (backups.PARTIAL + name)
    partial.mkdir(mode=0o700)
    try:
        _fill(configuration, ctl, partial)
        about = _describe(configuration, partial, name, member)
        about.update(trigger=trigger, quorum=quorum, begun=timestamp(begun), finished=timestamp(time.time()))
        made = Manifest(**about, seconds=round(time.monotonic() - started, 3))
        _publish(partial, configuration.directory / name, made)
    except BaseException:
        shutil.rmtree(str(partial), ignore_errors=True)
        raise
    # Recorded first: whatever becomes of older ones, this one is good.
    problem = _record(configuration, ctl, made)
    removed = _retain(configuration, name)
    told = "%s: revision %d, %d keys, %d bytes, %.1f s" % (name, made.revision, made.keys, made.size, made.seconds)
    return "; ".join([told, *(["removed " + ", ".join(removed)] if removed else []), *([problem] if problem else [])])


def _remove_unfinished(directory: Path) -> None:
    """What runs left that died: this one holds the lock of all runs on this host."""
    for path in directory.glob(backups.PARTIAL + "*"):
        shutil.rmtree(str(path))


def _member(ctl: Ctl) -> Member:
    try:
        answer = ctl.ask("endpoint", "status")[0]["Status"]
    except ProgramFailed as error:
        raise BackupError("etcd on this host cannot be read, so it cannot be backed up: %s" % error) from None
    header = answer["header"]
    return Member(
        id="%x" % header["member_id"],
        cluster_id="%x" % header["cluster_id"],
        version=str(answer["version"]),
        database=int(answer["dbSize"]),
    )


def _require_space(configuration: Configuration, database: int) -> None:
    about = os.statvfs(str(configuration.directory))
    free = about.f_bavail * about.f_frsize
    needed = int(database * _ROOM) + configuration.keep.free
    if free < needed:
        raise BackupError(
            "%s has %d bytes free; a backup of %d bytes takes %d, of which backup_keep_free must stay free. Older "
            "backups are kept: free disk space, or keep fewer backups"
            % (configuration.directory, free, database, needed)
        )


def _free_name(configuration: Configuration, begun: float) -> str:
    """A name that no backup has: a clock that was set back comes by the same second twice."""
    while (configuration.directory / backups.name(begun, configuration.host)).exists():
        begun += 1
    return backups.name(begun, configuration.host)


def _fill(configuration: Configuration, ctl: Ctl, partial: Path) -> None:
    snapshot = partial / manifest.SNAPSHOT
    ctl.run("snapshot", "save", str(snapshot), timeout=configuration.timeout)
    snapshot.chmod(0o600)
    files.sync(snapshot)
    if configuration.keys:
        try:
            content = configuration.keys.read_bytes()
        except OSError as error:
            raise BackupError(
                "%s cannot be read (%s), and a backup without the cluster's keys cannot be restored alone: "
                "run playbooks/cluster.yml" % (configuration.keys, error.strerror)
            ) from None
        files.write(partial / configuration.keys.name, content)


def _describe(configuration: Configuration, partial: Path, name: str, member: Member) -> dict[str, Any]:
    """Read back what was written, with etcd's own program, and say what it is."""
    snapshot = partial / manifest.SNAPSHOT
    check.snapshot(snapshot)
    status = programs.snapshot_status(configuration.programs.etcdutl, snapshot, configuration.timeout)
    return {
        "name": name,
        "cluster": configuration.cluster,
        "authority": configuration.etcd.ca_digest,
        "cluster_id": member.cluster_id,
        "member": configuration.host,
        "member_id": member.id,
        **{field: getattr(status, field) for field in ("revision", "hash", "keys", "size")},
        "versions": {
            "etcd": member.version,
            "etcdctl": programs.version(configuration.programs.etcdctl),
            "storage": status.storage,
        },
        "files": {path.name: File(path.stat().st_size, files.sha256(path)) for path in sorted(partial.iterdir())},
    }


def _publish(partial: Path, final: Path, made: Manifest) -> None:
    """Give it its name: from now on it is a backup."""
    files.write(partial / manifest.NAME, made.render())
    files.sync(partial)
    partial.rename(final)
    files.sync(final.parent)


def _retain(configuration: Configuration, just_made: str) -> list[str]:
    """Remove what need not be kept; the names of what went. Another cluster's, or user's, are not looked at."""
    ca_digest = configuration.etcd.ca_digest
    ours = [backup for backup in backups.listing(configuration.directory, ca_digest) if _ours(backup, ca_digest)]
    entries = [retention.Entry(each.name, each.time, each.bytes, good=not each.problem) for each in ours]
    proven = Records(configuration.state).status()["proven"] or {}
    untouchable = [just_made, str(proven.get("name", ""))]
    going = [removal.name for removal in retention.plan(entries, configuration.keep, time.time(), untouchable)]
    if not going:
        return []
    return remove(configuration.directory, going)


def remove(directory: Path, names: list[str]) -> list[str]:
    """Remove backups: each loses its name first, so that half of one never looks like one. None while one is read."""
    gone: list[str] = []
    try:
        with files.locked(directory / backups.READERS, busy="backups are being read"):
            for name in names:
                doomed = directory / (backups.PARTIAL + "removed-" + name)
                (directory / name).rename(doomed)
                files.sync(directory)
                shutil.rmtree(str(doomed))
                gone.append(name)
    except BackupError:
        # A copy or a drill is at work. The next backup removes them.
        return []
    return gone


def _ours(backup: backups.Backup, ca_digest: str) -> bool:
    """Whether this program made it for this cluster. One that is too damaged to say of which cluster counts as ours."""
    if backup.path.stat().st_uid != os.geteuid():
        return False
    try:
        return manifest.read(backup.path).authority == ca_digest
    except Damaged:
        return True


def _record(configuration: Configuration, ctl: Ctl, made: Manifest) -> str:
    """Note the backup here and in etcd; says what could not be noted, which makes it no worse a backup."""
    fields: Mapping[str, Any] = asdict(made)
    here = {name: fields[name] for name in ("name", "finished", "revision", "keys", "size", "seconds", "quorum")}
    everywhere = {**{name: fields[name] for name in ("name", "finished", "revision", "trigger")}, "host": made.member}
    records = Records(configuration.state)
    with records.changing() as status:
        status["backup"] = here
        status["cluster"] = everywhere
    records.tell("backup", trigger=made.trigger, **here)
    if not made.quorum:
        return "without quorum: other hosts are not notified"
    try:
        coordination.note(ctl, everywhere)
    except ProgramFailed as error:
        return "other hosts could not be notified: %s" % error
    return ""
