"""Runs on a host of etcd: reports when etcd notified of each change under a prefix, never what was written.

Standard library only, Python 3.8 and newer. Arguments: the prefix, and etcdctl with its options. Prints a line of JSON
for each change, and a first one, ``{"watching": true}``, when etcd has confirmed the watch.
"""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import time
from typing import Any

_CONFIRMED = "progress notify"
_DELETED = 1


def _say(line: dict[str, Any]) -> None:
    print(json.dumps(line), flush=True)


def _main(prefix: str, command: list[str]) -> int:
    etcdctl = subprocess.Popen(
        [*command, "--write-out", "json", "watch", "--interactive"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        universal_newlines=True,
    )
    if etcdctl.stdin is None or etcdctl.stdout is None:
        raise RuntimeError("etcdctl was started without pipes")
    # It is answered in order: what is said of the progress comes after the watch has begun.
    etcdctl.stdin.write(f"watch --prefix {prefix}\nprogress\n")
    etcdctl.stdin.flush()
    for line in etcdctl.stdout:
        at = time.time()
        if line.startswith(_CONFIRMED):
            _say({"watching": True})
        elif line.startswith("{"):
            for event in json.loads(line).get("Events") or []:
                _say(_change(event, at))
    return etcdctl.wait()


def _change(event: dict[str, Any], at: float) -> dict[str, Any]:
    stored = event["kv"]
    return {
        "key": base64.b64decode(stored["key"]).decode(),
        "revision": stored["mod_revision"],
        "deleted": event.get("type", 0) == _DELETED,
        "at": at,
    }


sys.exit(_main(sys.argv[1], sys.argv[2:]))
