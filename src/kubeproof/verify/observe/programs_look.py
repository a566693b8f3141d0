"""Runs on a host: which programs run there, and which lie there, with digests and versions, as JSON.

Standard library only, Python 3.8 and newer: programs.py sends this file's text with the names of programs.
"""
# ruff: noqa: PTH116, PTH119, PTH123, PTH207

from __future__ import annotations

import contextlib
import glob
import hashlib
import json
import os
import re
import stat
import subprocess
import sys
from typing import Any

RECORD = "/var/lib/kubeproof/components.json"
GONE = " (deleted)"
SECONDS = 10
# A pod's control group, by either of the kubelet's drivers.
POD = re.compile(r"/(?:kubepods[^/]*-)?pod([0-9a-f][0-9a-f_-]{31,35})(?:\.slice)?(?:/|$)", re.MULTILINE)
VERSION = re.compile(r"\d+\.\d+\.\d+[^\s,]*")
EMULATED = re.compile(r"\0--emulated-version(?:=|\0)(?:kube=)?v?(\d+\.\d+)")

known: dict[tuple[int, int, int], str] = {}


def digest(path: str) -> str:
    """The SHA-256 of a file, read once however many names it has; empty if there is none."""
    try:
        with open(path, "rb") as stream:
            status = os.fstat(stream.fileno())
            key = (status.st_dev, status.st_ino, status.st_mtime_ns)
            if key not in known:
                found = hashlib.sha256()
                for block in iter(lambda: stream.read(1 << 20), b""):
                    found.update(block)
                known[key] = found.hexdigest()
            return known[key]
    except OSError:
        return ""


def text(path: str) -> str:
    """A file of the kernel's; empty if the process has ended."""
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read()
    except OSError:
        return ""


def version(path: str) -> str:
    """What a program says of its version, if nobody but root can have written it."""
    try:
        status = os.stat(path)
        if status.st_uid != 0 or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            return ""
        done = subprocess.run(
            [path, "--version"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    match = VERSION.search(done.stdout.decode(errors="replace"))
    return match.group() if match else ""


def without_note(path: str) -> str:
    """The path of a process's program, without what the kernel adds if that file is gone."""
    return path[: -len(GONE)] if path.endswith(GONE) else path


def processes(names: set[str], asked: set[str]) -> list[dict[str, Any]]:
    """Processes of programs of these names, of this host and of its pods: what else is in a container is not its own.

    ``asked``: programs that are asked for their versions.
    """
    short = {name[:15]: name for name in names}
    own = os.readlink("/proc/self/ns/pid")
    found = []
    for proc in glob.glob("/proc/[0-9]*"):
        with contextlib.suppress(OSError):
            path = os.readlink(proc + "/exe")
            name = os.path.basename(without_note(path))
            if name not in names:
                name = short.get(text(proc + "/comm").strip(), "")
            pod = POD.search(text(proc + "/cgroup"))
            if not name or (os.readlink(proc + "/ns/pid") != own and not pod):
                continue
            emulated = EMULATED.search(text(proc + "/cmdline"))
            found.append(
                {
                    "program": name,
                    "pid": int(os.path.basename(proc)),
                    "path": without_note(path),
                    "gone": path.endswith(GONE),
                    "pod": pod.group(1).replace("_", "-") if pod else "",
                    # Of a pod the image is judged. Each container has its files at another place, all to be read.
                    "sha256": "" if pod else digest(proc + "/exe"),
                    "version": version(proc + "/exe") if name in asked else "",
                    "emulates": emulated.group(1) if emulated else "",
                }
            )
    return sorted(found, key=lambda each: (each["program"], each["pid"]))


def installed() -> dict[str, str]:
    """Files that kubeproof has installed, by path with their digests as they are now."""
    try:
        with open(RECORD, encoding="utf-8") as stream:
            return {path: digest(path) for path in json.load(stream).get("files", {})}
    except (OSError, ValueError):
        return {}


if __name__ == "__main__":
    wanted = json.loads(sys.argv[1])
    print(
        json.dumps(
            {
                "machine": os.uname().machine,
                "processes": processes(set(wanted["programs"]), set(wanted["asked"])),
                "files": installed() if wanted["files"] else {},
            }
        )
    )
