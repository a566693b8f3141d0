"""From the document of a campaign to its page: one file that loads nothing and runs nothing."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kubeproof.core import files
from kubeproof.core.errors import KubeproofError
from kubeproof.verify.faults.campaign import SCHEMA
from kubeproof.verify.faults.picture import clock, component, picture
from kubeproof.verify.report.html.environment import styles, template
from kubeproof.verify.report.html.words import count

_HERE = Path(__file__).parent
# Looks like the verification's page: its verdicts' colours are meant.
_STYLES = {"survived": "proven", "failed": "refuted"}
_SIGNS = {"survived": "✓", "failed": "✕"}
_SERIES = {"writes": "Writes", "reads": "Consistent reads", "requests": "Requests to the application"}
_COSTS = ("writes_unavailable", "slowest_refusal", "application_unavailable", "recovery")
_THIN_SPACE = "\u202f"


def render(document: Mapping[str, Any]) -> str:
    """The page of a campaign. Raises KubeproofError for what is none."""
    if document.get("schema") != SCHEMA:
        raise KubeproofError(f"this is no result of a campaign of faults: its schema is {document.get('schema')!r}")
    return template(_HERE, {"number": number, "clock": clock}, {"component": component}).render(
        it=document,
        style=_STYLES[document["verdict"]],
        sign=_SIGNS[document["verdict"]],
        sentence=sentence(document),
        picture=picture(document),
        series=_series(document),
        kinds=_kinds(document),
        begin=document["timeline"]["start"],
        css=styles(_HERE / "page.css"),
    )


def write(document: Mapping[str, Any], path: Path) -> None:
    """Write a campaign's page."""
    # What is no character, half of a pair for example, is still shown.
    files.write(path, render(document).encode(errors="backslashreplace"))


def number(value: int) -> str:
    """A number that may be long."""
    return f"{value:,}".replace(",", _THIN_SPACE)


def sentence(document: Mapping[str, Any]) -> str:
    """What happened, in a line."""
    acknowledged = document["counts"].get("write", {}).get("ok", 0)
    lost = number(document["lost"]) if document["lost"] else "none"
    faults = count(len(document["faults"]), "fault")
    said = f"{faults}, {number(acknowledged)} writes acknowledged, {lost} lost"
    others = len(document["violations"]) - document["lost"]
    return f"{said}, {count(others, 'other violation')}" if others else said


def _series(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    line = document["timeline"]
    seconds = len(line["writes"]["ok"]) * line["step"] or 1
    return [
        {"title": title, "ok": sum(line[name]["ok"]), "failed": sum(line[name]["failed"]), "seconds": seconds}
        for name, title in _SERIES.items()
    ]


def _kinds(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Kinds, the most costly first, with what is usual beside the longest."""
    kinds = []
    for kind in document["kinds"]:
        faults = [each for each in document["faults"] if each["kind"] == kind["kind"]]
        costs = {
            key: {"longest": kind[key], "usual": statistics.median(each[key] for each in faults)} for key in _COSTS
        }
        kinds.append({**kind, "costs": costs})
    return sorted(kinds, key=lambda kind: -max(kind[key] for key in _COSTS[:2]))
