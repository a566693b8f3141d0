"""``backup_targets``: their problems, and their part of the configuration of the program on a host."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urlsplit

# By type: fields that there must be, and those that there may be; `name`, `type` and `timeout` are all types'.
FIELDS: Mapping[str, tuple[frozenset[str], frozenset[str]]] = {
    "directory": (frozenset({"path"}), frozenset({"mount"})),
    "rsync": (frozenset({"host", "user", "path", "known_hosts"}), frozenset({"port"})),
    "s3": (
        frozenset({"endpoint", "bucket", "access_key_id", "secret_access_key"}),
        frozenset({"region", "prefix", "ca", "allow_http"}),
    ),
}
_EVERY = frozenset({"name", "type", "timeout"})
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")
# What goes into a shell's words on another host is of these, and so is what names a bucket.
_PATH = re.compile(r"/[A-Za-z0-9._/-]+")
_PREFIX = re.compile(r"[A-Za-z0-9._/-]*")
_HOST = re.compile(r"[A-Za-z0-9.:-]+")
_USER = re.compile(r"[a-z_][a-z0-9_-]*")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_LONGEST_TIMEOUT = 86400


def problems(targets: Any) -> Iterator[str]:
    """What is wrong with a value of ``backup_targets``. Nothing of a value that may be secret is repeated."""
    if not isinstance(targets, Sequence) or isinstance(targets, str):
        yield "it is not a list"
        return
    names: set[str] = set()
    for number, target in enumerate(targets, 1):
        if not isinstance(target, Mapping):
            yield f"entry {number} is not a dictionary"
            continue
        name = str(target.get("name", ""))
        shown = f"entry {number}" + (f" ({name})" if name else "")
        if not _NAME.fullmatch(name):
            yield f"{shown} has no `name` of lower-case letters, digits and dashes, at most 40"
        elif name in names:
            yield f"{shown}: another one has this name"
        names.add(name)
        yield from (f"{shown}: {problem}" for problem in _of(target))


def _of(target: Mapping[str, Any]) -> Iterator[str]:
    kind = str(target.get("type", ""))
    if kind not in FIELDS:
        yield f"`type` is {kind!r}; it must be one of {', '.join(FIELDS)}"
        return
    required, optional = FIELDS[kind]
    missing = sorted(field for field in required if target.get(field) in (None, ""))
    unknown = sorted(map(str, target.keys() - required - optional - _EVERY))
    if missing:
        yield f"{', '.join(f'`{field}`' for field in missing)} must be set"
    if unknown:
        yield f"{', '.join(f'`{field}`' for field in unknown)}: no such field of a target of type {kind}"
    yield from _numbers(target)
    if not missing:
        yield from {"directory": _directory, "rsync": _rsync, "s3": _s3}[kind](target)


def _numbers(target: Mapping[str, Any]) -> Iterator[str]:
    for field, highest in (("timeout", _LONGEST_TIMEOUT), ("port", 65535)):
        value = str(target.get(field, 1))
        if not value.isdecimal() or not 1 <= int(value) <= highest:
            yield f"`{field}` is {value!r}, no number from 1 to {highest}"
    for field in ("mount", "allow_http"):
        if not isinstance(target.get(field, False), bool):
            yield f"`{field}` must be true or false"


def _directory(target: Mapping[str, Any]) -> Iterator[str]:
    path = str(target["path"])
    if not _PATH.fullmatch(path) or ".." in PurePosixPath(path).parts:
        yield f"`path` is {path!r}; it must be an absolute path of letters, digits, dots, dashes and underscores"


def _rsync(target: Mapping[str, Any]) -> Iterator[str]:
    yield from _directory(target)
    for field, pattern in (("host", _HOST), ("user", _USER)):
        if not pattern.fullmatch(str(target[field])):
            yield f"`{field}` is {target[field]!r}, which is none"
    lines = [line for line in str(target["known_hosts"]).splitlines() if line.strip() and not line.startswith("#")]
    if not lines or not all(len(line.split()) >= 3 for line in lines):
        yield "`known_hosts` has no lines like those of a known_hosts file: `ssh-keyscan HOST` prints them"


def _s3(target: Mapping[str, Any]) -> Iterator[str]:
    endpoint = urlsplit(str(target["endpoint"]))
    if endpoint.scheme not in ("https", "http") or not endpoint.netloc or endpoint.username:
        yield "`endpoint` is not a URL like https://s3.example.org"
    elif endpoint.scheme == "http" and not target.get("allow_http"):
        yield "`endpoint` is not encrypted; `allow_http: true` takes it nevertheless"
    if not _BUCKET.fullmatch(str(target["bucket"])):
        yield f"`bucket` is {target['bucket']!r}, no name of a bucket"
    if not _PREFIX.fullmatch(str(target.get("prefix", ""))):
        yield f"`prefix` is {target['prefix']!r}; it must be of letters, digits, dots, dashes, underscores and slashes"
    if target.get("ca") and "-----BEGIN CERTIFICATE-----" not in str(target["ca"]):
        yield "`ca` has no certificate in PEM"


def for_hosts(targets: Sequence[Mapping[str, Any]], files: str, state: str, programs: str) -> list[dict[str, Any]]:
    """What the program's configuration has of the targets. ``files``: the directory that has ``files()``."""
    return [_told(target, files, state, programs) for target in targets]


def _told(target: Mapping[str, Any], directory: str, state: str, programs: str) -> dict[str, Any]:
    kept = {field: value for field, value in target.items() if field in _EVERY}
    name, kind = target["name"], target["type"]
    if kind == "directory":
        return {**kept, "path": target["path"], "mount": target.get("mount", True)}
    if kind == "rsync":
        place = {field: target[field] for field in ("host", "user", "path")}
        where = {"key": f"{state}/ssh/id_ed25519", "known_hosts": f"{directory}/{name}.known_hosts"}
        return {**kept, **place, **where, "port": int(target.get("port", 22))}
    place = {field: target.get(field, "") for field in ("endpoint", "region", "bucket", "prefix")}
    ca = f"{directory}/{name}.ca.crt" if target.get("ca") else ""
    where = {"credentials": f"{directory}/{name}.credentials.json", "ca": ca, "rclone": f"{programs}/rclone"}
    return {**kept, **place, **where}


def files(targets: Sequence[Mapping[str, Any]], directory: str, owner: str) -> list[dict[str, Any]]:
    """The files that targets take on a host, as ``install_component`` takes them."""
    found: list[dict[str, Any]] = []
    for target in targets:
        stem = f"{directory}/{target['name']}"
        if target["type"] == "rsync":
            found.append({"dest": f"{stem}.known_hosts", "content": str(target["known_hosts"]).strip() + "\n"})
        if target["type"] == "s3":
            secret = {field: str(target[field]) for field in ("access_key_id", "secret_access_key")}
            content = json.dumps(secret) + "\n"
            found.append({"dest": f"{stem}.credentials.json", "content": content, "owner": owner, "mode": "0600"})
            if target.get("ca"):
                found.append({"dest": f"{stem}.ca.crt", "content": str(target["ca"]).strip() + "\n"})
    return found
