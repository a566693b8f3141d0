"""``copy``: bring backups off the host, to each target apart from the others; and fetch them back."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Callable, Mapping, Sequence

from kubeproof.backup.agent import backups, check, files, manifest, retention
from kubeproof.backup.agent.configuration import Configuration
from kubeproof.backup.agent.errors import BackupError, Damaged
from kubeproof.backup.agent.records import Records, epoch, now, timestamp
from kubeproof.backup.agent.target import Deadline, Found, Target, die_with_parent
from kubeproof.backup.agent.target_directory import DirectoryTarget
from kubeproof.backup.agent.target_rsync import RsyncTarget
from kubeproof.backup.agent.target_s3 import S3Target

TYPES: Mapping[str, Callable[[Mapping[str, Any], str, Deadline], Target]] = {
    "directory": DirectoryTarget,
    "rsync": RsyncTarget,
    "s3": S3Target,
}
TIMEOUT_SECONDS = 3600
# What a target has of its time to end by itself once it is over.
_GRACE_SECONDS = 10.0
# What another host has left unfinished for so long, in seconds, since it was first seen, nobody is at work on.
_ABANDONED_SECONDS = 7 * 86400
_LARGEST_ANSWER = 1 << 20


@dataclass
class Outcome:
    """What came of one target. ``unfinished``: when others' copies that are being brought were first seen, by name."""

    ok: bool = True
    reason: str = ""
    sent: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    newest: str = ""
    copies: int = 0
    bytes: int = 0
    seconds: float = 0.0
    unfinished: dict[str, str] = field(default_factory=dict)


def copy(configuration: Configuration) -> str:
    """Bring to each target what it lacks; says what was done. Raises BackupError if it could not be for one of them.

    Targets are worked on side by side, each by a process of its own, so that one that hangs (as a dead NFS server
    makes a process hang) delays no other.
    """
    if not configuration.targets:
        return "nothing to do: there are no targets"
    outcomes = _side_by_side(configuration)
    _record(configuration, outcomes)
    told = ["%s: %s" % (name, _told(outcome)) for name, outcome in outcomes.items()]
    if not all(outcome.ok for outcome in outcomes.values()):
        raise BackupError("; ".join(told))
    return "; ".join(told)


def open_target(configuration: Configuration, name: str, timeout: float | None = None) -> Target:
    """The target of this name. Raises BackupError."""
    for settings in configuration.targets:
        if settings["name"] == name:
            return make(settings, configuration.cluster, timeout)
    known = ", ".join(str(settings["name"]) for settings in configuration.targets) or "none"
    raise BackupError("there is no target %s; the targets are: %s" % (name, known))


def make(settings: Mapping[str, Any], cluster: str, timeout: float | None = None) -> Target:
    """A target from its settings, which have passed the preflight."""
    seconds = float(settings.get("timeout", TIMEOUT_SECONDS)) if timeout is None else timeout
    return TYPES[settings["type"]](settings, cluster, Deadline(seconds))


def newest_first(found: Sequence[Found]) -> list[Found]:
    """Copies in the order in which backups are shown."""
    return sorted(found, key=lambda each: (backups.parse_time(each.name), each.name), reverse=True)


def fetch(target: Target, name: str, directory: Path, etcdutl: str = "", ca_digest: str = "") -> Path:
    """Bring a copy back into a directory, under its own name once it is known to be whole. Raises BackupError.

    With ``etcdutl`` the snapshot is read by etcd's own program, too.
    """
    if not manifest.is_name(name):
        raise BackupError("%r is not the name of a backup" % name)
    final, partial = directory / name, directory / (backups.PARTIAL + name)
    if final.exists():
        raise BackupError("%s exists already" % final)
    shutil.rmtree(str(partial), ignore_errors=True)
    # Its checks take the directory's name for the backup's.
    inside = partial / name
    inside.mkdir(parents=True, mode=0o700)
    try:
        target.get(name, inside)
        _require_whole(inside, etcdutl, ca_digest)
        for path in inside.iterdir():
            path.chmod(0o600)
            files.sync(path)
        inside.rename(final)
        files.sync(directory)
    finally:
        shutil.rmtree(str(partial), ignore_errors=True)
    return final


def _require_whole(path: Path, etcdutl: str, ca_digest: str) -> None:
    if etcdutl:
        check.check(path, etcdutl, ca_digest)
        return
    found = check.glance(path, ca_digest)
    for name, file in found.files.items():
        if files.sha256(path / name) != file.sha256:
            raise Damaged("%s has changed: its SHA-256 differs from the manifest's" % name)
    check.snapshot(path / manifest.SNAPSHOT)


def bring(configuration: Configuration, target: Target, outcome: Outcome) -> None:
    """Bring to one target what it lacks, then remove from it what need not be kept; ``outcome`` is what was done."""
    target.open()
    _remove_unfinished(configuration, target, outcome)
    while True:
        found = target.listing()
        _sum_up(outcome, found, configuration.etcd.ca_digest)
        lacking = _lacking(configuration, found)
        if lacking is None:
            break
        check.check(lacking.path, configuration.programs.etcdutl, configuration.etcd.ca_digest, target.deadline.left())
        target.put(lacking.path)
        outcome.sent.append(lacking.name)
    for removal in _superfluous(configuration, found):
        target.remove(removal.name)
        outcome.removed.append(removal.name)
    _sum_up(outcome, [each for each in found if each.name not in outcome.removed], configuration.etcd.ca_digest)


def _remove_unfinished(configuration: Configuration, target: Target, outcome: Outcome) -> None:
    """What this host left there when it was killed, and what another one left there long ago.

    The name says when a backup was made, and not when its copy was begun; nor does every target know that.
    """
    seen, outcome.unfinished = outcome.unfinished, {}
    at = time.time()
    for name in filter(manifest.is_name, target.unfinished()):
        since = min(at, epoch(seen[name])) if name in seen else at
        if backups.host_of(name) == configuration.host or at - since > _ABANDONED_SECONDS:
            target.discard(name)
        else:
            outcome.unfinished[name] = timestamp(since)


def _lacking(configuration: Configuration, found: Sequence[Found]) -> backups.Backup | None:
    """The newest good backup here that the target lacks, and would keep."""
    there = {each.name for each in found if not each.problem}
    with backups.reading(configuration.directory):
        here = backups.listing(configuration.directory, configuration.etcd.ca_digest)
    for backup in here:
        if backup.problem or backup.name in there:
            continue
        new = retention.Entry(backup.name, backup.time, backup.bytes, good=True)
        others = [entry for entry in _entries(configuration, found) if entry.name != backup.name]
        if backup.name not in {removal.name for removal in _plan(configuration, [*others, new])}:
            return backup
    return None


def _superfluous(configuration: Configuration, found: Sequence[Found]) -> list[retention.Removal]:
    """What need not be kept, and is this host's to remove."""
    plan = _plan(configuration, _entries(configuration, found))
    return [removal for removal in plan if _ours_to_remove(configuration, backups.host_of(removal.name))]


def _ours_to_remove(configuration: Configuration, host: str) -> bool:
    """Whether nobody else removes a host's copies: each host removes its own, since it alone knows which it has proven.

    Otherwise one would remove what the other sends again.
    """
    if host == configuration.host:
        return True
    # Those that are gone prove nothing any more.
    return bool(configuration.hosts) and host not in configuration.hosts


def _plan(configuration: Configuration, entries: Sequence[retention.Entry]) -> list[retention.Removal]:
    proven = (Records(configuration.state).status()["proven"] or {}).get("name", "")
    return retention.plan(entries, configuration.keep, time.time(), [str(proven)])


def _entries(configuration: Configuration, found: Sequence[Found]) -> list[retention.Entry]:
    """What is there of this cluster. Of a copy whose manifest cannot be read nobody knows whose it is: it stays."""
    ca_digest = configuration.etcd.ca_digest
    return [
        retention.Entry(each.name, backups.parse_time(each.name), each.bytes, good=not each.problem)
        for each in found
        if each.manifest is not None and each.manifest.authority == ca_digest
    ]


def _sum_up(outcome: Outcome, found: Sequence[Found], ca_digest: str) -> None:
    good = [each for each in found if not each.problem and each.manifest and each.manifest.authority == ca_digest]
    outcome.newest = max((each.name for each in good), key=lambda name: (backups.parse_time(name), name), default="")
    outcome.copies, outcome.bytes = len(good), sum(each.bytes for each in good)
    damaged = sorted(each.name for each in found if each.problem)
    outcome.reason = "damaged there: %s" % ", ".join(damaged) if damaged else ""


def _told(outcome: Outcome) -> str:
    if not outcome.ok:
        return outcome.reason
    told = "sent %s" % ", ".join(outcome.sent) if outcome.sent else "it has all"
    removed = "removed %s" % ", ".join(outcome.removed) if outcome.removed else ""
    return ", ".join(filter(None, [told, removed, outcome.reason]))


def _record(configuration: Configuration, outcomes: Mapping[str, Outcome]) -> None:
    records = Records(configuration.state)
    with records.changing() as status:
        before = status["targets"]
        # Those that the settings no longer name go with this.
        status["targets"] = {name: _status(outcome, before.get(name, {})) for name, outcome in outcomes.items()}
    for name, outcome in outcomes.items():
        if outcome.sent or outcome.removed or not outcome.ok:
            records.tell("copy", target=name, **asdict(outcome))


def _status(outcome: Outcome, before: Mapping[str, Any]) -> dict[str, Any]:
    at = now()
    if outcome.ok:
        return {"at": at, "last_success": at, **asdict(outcome)}
    known = {name: before[name] for name in ("newest", "copies", "bytes", "last_success") if name in before}
    # One that was killed had no time to say what it saw.
    known["unfinished"] = {**before.get("unfinished", {}), **outcome.unfinished}
    return {"at": at, **asdict(outcome), **known}


@dataclass
class _Worker:
    pid: int
    answers: int
    ends: float
    started: float
    said: bytes = b""


def _side_by_side(configuration: Configuration) -> dict[str, Outcome]:
    """Work on all targets at once, a process for each, which is ended when its time is over."""
    workers = {str(settings["name"]): _start(configuration, settings) for settings in configuration.targets}
    outcomes: dict[str, Outcome] = {}
    try:
        while len(outcomes) < len(workers):
            active = {worker.answers: name for name, worker in workers.items() if name not in outcomes}
            ready, _, _ = select.select(list(active), [], [], 0.2)
            for name in [active[descriptor] for descriptor in ready]:
                chunk = os.read(workers[name].answers, 1 << 16)
                workers[name].said += chunk
                if not chunk or len(workers[name].said) > _LARGEST_ANSWER:
                    outcomes[name] = _ended(workers[name])
            for name in set(active.values()) - outcomes.keys():
                if time.monotonic() > workers[name].ends:
                    _end(workers[name])
                    outcomes[name] = Outcome(ok=False, reason=_too_long(configuration, name))
    finally:
        for worker in workers.values():
            _end(worker)
    for name, outcome in outcomes.items():
        outcome.seconds = outcome.seconds or round(time.monotonic() - workers[name].started, 3)
    return {name: outcomes[name] for name in workers}


def _start(configuration: Configuration, settings: Mapping[str, Any]) -> _Worker:
    answers, writing = os.pipe()
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        # The parent's handler would raise here what the parent deals with, and there would be two of it.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.close(answers)
        os.setpgid(0, 0)
        die_with_parent(parent)
        _work(configuration, settings, writing)
    os.close(writing)
    with contextlib.suppress(OSError):
        os.setpgid(pid, pid)
    timeout = float(settings.get("timeout", TIMEOUT_SECONDS))
    started = time.monotonic()
    return _Worker(pid, answers, started + timeout + _GRACE_SECONDS, started)


def _work(configuration: Configuration, settings: Mapping[str, Any], writing: int) -> None:
    """The process of one target; it never returns."""
    started, outcome = time.monotonic(), Outcome()
    try:
        before = Records(configuration.state).status()["targets"].get(settings["name"], {})
        outcome.unfinished = before.get("unfinished", {})
        bring(configuration, make(settings, configuration.cluster), outcome)
    except BackupError as error:
        outcome.ok, outcome.reason = False, str(error)
    except OSError as error:
        outcome.ok, outcome.reason = False, "the target is full: %s" % error if files.no_space(error) else str(error)
    except BaseException as error:  # noqa: BLE001 - the other targets have nothing to do with it
        outcome.ok, outcome.reason = False, repr(error)
    finally:
        outcome.seconds = round(time.monotonic() - started, 3)
        with contextlib.suppress(OSError), os.fdopen(writing, "wb") as stream:
            stream.write(json.dumps(asdict(outcome)).encode())
        os._exit(0)


def _ended(worker: _Worker) -> Outcome:
    try:
        return Outcome(**json.loads(worker.said))
    except (ValueError, TypeError):
        return Outcome(ok=False, reason="the process that copies there was killed")


def _too_long(configuration: Configuration, name: str) -> str:
    settings = next(each for each in configuration.targets if each["name"] == name)
    return "it did not answer within its %d s" % float(settings.get("timeout", TIMEOUT_SECONDS))


def _end(worker: _Worker) -> None:
    """End a target's process and what it has started. One that the kernel holds back is left behind."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(worker.pid, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(worker.pid, os.WNOHANG)
    with contextlib.suppress(OSError):
        os.close(worker.answers)
