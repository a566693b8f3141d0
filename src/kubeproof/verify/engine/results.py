"""The result of a verification: what each claim's tests said, and the document that keeps it."""

from __future__ import annotations

import enum
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kubeproof.core import files
from kubeproof.verify.engine.claims import Catalogue, Claim
from kubeproof.verify.report import html, junit

SCHEMA = "kubeproof.report/1"
DEFAULT_PATH = Path("reports") / "verification.json"
"""In the inventory's state directory."""
NOT_ASKED_FOR = "not asked for"


class Outcome(enum.StrEnum):
    """How one test ended."""

    PASSED = "passed"
    FAILED = "failed"
    BLOCKED = "blocked"
    NOT_OBSERVABLE = "not-observable"


class Verdict(enum.StrEnum):
    """What is known of a claim."""

    PROVEN = "proven"
    REFUTED = "refuted"
    BLOCKED = "blocked"
    NOT_PROVEN = "not-proven"


# Worst first: a claim is as good as its worst test.
_VERDICTS = {
    Outcome.FAILED: Verdict.REFUTED,
    Outcome.BLOCKED: Verdict.BLOCKED,
    Outcome.NOT_OBSERVABLE: Verdict.NOT_PROVEN,
    Outcome.PASSED: Verdict.PROVEN,
}


@dataclass(frozen=True)
class TestResult:
    """One test: how it ended, what it observed, and, unless it passed, why."""

    __test__ = False

    claim: str
    name: str
    outcome: Outcome
    message: str
    headline: str
    evidence: Mapping[str, Any]
    started: str
    seconds: float


@dataclass(frozen=True)
class ClaimResult:
    """One claim: its verdict, and the reason for any but a proven one."""

    claim: Claim
    verdict: Verdict
    reason: str
    tests: tuple[TestResult, ...] = ()

    @property
    def headline(self) -> str:
        """The evidence in one line."""
        return "; ".join(test.headline for test in self.tests if test.headline)


@dataclass
class Results:
    """The results of a verification as they come in. ``left_out``: claims that were not to be looked at, and why.

    ``expected`` has for each claim how many tests are to be run. ``sections`` are what tests add to the report besides
    evidence, by the key that it has there.
    """

    catalogue: Catalogue
    left_out: dict[str, str] = field(default_factory=dict)
    expected: Counter[str] = field(default_factory=Counter)
    tests: list[TestResult] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    sections: dict[str, Any] = field(default_factory=dict)

    def of(self, claim: Claim) -> ClaimResult:
        """What is known of a claim."""
        tests = tuple(test for test in self.tests if test.claim == claim.id)
        if not tests:
            reason = self.left_out.get(claim.id) or claim.untested or "the verification ended before"
            return ClaimResult(claim, Verdict.NOT_PROVEN, reason)
        worst = next(outcome for outcome in _VERDICTS if any(test.outcome is outcome for test in tests))
        # Tests that were blocked by the same thing say the same.
        reason = "; ".join(dict.fromkeys(test.message for test in tests if test.outcome is worst and test.message))
        # What it was refuted by stands, whatever the others would have said.
        if worst in {Outcome.PASSED, Outcome.NOT_OBSERVABLE} and len(tests) < self.expected[claim.id]:
            reason = f"the verification ended after {len(tests)} of {self.expected[claim.id]} tests"
            return ClaimResult(claim, Verdict.NOT_PROVEN, reason, tests)
        return ClaimResult(claim, _VERDICTS[worst], reason, tests)

    @property
    def claims(self) -> tuple[ClaimResult, ...]:
        """All claims, in the order of a report."""
        return tuple(self.of(claim) for claim in self.catalogue.claims)

    @property
    def unfinished(self) -> tuple[str, ...]:
        """Claims that were asked for and could be tested, but were not, or not by all of their tests."""
        tested = Counter(test.claim for test in self.tests)
        return tuple(
            claim.id
            for claim in self.catalogue.claims
            if tested[claim.id] < max(self.expected[claim.id], 1)
            and not claim.untested
            and claim.id not in self.left_out
        )

    @property
    def counts(self) -> Mapping[Verdict, int]:
        """How many claims have which verdict."""
        found = Counter(result.verdict for result in self.claims)
        return {verdict: found[verdict] for verdict in Verdict}

    @property
    def verdict(self) -> str:
        """refuted, if a claim is; incomplete, if one that was asked for could not be looked at; else proven."""
        counts = self.counts
        if counts[Verdict.REFUTED]:
            return "refuted"
        if counts[Verdict.BLOCKED] or self.unfinished or self.problems or not counts[Verdict.PROVEN]:
            return "incomplete"
        return "proven"


@dataclass(frozen=True)
class Circumstances:
    """What a report says besides the claims."""

    started: str
    finished: str
    seconds: float
    level: str
    only: Sequence[str]
    inventories: Sequence[str]
    cluster: Mapping[str, Any]


def document(results: Results, circumstances: Circumstances) -> dict[str, Any]:
    """The report as it is written; docs/report.schema.json describes it."""
    components = results.catalogue.components
    return {
        "schema": SCHEMA,
        "verdict": results.verdict,
        "started": circumstances.started,
        "finished": circumstances.finished,
        "seconds": round(circumstances.seconds, 3),
        "level": circumstances.level,
        "only": list(circumstances.only),
        "inventory": ", ".join(circumstances.inventories),
        "inventories": list(circumstances.inventories),
        "cluster": dict(circumstances.cluster),
        "counts": {verdict.value: count for verdict, count in results.counts.items()},
        "problems": list(results.problems),
        "warnings": [],
        "components": [
            {
                "id": component.id,
                "title": component.title,
                "claims": [_claim(results.of(claim)) for claim in component.claims],
            }
            for component in components
        ],
        **results.sections,
    }


def write(report: Mapping[str, Any], path: Path) -> None:
    """Write a report."""
    _write(path, json.dumps(report, indent=2, ensure_ascii=False) + "\n")


def page_path(path: Path) -> Path:
    """Where the page of the report at ``path`` goes."""
    return path.with_suffix(".html")


def junit_path(path: Path) -> Path:
    """Where its JUnit XML goes."""
    return path.with_suffix(".xml")


def write_page(report: Mapping[str, Any], path: Path) -> None:
    """Write the page of a report."""
    _write(path, html.render(report))


def write_junit(report: Mapping[str, Any], path: Path) -> None:
    """Write a report for CI systems."""
    _write(path, junit.render(report))


def _write(path: Path, text: str) -> None:
    """Write a file in one step: a reader never finds half of one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # What is no character, half of a pair for example, is still shown.
    files.write(path, text.encode(errors="backslashreplace"))


def _claim(result: ClaimResult) -> dict[str, Any]:
    claim = result.claim
    return {
        "id": claim.id,
        "statement": claim.statement,
        "why": claim.why,
        "source": list(claim.source),
        "level": str(claim.level),
        "verdict": result.verdict.value,
        "reason": result.reason,
        "headline": result.headline,
        "tests": [_test(test) for test in result.tests],
    }


def _test(test: TestResult) -> dict[str, Any]:
    return {
        "name": test.name,
        "outcome": test.outcome.value,
        "message": test.message,
        "headline": test.headline,
        "started": test.started,
        "seconds": round(test.seconds, 3),
        "evidence": dict(test.evidence),
    }
