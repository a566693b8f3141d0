"""Which run is changing a host: a record for each, so that controllers that do not know each other notice.

Every module that changes a component writes it, with the time, and the last play removes it. A controller judges the
records that it finds before it changes anything; a module refuses those that have come since. Standard library only;
Python 3.8 and newer.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from typing import Any, Dict, List, Optional

from ansible.module_utils import places
from ansible.module_utils.manifest import STATE_DIRECTORY, locked

RUNS = "runs"
SUFFIX = ".json"
# Seconds after its last sign of life at which a run is over: kubeproof.core.active_run has the same.
EXPIRES = 1800.0

Entry = Dict[str, Any]


class OtherRun(RuntimeError):
    """Another run is changing this host; the message is for the operator."""


def found(state: str = STATE_DIRECTORY) -> List[Entry]:
    """The runs that are recorded: each one's ``id``, ``record`` as its controller wrote it, and ``age`` in seconds."""
    entries: List[Entry] = []
    with contextlib.suppress(FileNotFoundError):
        for name in sorted(os.listdir(os.path.join(state, RUNS))):
            entry = read(os.path.join(state, RUNS, name)) if name.endswith(SUFFIX) else None
            if entry:
                entries.append({"id": name[: -len(SUFFIX)], **entry})
    return entries


def read(path: str) -> Optional[Entry]:
    """A record and its age; None if it is gone, or is no record."""
    try:
        with open(path, encoding="utf-8") as file:
            record, written = json.load(file), os.fstat(file.fileno()).st_mtime
    except (OSError, ValueError):
        return None
    return {"record": record, "age": round(time.time() - written, 1)} if isinstance(record, dict) else None


def claim(run: Optional[Entry], state: str = STATE_DIRECTORY) -> None:
    """Record that a run is changing this host. Raises OtherRun if another one is.

    ``run`` has its ``record``, and as ``over`` the identities of those that its controller knows of, and has judged.
    None is a run that was not claimed on its controller, and nothing is recorded.
    """
    if not run:
        return
    identity = str(run["record"]["id"])
    with locked(state):
        others = [entry for entry in found(state) if entry["id"] != identity]
        for other in others:
            if other["id"] not in run["over"] and other["age"] < EXPIRES:
                raise OtherRun(refusal(other["record"]))
        for other in others:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path(other["id"], state))
        if os.path.exists(path(identity, state)):
            os.utime(path(identity, state))
            return
        places.make_directories(os.path.join(state, RUNS), 0o700)
        places.write(path(identity, state), json.dumps(run["record"]).encode(), os.geteuid(), os.getegid(), 0o600)


def path(identity: str, state: str = STATE_DIRECTORY) -> str:
    """Where the record of a run is."""
    return os.path.join(state, RUNS, identity + SUFFIX)


def refusal(other: Entry) -> str:
    """What an operator reads of a run that has come meanwhile. What its record lacks is unknown."""
    machine = other.get("machine")
    return (
        "another run began to change this host at the same time: `%s` of %s on %s. This one changes nothing more here. "
        "Wait until the other one has ended, and run this again"
        % (
            other.get("command", "unknown"),
            other.get("user", "an unknown user"),
            machine.get("name") if isinstance(machine, dict) else "an unknown controller",
        )
    )
