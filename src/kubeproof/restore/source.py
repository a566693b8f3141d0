"""Where a restore comes from: what the setting ``restore_from`` means, and which backup that is."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from kubeproof.backup.agent.errors import Damaged
from kubeproof.backup.agent.manifest import Manifest, is_name
from kubeproof.backup.agent.retention import SKEW_SECONDS
from kubeproof.core.errors import KubeproofError

Kind = Literal["latest", "host", "directory", "member", "target"]
# By so much hosts' clocks may be ahead of the controller's.
SKEW = datetime.timedelta(seconds=SKEW_SECONDS)

_FORMS = (
    "latest (the newest good one on any etcd host), HOST:NAME (one of an etcd host's), a directory on the controller "
    "(a path with a slash at its beginning, or one that begins with ./), TARGET/NAME (of one of backup_targets), or "
    "member:HOST (the data directory of an etcd host that is all that is left)"
)
_HOST_AND_NAME = re.compile(r"(?P<host>[^:/]+):(?P<name>[^:/]+)")
_TARGET_AND_NAME = re.compile(r"(?P<host>[^:/]+)/(?P<name>[^:/]+)")


@dataclass(frozen=True)
class Source:
    """What ``restore_from`` asks for. ``host`` is an etcd host's name, or a target's; ``path`` a directory here."""

    kind: Kind
    host: str = ""
    name: str = ""
    path: str = ""

    @classmethod
    def parse(cls, text: str, etcd_hosts: Sequence[str]) -> Source:
        """Understand the setting. Raises KubeproofError with all that it may be."""
        text = text.strip()
        if not text:
            raise KubeproofError("restore_from is not set: set it to the backup to restore", hint=f"It is {_FORMS}.")
        if text == "latest":
            return cls("latest")
        if text.startswith("member:"):
            return cls("member", _known(text.removeprefix("member:"), text, etcd_hosts))
        if text.startswith(("/", "./", "../", "~")):
            return _directory(text)
        if match := _HOST_AND_NAME.fullmatch(text):
            _require_name(match["name"], text)
            return cls("host", _known(match["host"], text, etcd_hosts), match["name"])
        if match := _TARGET_AND_NAME.fullmatch(text):
            _require_name(match["name"], text)
            return cls("target", match["host"], match["name"])
        raise KubeproofError(f"restore_from: {text!r} is not valid", hint=f"It is {_FORMS}.")


def _directory(text: str) -> Source:
    path = Path(text).expanduser().resolve()
    if not path.is_dir():
        raise KubeproofError(f"restore_from: there is no directory {path} on the controller")
    return Source("directory", name=path.name, path=str(path))


def _known(host: str, text: str, etcd_hosts: Sequence[str]) -> str:
    if host not in etcd_hosts:
        raise KubeproofError(
            f"restore_from: {text!r} names {host!r}, which is not an etcd host of the inventory",
            hint=f"Its etcd hosts are {', '.join(etcd_hosts)}.",
        )
    return host


def _require_name(name: str, text: str) -> None:
    if not is_name(name):
        raise KubeproofError(
            f"restore_from: {name!r} in {text!r} is not the name of a backup",
            hint="Backups are named like 20261121T174502Z-cp1; `kubeproof backup list` lists them.",
        )


@dataclass(frozen=True)
class Kept:
    """A backup on an etcd host, as far as its manifest and the sizes of its files tell."""

    host: str
    name: str
    problem: str = ""
    manifest: Manifest | None = None


def kept(host: str, listed: Iterable[Mapping[str, Any]], ca_digest: str) -> list[Kept]:
    """The backups that a host listed (``name``, ``manifest`` as text, ``files`` with sizes), newest first.

    ``ca_digest``: whose they must be; empty: not known, anybody's.
    """
    found = [_judged(host, entry, ca_digest) for entry in listed]
    return sorted(found, key=lambda backup: backup.name, reverse=True)


def _judged(host: str, entry: Mapping[str, Any], ca_digest: str) -> Kept:
    name = str(entry["name"])
    try:
        manifest = Manifest.parse(str(entry["manifest"]).encode())
    except Damaged as error:
        return Kept(host, name, str(error))
    if manifest.name != name:
        return Kept(host, name, f"its manifest is that of {manifest.name}")
    sizes = {str(file): int(size) for file, size in entry["files"].items()}
    wrong = sorted(file for file, told in manifest.files.items() if sizes.get(file) != told.bytes)
    if wrong:
        return Kept(host, name, f"{', '.join(wrong)}: missing, or not of the size that the manifest says", manifest)
    if ca_digest and manifest.authority != ca_digest:
        return Kept(host, name, f"it is another cluster's ({manifest.cluster})", manifest)
    return Kept(host, name, "", manifest)


@dataclass(frozen=True)
class Choice:
    """The backup to restore; ``skipped``: those that are newer by their names, each with why it was not taken."""

    backup: Kept
    skipped: Sequence[str] = ()


def choose(source: Source, listed: Mapping[str, Sequence[Kept]], now: datetime.datetime) -> Choice:
    """The backup of ``latest`` or ``HOST:NAME`` among those that the hosts have. Raises KubeproofError."""
    everything = sorted((backup for each in listed.values() for backup in each), key=_age, reverse=True)
    good = [backup for backup in everything if not backup.problem]
    if source.kind == "latest":
        if good:
            return _latest(everything, now)
        raise KubeproofError("restore_from=latest: no etcd host has a good backup", hint=_what_there_is(everything))
    for backup in listed.get(source.host, ()):
        if backup.name == source.name:
            if backup.problem:
                raise KubeproofError(
                    f"{source.host}:{source.name} cannot be restored: {backup.problem}", hint=_what_there_is(good)
                )
            return Choice(backup)
    raise KubeproofError(f"{source.host} has no backup {source.name}", hint=_what_there_is(everything))


def _latest(everything: Sequence[Kept], now: datetime.datetime) -> Choice:
    """The newest good one of those that are to be trusted most. ``everything``: newest first, a good one among it."""
    passed_over = {_where(backup): backup.problem for backup in everything if backup.problem}
    left = [backup for backup in everything if not backup.problem]
    for doubts in (_from_the_future, _of_an_abandoned_state, _behind_the_majority):
        doubtful = doubts(left, now)
        # All that there is, is better than nothing.
        if len(doubtful) < len(left):
            passed_over |= doubtful
            left = [backup for backup in left if _where(backup) not in doubtful]
    newer = everything[: everything.index(left[0])]
    return Choice(left[0], [f"{_where(backup)}: {passed_over[_where(backup)]}" for backup in newer])


def _from_the_future(backups: Sequence[Kept], now: datetime.datetime) -> dict[str, str]:
    latest = f"{now + SKEW:%Y%m%dT%H%M%SZ}"
    return {
        _where(backup): "its time is in the future by the controller's clock, so that its age is not known"
        for backup in backups
        if backup.name[:16] > latest
    }


def _of_an_abandoned_state(backups: Sequence[Kept], _: datetime.datetime) -> dict[str, str]:
    return {
        _where(backup): "a restore made it of the state that it was to replace"
        for backup in backups
        if backup.manifest and backup.manifest.trigger == "restore"
    }


def _behind_the_majority(backups: Sequence[Kept], _: datetime.datetime) -> dict[str, str]:
    """What a member without quorum gave, unless it is from after quorum was lost for good: then it has more writes."""
    manifests = [backup.manifest for backup in backups if backup.manifest]
    reached = max((manifest.revision for manifest in manifests if manifest.quorum), default=-1)
    return {
        _where(backup): "made without quorum, and one with quorum has as many writes or more"
        for backup in backups
        if backup.manifest and not backup.manifest.quorum and backup.manifest.revision <= reached
    }


def _where(backup: Kept) -> str:
    return f"{backup.host}:{backup.name}"


def _age(backup: Kept) -> tuple[str, str]:
    return backup.name[:16], backup.host


def _what_there_is(backups: Sequence[Kept], most: int = 8) -> str:
    if not backups:
        return "The etcd hosts have no other; give a copy elsewhere by its directory or as TARGET/NAME."
    told = [_where(each) + (f" ({each.problem})" if each.problem else "") for each in backups[:most]]
    return f"There are: {', '.join(told)}" + (
        f", and {len(backups) - most} older ones." if len(backups) > most else "."
    )
