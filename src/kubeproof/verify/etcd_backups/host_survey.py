"""Runs on a host of etcd: what backups there are, and whether the newest is what it says, as JSON.

Standard library only, Python 3.8 and newer. It shares no code with the program that makes the backups: what that
program takes for a backup is what is to be proven. Arguments: the path of that program's configuration, and ``read``
to have the newest one read whole, or ``history`` for what the program has written down of its work.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import ssl
import subprocess
import sys
import time
from typing import Any

_NAME = re.compile(r"\d{8}T\d{6}Z-.+")
_TIMERS = ("etcd-backup.timer", "etcd-backup-drill.timer")
_PROPERTIES = "ActiveState,UnitFileState,ActiveEnterTimestampMonotonic,NextElapseUSecRealtime"


def _document(path: str) -> Any:
    try:
        with open(path, encoding="utf-8") as stream:  # noqa: PTH123 - shorter for what is sent as an argument
            return json.load(stream)
    except (OSError, ValueError):
        return None


def _history(path: str) -> list[Any]:
    """The events, oldest first, without a line that a crash has cut."""
    events = []
    try:
        with open(path, encoding="utf-8") as stream:  # noqa: PTH123
            lines = stream.readlines()
    except OSError:
        return []
    for line in lines:
        try:
            events.append(json.loads(line))
        except ValueError:
            continue
    return events


def _timer(unit: str) -> dict[str, Any]:
    """How a timer is, and for how many seconds."""
    shown = subprocess.run(["systemctl", "show", unit, "--property=" + _PROPERTIES], stdout=subprocess.PIPE, check=True)
    state = dict(line.split("=", 1) for line in shown.stdout.decode().splitlines())
    since = int(state.get("ActiveEnterTimestampMonotonic") or 0) / 1e6
    return {
        "active": state.get("ActiveState"),
        "enabled": state.get("UnitFileState"),
        "next": state.get("NextElapseUSecRealtime"),
        "seconds": time.monotonic() - since if since else 0.0,
    }


def _digest(path: str) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as stream:  # noqa: PTH123
        for chunk in iter(lambda: stream.read(1 << 20), b""):
            digest.update(chunk)
    return digest.hexdigest()


def _read(directory: str, etcdutl: str) -> dict[str, Any]:
    """Files of a backup as they are, and what etcd's own program says of its snapshot."""
    files = {name: _digest(os.path.join(directory, name)) for name in os.listdir(directory)}  # noqa: PTH118, PTH208
    command = [etcdutl, "snapshot", "status", os.path.join(directory, "snapshot.db"), "--write-out=json"]  # noqa: PTH118
    done = subprocess.run(command, capture_output=True, check=False)
    lines = done.stderr.decode(errors="replace").strip().splitlines()
    return {
        "files": files,
        "status": json.loads(done.stdout.decode()) if done.returncode == 0 else None,
        "refusal": lines[-1][:300] if done.returncode and lines else "",
    }


def _main(path: str, what: str) -> None:
    configuration = _document(path)
    found: dict[str, Any] = {"now": time.time(), "configuration": configuration}
    if configuration is not None:
        directory = configuration["directory"]
        names = [name for name in os.listdir(directory) if _NAME.fullmatch(name)]  # noqa: PTH208
        with open(configuration["etcd"]["ca"], encoding="ascii") as stream:  # noqa: PTH123
            ca_digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(stream.read())).hexdigest()
        manifests = {name: _document(os.path.join(directory, name, "manifest.json")) for name in names}  # noqa: PTH118
        # Of another cluster are those that say so; one whose manifest cannot be read is ours to explain.
        ours = sorted(name for name in names if (manifests[name] or {}).get("authority", ca_digest) == ca_digest)
        found["backups"] = {name: manifests[name] for name in ours}
        found["newest"] = ours[-1] if ours else None
        if what == "read":
            etcdutl = configuration["programs"]["etcdutl"]
            found["read"] = _read(os.path.join(directory, ours[-1]), etcdutl) if ours else None  # noqa: PTH118
        else:
            found["history"] = _history(os.path.join(configuration["state"], "history.jsonl"))  # noqa: PTH118
        found["timers"] = {unit: _timer(unit) for unit in _TIMERS}
        found["records"] = _document(os.path.join(configuration["state"], "status.json"))  # noqa: PTH118
    print(json.dumps(found))


_main(*sys.argv[1:3])
