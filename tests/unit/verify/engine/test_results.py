"""From tests' results to a claim's verdict, and to the document that keeps them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest

from kubeproof.core import paths
from kubeproof.verify.engine import results as report
from kubeproof.verify.engine.claims import Catalogue, Claim, Component, Level
from kubeproof.verify.engine.results import Circumstances, Outcome, Results, TestResult, Verdict
from kubeproof.verify.engine.terminal import ClaimDisplay


def claim(claim_id: str, *, level: Level = Level.QUICK, untested: str = "") -> Claim:
    return Claim(claim_id, "part", f"{claim_id} holds.", "It matters.", (1,), level, untested)


def result(claim_id: str, outcome: Outcome, message: str = "", headline: str = "") -> TestResult:
    evidence = {"key": "/registry/x", "revision": 7}
    return TestResult(claim_id, f"test_{claim_id}", outcome, message, headline, evidence, "2026-01-01T00:00:00Z", 0.5)


@pytest.fixture
def results() -> Results:
    claims = (claim("one"), claim("two"), claim("later", untested="it takes a second host"))
    return Results(Catalogue((Component("part", "Part", claims),)))


@pytest.fixture
def circumstances() -> Circumstances:
    return Circumstances("2026-01-01T00:00:00Z", "2026-01-01T00:00:09Z", 9.0, "standard", [], ["hosts.yml"], {})


def verdict_of(results: Results, claim_id: str) -> tuple[Verdict, str]:
    found = next(each for each in results.claims if each.claim.id == claim_id)
    return found.verdict, found.reason


def test_a_claim_is_proven_if_all_its_tests_passed(results: Results) -> None:
    results.tests += [result("one", Outcome.PASSED), result("one", Outcome.PASSED)]
    assert verdict_of(results, "one") == (Verdict.PROVEN, "")


@pytest.mark.parametrize(
    ("worse", "verdict"),
    [
        (Outcome.FAILED, Verdict.REFUTED),
        (Outcome.BLOCKED, Verdict.BLOCKED),
        (Outcome.NOT_OBSERVABLE, Verdict.NOT_PROVEN),
    ],
)
def test_a_claim_is_as_good_as_its_worst_test(results: Results, worse: Outcome, verdict: Verdict) -> None:
    results.tests += [result("one", Outcome.PASSED), result("one", worse, "because")]
    assert verdict_of(results, "one") == (verdict, "because")


def test_a_claim_without_a_test_is_never_proven(results: Results) -> None:
    assert verdict_of(results, "later") == (Verdict.NOT_PROVEN, "it takes a second host")


def test_a_claim_that_was_left_out_says_so(results: Results) -> None:
    results.left_out["two"] = "not asked for"
    assert verdict_of(results, "two") == (Verdict.NOT_PROVEN, "not asked for")


def test_the_cluster_is_proven_if_all_that_can_be_tested_is(results: Results) -> None:
    results.tests += [result("one", Outcome.PASSED), result("two", Outcome.PASSED)]
    assert results.verdict == "proven"


def test_one_refuted_claim_refutes_the_cluster_even_if_others_were_blocked(results: Results) -> None:
    results.tests += [result("one", Outcome.FAILED), result("two", Outcome.BLOCKED)]
    assert results.verdict == "refuted"


def test_a_verification_that_ended_early_has_no_verdict(results: Results) -> None:
    results.tests.append(result("one", Outcome.PASSED))
    assert results.unfinished == ("two",)
    assert results.verdict == "incomplete"


def test_a_claim_of_which_not_all_tests_were_run_is_not_proven(results: Results) -> None:
    results.expected.update(("one", "one", "two"))
    results.tests += [result("one", Outcome.PASSED), result("two", Outcome.PASSED)]
    assert verdict_of(results, "one") == (Verdict.NOT_PROVEN, "the verification ended after 1 of 2 tests")
    assert results.unfinished == ("one",)
    assert results.verdict == "incomplete"


def test_a_claim_that_was_refuted_stays_it_whatever_was_not_run(results: Results) -> None:
    results.expected.update(("one", "one"))
    results.tests.append(result("one", Outcome.FAILED, "gone"))
    assert verdict_of(results, "one") == (Verdict.REFUTED, "gone")


def test_a_verification_that_left_something_behind_has_no_verdict(results: Results) -> None:
    results.tests += [result("one", Outcome.PASSED), result("two", Outcome.PASSED)]
    results.problems.append("namespace x is still there")
    assert results.verdict == "incomplete"


def test_nothing_looked_at_is_nothing_proven(results: Results) -> None:
    results.left_out |= {"one": "not asked for", "two": "not asked for"}
    assert results.verdict == "incomplete"


def test_the_document_is_as_its_schema_says(results: Results, circumstances: Circumstances, tmp_path: Path) -> None:
    results.tests += [result("one", Outcome.PASSED, headline="at revision 7"), result("two", Outcome.FAILED, "gone")]
    report.write(report.document(results, circumstances), tmp_path / "new" / "report.json")
    written: dict[str, Any] = json.loads((tmp_path / "new" / "report.json").read_text())
    schema = json.loads((paths.PROJECT / "docs" / "report.schema.json").read_text())
    jsonschema.validate(written, schema)
    assert written["schema"] == schema["properties"]["schema"]["const"] == report.SCHEMA
    assert written["counts"] == {"proven": 1, "refuted": 1, "blocked": 0, "not-proven": 1}
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["report.json"]


class Lines(list[str]):
    """A terminal that remembers."""

    def write_line(self, line: str, **_markup: bool) -> None:
        self.append(line)


def show(results: Results, circumstances: Circumstances, incoming: list[TestResult]) -> Lines:
    lines = Lines()
    display = ClaimDisplay(results, [each.claim for each in incoming], lines)
    for each in incoming:
        results.tests.append(each)
        display.result(each)
    display.finish(circumstances, {"Report": "report.html", "JSON": "report.json"})
    return lines


def test_a_claim_is_shown_when_its_last_test_is_over(results: Results, circumstances: Circumstances) -> None:
    incoming = [
        result("one", Outcome.PASSED, headline="seen at A"),
        result("one", Outcome.PASSED, headline="seen at B"),
        result("two", Outcome.PASSED, headline="seen"),
    ]
    shown = [line for line in show(results, circumstances, incoming) if "seen" in line]
    assert len(shown) == 2
    assert "seen at A; seen at B" in shown[0]


def test_what_is_wrong_is_shown_with_its_evidence(results: Results, circumstances: Circumstances) -> None:
    incoming = [result("one", Outcome.FAILED, "the key is gone"), result("two", Outcome.PASSED)]
    text = "\n".join(show(results, circumstances, incoming))
    assert "Part: one is refuted\n  one holds.\n  the key is gone\n    key: /registry/x\n    revision: 7" in text
    assert "REFUTED: this cluster is not what it should be" in text
    assert "1 proven, 1 refuted, 0 blocked, 1 not proven here, of 3 claims" in text


def test_what_was_not_proven_is_shown_with_the_reason(results: Results, circumstances: Circumstances) -> None:
    text = "\n".join(show(results, circumstances, [result("one", Outcome.PASSED)]))
    assert "it takes a second host: later" in text
    assert "the verification ended before: two" in text


def test_what_was_not_asked_for_is_not_shown(results: Results, circumstances: Circumstances) -> None:
    results.left_out["two"] = report.NOT_ASKED_FOR
    assert "two" not in "\n".join(show(results, circumstances, [result("one", Outcome.PASSED)]))
