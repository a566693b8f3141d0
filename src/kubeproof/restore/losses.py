"""What a restore will lose, shown before it is confirmed."""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kubeproof.backup.agent.manifest import Manifest
from kubeproof.core import amounts
from kubeproof.restore.checking import Look
from kubeproof.restore.source import SKEW

# Revisions are raised by at least this much: more than any cluster writes between a backup and its restore.
LEAST_BUMP = 1_000_000_000
_SKIPPED_TOLD = 5
_KINDS_TOLD = 5


@dataclass(frozen=True)
class Changes:
    """Keys that were written after a revision: those that were made since, by kind, and the number changed since."""

    made: Mapping[str, int]
    changed: int

    @classmethod
    def of(cls, keys: Iterable[Mapping[str, Any]], revision: int) -> Changes:
        """From keys with ``key`` and ``created``, all of them modified after ``revision``."""
        made: Counter[str] = Counter()
        changed = 0
        for entry in keys:
            kind = _kind(str(entry["key"]))
            if kind == "":
                continue
            if int(entry["created"]) > revision:
                made[kind] += 1
            else:
                changed += 1
        return cls(dict(made), changed)


def _kind(key: str) -> str:
    """The resource of a key like ``/registry/pods/NAMESPACE/NAME``; empty for what is no object of anybody's."""
    parts = key.strip("/").split("/")
    if len(parts) < 2 or parts[0] != "registry" or parts[1] in ("events", "leases", "masterleases", "peerserverleases"):
        return ""
    return parts[2] if "." in parts[1] and len(parts) > 2 else parts[1]


def host_to_ask(kind: str, looks: Sequence[Look]) -> str:
    """The host whose etcd counts the writes since the backup, and backs up the current state; empty if there is none.

    ``kind``: that of the source. If the data of a member without quorum is restored, that is the current state, and its
    snapshot may have taken a stop and a start, after which such a member serves no clients.
    """
    usable = (look for look in looks if look.live and (kind != "member" or look.live["leader"]))
    return next((look.host for look in usable), "")


def live_revision(looks: Sequence[Look]) -> int:
    """The newest revision that any member tells; 0 if none does."""
    return max((int(look.live["revision"]) for look in looks if look.live), default=0)


def bump(manifest: Manifest, looks: Sequence[Look], known: Iterable[int] = ()) -> int:
    """By how much to raise revisions, so that no client ever sees one again that it has seen before.

    ``known``: revisions that the cluster has had, by what else is known of it: other backups, and earlier restores.
    """
    newest = max(live_revision(looks), *known, 0)
    return max(LEAST_BUMP, newest - manifest.revision + LEAST_BUMP)


def summary(
    manifest: Manifest,
    looks: Sequence[Look],
    changes: Changes | str,
    *,
    where: str,
    now: datetime.datetime,
    kept: str,
    left_out: Sequence[str] = (),
    skipped: Sequence[str] = (),
) -> str:
    """The summary of the restore for the operator, before the confirmation.

    ``changes``: or why they could not be counted; ``where``: the backup's place; ``kept``: of the old data;
    ``left_out``: nodes that are not in this run; ``skipped``: newer backups that were not chosen, with the reasons.
    """
    finished = datetime.datetime.fromisoformat(manifest.finished)
    rows = [("backup", f"{where}: {finished:%Y-%m-%d %H:%M:%S} UTC, {_ago(now - finished)} ago; {_content(manifest)}")]
    if not manifest.quorum:
        rows.append(("note", "taken from a member without quorum: it may lack the last writes"))
    if finished > now + SKEW:
        rows.append(("note", "its time is in the future by this machine's clock, so that its age is not known"))
    rows += [("skipped", each) for each in _skipped(skipped)]
    rows += [("now", _now(looks)), ("lost", _lost(changes)), ("kept", kept)]
    if left_out:
        names = ", ".join(left_out)
        rows.append(
            ("absent", f"{names}, which this run leaves out: an API server there must be off until a run has it")
        )
    lines = "".join(f"  {name:<8}{text}\n" for name, text in rows)
    return f"Restore of the cluster {manifest.cluster} on {', '.join(look.host for look in looks)}\n{lines}"


def _content(manifest: Manifest) -> str:
    etcd = manifest.versions.get("etcd", "of an unknown version")
    return f"revision {manifest.revision:,}, {manifest.keys:,} keys, {amounts.size(manifest.size)}, etcd {etcd}"


def _skipped(backups: Sequence[str]) -> list[str]:
    more = len(backups) - _SKIPPED_TOLD
    return [*backups[:_SKIPPED_TOLD], *([f"{more} more"] if more > 0 else [])]


def _now(looks: Sequence[Look]) -> str:
    answering = [look.host for look in looks if look.live]
    data = [look.host for look in looks if look.there and not look.live]
    parts = []
    if answering:
        quorum = "with" if any(look.live.get("leader") for look in looks if look.live) else "without"
        parts.append(f"etcd responds on {', '.join(answering)} ({quorum} quorum), revision {live_revision(looks):,}")
    if data:
        parts.append(f"etcd does not respond on {', '.join(data)}, but has data there")
    fresh = [look.host for look in looks if not look.there]
    if fresh:
        parts.append(f"no data on {', '.join(fresh)}")
    return "; ".join(parts)


def _lost(changes: Changes | str) -> str:
    since = "all writes since the backup"
    if isinstance(changes, str):
        return f"{since}, which can't be counted: {changes}"
    made = sum(changes.made.values())
    kinds = Counter(changes.made).most_common(_KINDS_TOLD)
    which = ", ".join(f"{kind} {count}" for kind, count in kinds)
    return (
        f"{since}: {made:,} objects that were created since will be deleted{f' ({which})' if which else ''}, "
        f"{changes.changed:,} that were changed since will be reverted, and those that were deleted since restored"
    )


def _ago(span: datetime.timedelta) -> str:
    seconds = max(int(span.total_seconds()), 0)
    days, rest = divmod(seconds, 86400)
    hours, rest = divmod(rest, 3600)
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {rest // 60} min" if hours else f"{rest // 60} min {rest % 60} s"
