"""``manifest.json``: what is in a backup, and how to tell that it still is."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Mapping

from kubeproof.backup.agent import files
from kubeproof.backup.agent.errors import Damaged

SCHEMA = 1
NAME = "manifest.json"
SNAPSHOT = "snapshot.db"
KEYS = ("keys.tar.age", "keys.tar")
# A manifest is a kilobyte; what is larger than this is none, and is not read.
_LARGEST = 1 << 20
_HEX64 = re.compile(r"[0-9a-f]{64}")
_BACKUP_NAME = re.compile(r"\d{8}T\d{6}Z-[A-Za-z0-9][A-Za-z0-9.-]*")


def is_name(name: str) -> bool:
    """Whether a directory's name is one that backups have: the time it was begun, and the host."""
    return _BACKUP_NAME.fullmatch(name) is not None


@dataclass(frozen=True)
class File:
    """Size and SHA-256 of a file beside the manifest."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """The fields are those of docs/operations/backups.md. Times are RFC 3339 in UTC, IDs and digests are hex."""

    name: str
    cluster: str
    authority: str
    cluster_id: str
    member: str
    member_id: str
    trigger: str
    begun: str
    finished: str
    seconds: float
    revision: int
    hash: int
    keys: int
    size: int
    quorum: bool
    versions: Mapping[str, str]
    files: Mapping[str, File]

    def render(self) -> bytes:
        """The file's content."""
        return files.render(_sealed({"schema": SCHEMA, **asdict(self)}))

    @classmethod
    def parse(cls, content: bytes) -> Manifest:
        """From the file's content. Raises Damaged if one bit of it is not as it was written."""
        try:
            document = json.loads(content)
        except (ValueError, RecursionError):
            document = None
        if not isinstance(document, dict):
            raise Damaged("%s was not written by a backup: it is not a JSON object" % NAME)
        if document.get("schema") != SCHEMA:
            raise Damaged("%s has schema %r; this program supports %d" % (NAME, document.get("schema"), SCHEMA))
        if files.render(_sealed(document)) != content:
            raise Damaged("%s was changed after it was written" % NAME)
        return cls._typed(document)

    @classmethod
    def _typed(cls, document: Mapping[str, Any]) -> Manifest:
        texts = ("name", "cluster", "authority", "cluster_id", "member", "member_id", "trigger", "begun", "finished")
        numbers = ("revision", "hash", "keys", "size")
        try:
            return cls(
                **{name: _of(document, name, str) for name in texts},
                **{name: _of(document, name, int) for name in numbers},
                seconds=float(document["seconds"]),
                quorum=_of(document, "quorum", bool),
                versions={str(name): str(version) for name, version in document["versions"].items()},
                files={_file_name(name): _file(entry) for name, entry in document["files"].items()},
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise Damaged("%s was not written by a backup: %r" % (NAME, error)) from None


def read(directory: Path) -> Manifest:
    """The manifest of a backup. Raises Damaged."""
    path = directory / NAME
    try:
        if path.stat().st_size > _LARGEST:
            raise Damaged("%s is too large to be a manifest" % NAME)
        return Manifest.parse(path.read_bytes())
    except FileNotFoundError:
        raise Damaged("%s is missing" % NAME) from None
    except OSError as error:
        raise Damaged("%s cannot be read: %s" % (NAME, error.strerror)) from None


def _sealed(document: Mapping[str, Any]) -> dict[str, Any]:
    """The document with the digest of all the rest of it."""
    rest = {name: value for name, value in document.items() if name != "digest"}
    return {**rest, "digest": hashlib.sha256(files.render(rest)).hexdigest()}


def _of(document: Mapping[str, Any], name: str, kind: type) -> Any:
    value = document[name]
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise TypeError("%s is %r" % (name, value))
    return value


def _file_name(name: str) -> str:
    if name != SNAPSHOT and name not in KEYS:
        raise ValueError("a file %r" % name)
    return name


def _file(entry: Mapping[str, Any]) -> File:
    file = File(bytes=_of(entry, "bytes", int), sha256=_of(entry, "sha256", str))
    if not _HEX64.fullmatch(file.sha256):
        raise ValueError("sha256 %r" % file.sha256)
    return file
