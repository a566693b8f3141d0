"""What is known of backups on this host: ``status.json``, how things are, and ``history.jsonl``, the events."""

from __future__ import annotations

import calendar
import contextlib
import json
import time
from pathlib import Path
from typing import Any, Iterator, Mapping, Sequence

from kubeproof.backup.agent import files
from kubeproof.backup.agent.retention import SKEW_SECONDS

STATUS = "status.json"
HISTORY = "history.jsonl"
_KEPT_EVENTS = 2000

_EMPTY: dict[str, Any] = {
    "schema": 1,
    # The last attempt of each job (save, copy, drill): at, ok, reason, seconds.
    "attempts": {},
    # How often each job has failed since the host was set up.
    "failures": {},
    # The last good backup that this host made: name, finished, revision, keys, size, seconds, quorum.
    "backup": None,
    # The last good backup that is known of the whole cluster: name, host, finished.
    "cluster": None,
    # Each target by name: at, ok, reason, newest.
    "targets": {},
    # The last proven restore: name, at, seconds.
    "proven": None,
}


def now() -> str:
    """The time, RFC 3339 in UTC."""
    return timestamp(time.time())


def timestamp(seconds: float) -> str:
    """Epoch seconds as RFC 3339 in UTC, to the second."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def epoch(text: str) -> float:
    """RFC 3339 in UTC as epoch seconds."""
    return float(calendar.timegm(time.strptime(text, "%Y-%m-%dT%H:%M:%SZ")))


def problems(status: Mapping[str, Any], overdue: float, at: float) -> list[str]:
    """What an operator should look into, by the records: jobs that failed, a backup or its proof that is overdue."""
    found = [
        "the last %s failed at %s: %s" % (job, attempt["at"], attempt["reason"])
        for job, attempt in sorted(status["attempts"].items())
        if not attempt["ok"]
    ]
    found += [
        "the last copy to %s failed at %s: %s" % (name, target["at"], target["reason"])
        for name, target in sorted(status["targets"].items())
        if not target["ok"]
    ]
    last = status["cluster"]
    if last is None:
        found.append("there is no backup yet")
    elif epoch(last["finished"]) > at + SKEW_SECONDS:
        found.append("the last good backup is of %s, which is in the future: check the clocks" % last["finished"])
    elif at - epoch(last["finished"]) > overdue:
        found.append("the last good backup is of %s; there should be one that is younger" % last["finished"])
    return found


def unproven(
    status: Mapping[str, Any], history: Sequence[Mapping[str, Any]], overdue: float | None, at: float
) -> list[str]:
    """Why a drill should have restored a backup of this host since; nothing if the schedule of drills allows it.

    Only what was made after the last proof waits for a drill: a host that makes no backups, because another one does,
    has nothing to prove. What is from the future was written while the clock was wrong, and counts for nothing.
    """
    proofs = [event["at"] for event in [status["proven"] or {}, *_events(history, "drill")] if "at" in event]
    proven = max((proof for proof in proofs if epoch(proof) <= at), default=None)
    since = epoch(proven) if proven else 0.0
    made = [epoch(event["at"]) for event in _events(history, "backup")]
    waiting = min((begun for begun in made if since < begun <= at), default=at)
    if overdue is None or at - waiting <= overdue:
        return []
    last = "the last proven restore is of %s" % proven if proven else "no backup was proven restorable here yet"
    return ["%s, and one that was made at %s waits for its drill since" % (last, timestamp(waiting))]


def _events(history: Sequence[Mapping[str, Any]], kind: str) -> list[Mapping[str, Any]]:
    return [event for event in history if event.get("event") == kind]


class Records:
    """The two files, in the state directory."""

    def __init__(self, state: Path) -> None:
        """Keep them there."""
        self._state = state

    def status(self) -> dict[str, Any]:
        """How things are. A file that is damaged counts as none: backups tell for themselves what they are."""
        try:
            document = json.loads((self._state / STATUS).read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            document = {}
        known = document if isinstance(document, dict) and document.get("schema") == _EMPTY["schema"] else {}
        return {**json.loads(json.dumps(_EMPTY)), **known}

    @contextlib.contextmanager
    def changing(self) -> Iterator[dict[str, Any]]:
        """Change the status: what is done to the dictionary is written at the end of the block, in one step."""
        with files.locked(self._state / ".records.lock"):
            status = self.status()
            yield status
            files.write(self._state / STATUS, files.render(status), 0o644)

    def tell(self, event: str, **details: Any) -> None:
        """Add a line to the history."""
        line = json.dumps({"at": now(), "event": event, **details}, sort_keys=True, ensure_ascii=False)
        with files.locked(self._state / ".records.lock"):
            path = self._state / HISTORY
            with path.open("a", encoding="utf-8") as stream:
                stream.write(line + "\n")
            self._shorten(path)

    def history(self) -> list[dict[str, Any]]:
        """The events, oldest first. A line that a crash cut is left out."""
        events = []
        with contextlib.suppress(FileNotFoundError):
            for line in (self._state / HISTORY).read_text(encoding="utf-8").splitlines():
                with contextlib.suppress(ValueError):
                    events.append(json.loads(line))
        return events

    @staticmethod
    def _shorten(path: Path) -> None:
        lines = path.read_bytes().splitlines(keepends=True)
        # Not at each event: a file is written anew once it has grown by a tenth.
        if len(lines) > _KEPT_EVENTS * 1.1:
            files.write(path, b"".join(lines[-_KEPT_EVENTS:]), 0o644)
