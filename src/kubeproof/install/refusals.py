"""Why a run would be refused, or end: findings of its preflight, and tasks that failed in check mode."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

# How the preflight's own failure begins, which only counts what its findings say.
_COUNTED = "preflight: "


@dataclass(frozen=True)
class Refusal:
    """``host`` is one of the inventory, or ``settings``; ``check`` names the preflight's check, if it is one's."""

    host: str
    problem: str
    remediation: str
    check: str = ""

    def data(self) -> dict[str, str]:
        """As JSON has it."""
        return asdict(self)


def of_run(failures: Iterable[Mapping[str, Any]], findings: Iterable[Mapping[str, Any]]) -> list[Refusal]:
    """The refusals of a run, each once. ``failures``: of its profile; ``findings``: as its preflight kept them."""
    found = [
        Refusal(str(each["host"]), str(each["wrong"]), str(each["mend"]), str(each["id"]))
        for each in findings
        if each["severity"] == "error"
    ]
    of_tasks = (
        Refusal(str(each["host"]), str(each["message"]), str(each.get("hint", "")))
        for each in failures
        if not (found and str(each["message"]).startswith(_COUNTED))
    )
    return list(dict.fromkeys([*found, *of_tasks]))


def findings(reports: Path, since: float) -> Iterator[dict[str, Any]]:
    """Findings that were kept in the state directory's ``reports`` after a moment, in epoch seconds."""
    for path in sorted(reports.glob("preflight-*.json")):
        if path.stat().st_mtime >= since:
            yield from json.loads(path.read_text())["findings"]
