"""A recording as numbers per step of time: how much was answered, how much was not, and how slowly."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from kubeproof.verify.faults.checker import Entry

# More than a picture has room for tells nobody anything; a report should stay small after hours, too.
MOST_STEPS = 600
_SERIES = {"write": "writes", "read": "reads", "request": "requests"}


def timeline(entries: Iterable[Entry]) -> dict[str, Any]:
    """Answers by the step in which they came. What is not ``ok`` counts as failed: nobody could rely on it.

    Steps are whole seconds, as few as needed for at most ``MOST_STEPS`` of them; the last one may be over before its
    end. ``slowest_write_ms`` is of the writes that were acknowledged in a step, null if none was.
    """
    asked = [entry for entry in entries if entry["op"] in _SERIES and "outcome" in entry]
    start = min((float(entry["start"]) for entry in asked), default=0.0)
    length = max((float(entry["end"]) for entry in asked), default=start) - start
    step = max(1, math.ceil(length / MOST_STEPS))
    # An answer may come at the very end of the last step.
    steps = max(1, math.ceil(length / step)) if asked else 0
    counts = {name: {"ok": [0] * steps, "failed": [0] * steps} for name in _SERIES.values()}
    slowest: list[float | None] = [None] * steps
    for entry in asked:
        at = min(int((float(entry["end"]) - start) / step), steps - 1)
        good = entry["outcome"] == "ok"
        counts[_SERIES[entry["op"]]]["ok" if good else "failed"][at] += 1
        if good and entry["op"] == "write":
            took = round(1000 * (float(entry["end"]) - float(entry["start"])), 1)
            slowest[at] = max(took, slowest[at] or 0.0)
    return {"start": round(start, 3), "step": step, **counts, "slowest_write_ms": slowest}
