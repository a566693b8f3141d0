"""What a rehearsal has said, for people."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

_NAMED = 10
_PHASES = {
    "read": "the target cannot read",
    "write": "the target cannot write",
    "back": "the present version would not read afterwards",
}


def said(lines: Sequence[str]) -> tuple[list[str], dict[str, Any] | None, str]:
    """Steps, the result if there is one, and otherwise what went wrong, of the lines that the program has printed."""
    steps: list[str] = []
    result: dict[str, Any] | None = None
    error = ""
    for line in lines:
        try:
            document = json.loads(line)
        except ValueError:
            continue  # Of a program that was killed while it wrote, or of another one.
        if not isinstance(document, dict):
            continue
        if "step" in document:
            steps.append(str(document["step"]))
        result = document.get("result", result)
        error = str(document.get("error", error))
    return steps, result, error


def summary(result: Mapping[str, Any]) -> str:
    """The result in a line."""
    skipped = f", {len(result['skipped'])} kinds left out" if result["skipped"] else ""
    return (
        f"{result['target']} read {result['objects']} objects of {result['kinds']} kinds of backup {result['backup']}, "
        f"wrote {result['written']}; {result['present']} read them again{skipped}; {result['seconds']:.0f} s"
    )


def problems(result: Mapping[str, Any]) -> str:
    """All that is in the way, by what fails and by kind; empty if nothing is."""
    if not result["count"]:
        return ""
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for each in result["problems"]:
        groups.setdefault((each["phase"], each["resource"]), []).append(each)
    lines = [f"in the rehearsal of {result['target']} {result['count']} objects failed:"]
    for (phase, resource), found in groups.items():
        names = [each["name"].lstrip("/") or "some" for each in found]
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        lines.append(f"- {_PHASES[phase]} {resource}: {', '.join(names[:_NAMED])}{more}: {found[0]['problem']}")
    lines.append("Change or delete these objects and run this again. All are in reports/upgrade-rehearsal.json.")
    return "\n".join(lines)
