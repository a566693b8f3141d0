"""What became of the backups of etcd, from what its hosts have written down: the report's part on them."""

from __future__ import annotations

import calendar
import functools
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kubeproof.verify.etcd_backups import survey as backups
from kubeproof.verify.etcd_backups.survey import Survey
from kubeproof.verify.observe.cluster import Cluster
from kubeproof.verify.observe.hosts import on_hosts

_MOST_BACKUPS = 1000
_MOST_FAILURES = 100
# What a backup's manifest and an event of the history both say of it.
_FIGURES = ("revision", "keys", "size", "trigger", "quorum")


def report(cluster: Cluster) -> tuple[dict[str, Any] | None, list[str]]:
    """The report's part, none if kubeproof makes no backups here, and what there is to be warned of."""
    try:
        surveys = on_hosts(cluster.etcd_hosts, functools.partial(backups.survey, what="history"))
    except Exception as error:  # noqa: BLE001 - what backups have been is not worth the verification
        return None, [f"what became of the backups could not be looked at: {error}"]
    found = history([survey for survey in surveys.values() if survey])
    return found, warnings(found) if found else []


def history(surveys: Sequence[Survey]) -> dict[str, Any] | None:
    """All backups that are there or that a host remembers, newest first, with proofs, copies and failures."""
    if not surveys:
        return None
    copies = _copies(surveys)
    made = [entry for survey in surveys for entry in _made(survey, copies)]
    failures = [entry for survey in surveys for entry in _failures(survey)]
    limits = [survey.settings.get("drill", {}).get("overdue") for survey in surveys]
    proofs = [_proof(survey) for survey in surveys if survey.proven]
    return {
        "interval_seconds": max(survey.settings["interval"] for survey in surveys),
        "allowed_seconds": max(survey.settings["overdue"] for survey in surveys),
        "proof_allowed_seconds": max(limits) if all(limits) else None,
        "proven": max(proofs, key=lambda proof: str(proof["at"]), default=None),
        "targets": [entry for survey in surveys for entry in _targets(survey)],
        "made": sorted(made, key=lambda entry: str(entry["name"]), reverse=True)[:_MOST_BACKUPS],
        "failures": sorted(failures, key=lambda entry: str(entry["at"]), reverse=True)[:_MOST_FAILURES],
    }


def warnings(found: Mapping[str, Any]) -> list[str]:
    """Copies that do not get to where they should be: no claim is about them."""
    return [
        f"{target['host']}: the last copy of backups to {target['name']} failed at {target['at']}: {target['reason']}"
        for target in found["targets"]
        if not target["ok"]
    ]


def line(found: Mapping[str, Any]) -> str:
    """The last success and the last proven restore, in a line."""
    kept = [entry for entry in found["made"] if entry["kept"] and not entry["problem"]]
    last = f"last backup {kept[0]['at']} on {kept[0]['host']}" if kept else "there is no backup"
    proven = found["proven"]
    proof = f"{proven['name']} proven restorable {proven['at']}" if proven else "none proven restorable yet"
    return f"{last}; {proof}"


def _events(survey: Survey, *kinds: str) -> Iterator[Mapping[str, Any]]:
    events: Sequence[Mapping[str, Any]] = survey.found.get("history") or ()
    return (event for event in events if event.get("event") in kinds and _epoch(event.get("at")) is not None)


def _made(survey: Survey, copies: Mapping[str, set[str]]) -> Iterator[dict[str, Any]]:
    """The backups on a host, and those that it remembers and has removed."""
    there: Mapping[str, Mapping[str, Any] | None] = survey.found["backups"]
    gone = {str(event["name"]): event for event in _events(survey, "backup")}
    proofs = {str(event["name"]): event["at"] for event in _events(survey, "drill")}
    if survey.proven:
        proofs[survey.proven["name"]] = survey.proven["at"]
    for name in sorted(gone.keys() | there.keys()):
        about = there.get(name) or gone.get(name) or {}
        begun = _begun(name)
        if begun is None:
            continue
        yield {
            "name": name,
            "host": survey.host,
            "at": _moment(begun),
            "age_seconds": _age(survey, begun),
            **{figure: about.get(figure) for figure in _FIGURES},
            "kept": name in there,
            "problem": "its manifest cannot be read" if name in there and not there[name] else "",
            "proven": proofs.get(name),
            "copies": sorted(target for target, names in copies.items() if name in names),
        }


def _proof(survey: Survey) -> dict[str, Any]:
    """The last proven restore on a host."""
    name, at = survey.proven["name"], survey.proven["at"]
    return {"name": name, "host": survey.host, "at": at, "age_seconds": _age(survey, _epoch(at) or 0.0)}


def _age(survey: Survey, at: float) -> float:
    """How long something is ago by the clock of the host that wrote it down."""
    return round(float(survey.found["now"]) - at, 1)


def _copies(surveys: Sequence[Survey]) -> dict[str, set[str]]:
    """Which backups each target has, by what was sent to it and removed from it, whichever host did that."""
    events = [event for survey in surveys for event in _events(survey, "copy")]
    found: dict[str, set[str]] = {}
    for event in sorted(events, key=lambda event: str(event["at"])):
        names = found.setdefault(str(event["target"]), set())
        names |= set(event.get("sent") or ())
        names -= set(event.get("removed") or ())
    for survey in surveys:
        for name, target in _known_targets(survey).items():
            found.setdefault(name, set()).update(filter(None, [target.get("newest")]))
    return found


def _targets(survey: Survey) -> Iterator[dict[str, Any]]:
    for name, target in sorted(_known_targets(survey).items()):
        told = {field: target.get(field) for field in ("at", "last_success", "newest", "copies", "bytes", "reason")}
        yield {"name": name, "host": survey.host, "ok": bool(target.get("ok")), **told}


def _known_targets(survey: Survey) -> Mapping[str, Mapping[str, Any]]:
    return (survey.found["records"] or {}).get("targets") or {}


def _failures(survey: Survey) -> Iterator[dict[str, Any]]:
    """Jobs that failed. Each target that a copy failed at tells for itself why."""
    for event in _events(survey, "failure", "copy"):
        job = str(event.get("job", "copy"))
        if event.get("ok") or (event["event"] == "failure" and job == "copy"):
            continue
        yield {
            "at": event["at"],
            "age_seconds": _age(survey, _epoch(event["at"]) or 0.0),
            "host": survey.host,
            "job": job,
            "target": event.get("target"),
            "reason": str(event.get("reason", "")),
        }


def _begun(name: str) -> float | None:
    try:
        return float(calendar.timegm(time.strptime(name[:16], "%Y%m%dT%H%M%SZ")))
    except ValueError:
        return None


def _epoch(text: Any) -> float | None:
    try:
        return float(calendar.timegm(time.strptime(str(text), "%Y-%m-%dT%H:%M:%SZ")))
    except ValueError:
        return None


def _moment(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
