"""Where a restore comes from: what the setting ``restore_from`` means, and which backup that is."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from kubeproof.backup.agent.errors import Damaged
from kubeproof.backup.agent.manifest import Manifest, is_name
from kubeproof.core.errors import KubeproofError

Kind = Literal["latest", "host", "directory", "member", "target"]

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
    sizes = {str(file): int(size) for file, size in entry["files"].items()}
    wrong = sorted(file for file, told in manifest.files.items() if sizes.get(file) != told.bytes)
    if wrong:
        return Kept(host, name, f"{', '.join(wrong)}: missing, or not of the size that the manifest says", manifest)
    if ca_digest and manifest.authority != ca_digest:
        return Kept(host, name, f"it is another cluster's ({manifest.cluster})", manifest)
    return Kept(host, name, "", manifest)


def choose(source: Source, listed: Mapping[str, Sequence[Kept]]) -> Kept:
    """The backup of ``latest`` or ``HOST:NAME`` among those that the hosts have. Raises KubeproofError."""
    everything = sorted((backup for each in listed.values() for backup in each), key=_age, reverse=True)
    good = [backup for backup in everything if not backup.problem]
    if source.kind == "latest":
        if good:
            return good[0]
        raise KubeproofError("restore_from=latest: no etcd host has a good backup", hint=_what_there_is(everything))
    for backup in listed.get(source.host, ()):
        if backup.name == source.name:
            if backup.problem:
                raise KubeproofError(
                    f"{source.host}:{source.name} cannot be restored: {backup.problem}", hint=_what_there_is(good)
                )
            return backup
    raise KubeproofError(f"{source.host} has no backup {source.name}", hint=_what_there_is(everything))


def _age(backup: Kept) -> tuple[str, str]:
    return backup.name[:16], backup.host


def _what_there_is(backups: Sequence[Kept], most: int = 8) -> str:
    if not backups:
        return "The etcd hosts have no other; give a copy elsewhere by its directory or as TARGET/NAME."
    told = [f"{each.host}:{each.name}" + (f" ({each.problem})" if each.problem else "") for each in backups[:most]]
    return f"There are: {', '.join(told)}" + (
        f", and {len(backups) - most} older ones." if len(backups) > most else "."
    )
