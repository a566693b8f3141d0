"""What came of the last runs on this host: ``status.json``, and metrics for node_exporter's textfile collector."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional

from kubeproof.install.etcd_defragment.job import Done

STATUS = "status.json"
METRICS = "metrics/etcd_defragment.prom"
_SCHEMA = 1


def note(directory: Path, done: Optional[Done], problem: str, now: Optional[float] = None) -> None:
    """Note a run, of which ``done`` came or else ``problem``. Raises OSError."""
    at = int(time.time() if now is None else now)
    status = read(directory)
    status["attempt"] = {"at": at, "ok": not problem, "text": problem or (done.text if done else "")}
    status["failures"] += bool(problem)
    if done is not None and done.defragmented:
        status["last"] = {"at": at, "seconds": round(done.seconds, 3), "before": done.before, "after": done.after}
    write(directory / STATUS, json.dumps(status, indent=2, sort_keys=True) + "\n")
    write(directory / METRICS, metrics(status))


def read(directory: Path) -> Dict[str, Any]:
    """What is noted; nothing if that is damaged."""
    empty: Dict[str, Any] = {"schema": _SCHEMA, "attempt": None, "failures": 0, "last": None}
    try:
        document = json.loads((directory / STATUS).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return empty
    known = isinstance(document, dict) and document.get("schema") == _SCHEMA
    return {**empty, **document} if known else empty


def metrics(status: Mapping[str, Any]) -> str:
    """The metrics' text. What has never happened has no value."""
    attempt, last = status["attempt"] or {}, status["last"] or {}
    lines: List[str] = []
    for name, kind, text, value in (
        ("last_attempt_timestamp_seconds", "gauge", "When a run ended last.", attempt.get("at")),
        ("last_attempt_success", "gauge", "Whether the last run did what it had to, or had nothing to do.",
         int(bool(attempt.get("ok")))),
        ("failures_total", "counter", "Runs that failed.", status["failures"]),
        ("last_timestamp_seconds", "gauge", "When the member was defragmented last.", last.get("at")),
        ("last_duration_seconds", "gauge", "For how long it responded to nobody then.", last.get("seconds")),
        ("last_before_bytes", "gauge", "Size of the database before it.", last.get("before")),
        ("last_after_bytes", "gauge", "Size of the database after it.", last.get("after")),
    ):  # fmt: skip
        if value is not None:
            metric = "etcd_defragment_" + name
            lines += ["# HELP %s %s" % (metric, text), "# TYPE %s %s" % (metric, kind), "%s %s" % (metric, value)]
    return "\n".join(lines) + "\n"


def write(path: Path, text: str) -> None:
    """Replace a file in one step. All may read it: node_exporter is another user."""
    path.parent.mkdir(exist_ok=True)
    path.parent.chmod(0o755)
    temporary = path.with_name("." + path.name + ".new")
    temporary.write_text(text, encoding="utf-8")
    temporary.chmod(0o644)
    temporary.replace(path)
