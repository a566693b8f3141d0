"""From a report's document to its page."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from markupsafe import Markup

from kubeproof.verify.report.html import backups, pictures, way
from kubeproof.verify.report.html.environment import styles, template
from kubeproof.verify.report.html.facts import fact
from kubeproof.verify.report.html.view import Page, page_of
from kubeproof.verify.report.html.words import OUTCOMES, SIGNS, VERDICTS

_HERE = Path(__file__).parent


def render(document: Mapping[str, Any]) -> str:
    """The page of a report: one file that loads nothing. Raises KubeproofError for what is no report."""
    page = page_of(document)
    names = {"SIGNS": SIGNS, "VERDICTS": VERDICTS, "OUTCOMES": OUTCOMES}
    script = (_HERE / "page.js").read_text()
    return template(_HERE, {"fact": fact}, names).render(
        page=page,
        **_pictures(document, page),
        css=styles(),
        script=Markup(script),  # noqa: S704 - ours
        # Only this script runs here, whatever a message or an observation may contain.
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def _pictures(document: Mapping[str, Any], page: Page) -> dict[str, Any]:
    latencies = document.get("latencies") or {}
    return {
        "way": way.way(document.get("pod_way")),
        "verbs": pictures.verbs(latencies.get("api") or []),
        "pod_starts": pictures.pod_starts(latencies.get("pod_start") or []),
        "rules": pictures.rules(latencies.get("service_rules") or []),
        "shares": _first(pictures.shares(test.evidence) for claim in page.claims for test in claim.tests),
        "backups": backups.history(document.get("backups")),
        "certificates": pictures.certificates(document.get("certificates") or []),
    }


def _first(charts: Iterable[pictures.Chart | None]) -> pictures.Chart | None:
    return next((chart for chart in charts if chart), None)
