"""What runs of upstream's tests have shown."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.upstream import e2e, results
from tests.upstream.results import Excuse, Judgement, Outcome, State

from kubeproof.core.errors import KubeproofError

NETPOL = "[sig-network] Netpol NetworkPolicy between server and client"
SCTP = "[sig-network] Netpol [Feature:SCTPConnectivity] [LinuxOnly] NetworkPolicy between server and client using SCTP"
OTHER = "[sig-node] Pods should be another matter"
# As Ginkgo 2.32 writes it, with upstream's settings (test/e2e/framework/internal/junit).
REPORT = f"""\
<?xml version="1.0" encoding="UTF-8"?>
<testsuites tests="8" disabled="3" errors="0" failures="3" time="90.5">
  <testsuite name="Kubernetes e2e suite" package="/" tests="8" disabled="0" skipped="3" errors="0" failures="3">
    <properties><property name="SuiteSucceeded" value="false"></property></properties>
    <testcase name="[SynchronizedBeforeSuite]" classname="Kubernetes e2e suite" status="passed" time="0.1"></testcase>
    <testcase name="[It] {NETPOL} should allow all" classname="Kubernetes e2e suite" status="passed" time="21.4">
    </testcase>
    <testcase name="[It] {NETPOL} should deny" classname="Kubernetes e2e suite" status="failed" time="30">
      <failure message="" type="failed">[FAILED] Had 1 wrong results in reachability matrix
In [It] at: policy.go:80</failure>
    </testcase>
    <testcase name="[It] {NETPOL} should stop" classname="Kubernetes e2e suite" status="interrupted" time="2">
      <error type="interrupted">[INTERRUPTED] by User</error>
    </testcase>
    <testcase name="[It] {SCTP} should deny" classname="Kubernetes e2e suite" status="failed" time="37">
      <failure type="failed">no SCTP</failure>
    </testcase>
    <testcase name="[It] {NETPOL} should skip itself" classname="Kubernetes e2e suite" status="skipped" time="0">
      <skipped message="skipped - no IPv6 here"></skipped>
    </testcase>
    <testcase name="[It] {NETPOL} should come later" classname="Kubernetes e2e suite" status="skipped" time="0">
      <skipped message="skipped"></skipped>
    </testcase>
    <testcase name="[It] {OTHER}" status="skipped" time="0">
      <skipped message="skipped"></skipped>
    </testcase>
    <testcase name="[ReportAfterSuite] a report" classname="Kubernetes e2e suite" status="panicked" time="0">
      <error type="panicked">no space</error>
    </testcase>
  </testsuite>
</testsuites>
"""
NO_SCTP = Excuse("[sig-network] Netpol [Feature:SCTPConnectivity]", "no SCTP sockets")


@pytest.fixture
def report(tmp_path: Path) -> Path:
    path = tmp_path / "junit_01.xml"
    path.write_text(REPORT)
    return path


def judged(*outcomes: tuple[str, State], excuses: tuple[Excuse, ...] = (), steps: tuple[str, ...] = ()) -> Judgement:
    failed = tuple(Outcome(name, State.FAILED) for name in steps)
    return Judgement(tuple(Outcome(name, state) for name, state in outcomes), failed, excuses)


def test_the_tests_of_a_report_and_failed_steps(report: Path) -> None:
    outcomes, steps = results.parse(report)
    assert [(each.name, each.state, each.seconds) for each in outcomes] == [
        (f"{NETPOL} should allow all", State.PASSED, 21.4),
        (f"{NETPOL} should deny", State.FAILED, 30),
        (f"{NETPOL} should stop", State.FAILED, 2),
        (f"{SCTP} should deny", State.FAILED, 37),
        (f"{NETPOL} should skip itself", State.SKIPPED, 0),
        (f"{NETPOL} should come later", State.NOT_RUN, 0),
        (OTHER, State.NOT_RUN, 0),
    ]
    assert outcomes[1].message.startswith("[FAILED] Had 1 wrong results")
    assert outcomes[2].message == "[INTERRUPTED] by User"
    assert outcomes[4].message == "no IPv6 here"
    assert [each.name for each in steps] == ["[ReportAfterSuite] a report"]


@pytest.mark.parametrize("text", [None, "", "<testsuites>"])
def test_a_run_that_left_no_report_is_no_result(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "junit_01.xml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(KubeproofError, match="left no report"):
        results.parse(path)


def test_a_rehearsal_selects(report: Path) -> None:
    assert results.selected(report) == [f"{NETPOL} should allow all"]


def test_what_was_selected_and_is_not_in_the_report_was_not_run(report: Path) -> None:
    judgement = results.judge(report, [f"{NETPOL} should allow all", f"{NETPOL} missing"], ())
    assert [each.state for each in judgement.outcomes] == [State.PASSED, State.NOT_RUN]
    assert f"not run: {NETPOL} missing" in judgement.problems


def test_all_passed() -> None:
    assert judged((NETPOL, State.PASSED)).problems == []


def test_skipping_itself_is_no_problem() -> None:
    assert judged((NETPOL, State.PASSED), (f"{NETPOL} other", State.SKIPPED)).problems == []


@pytest.mark.parametrize(
    ("judgement", "problem"),
    [
        (judged((NETPOL, State.PASSED), ("other", State.FAILED), excuses=()), "failed: other"),
        (judged((NETPOL, State.PASSED), ("other", State.NOT_RUN)), "not run: other"),
        (judged((NETPOL, State.PASSED), steps=("[SynchronizedBeforeSuite]",)), "failed: [SynchronizedBeforeSuite]"),
        (judged((NETPOL, State.PASSED), excuses=(Excuse("gone", "none"),)), "names tests that there are not: gone"),
        (judged((NETPOL, State.SKIPPED)), "no test passed"),
        (judged(), "no test passed"),
    ],
)
def test_what_is_wrong_is_named(judgement: Judgement, problem: str) -> None:
    assert [each for each in judgement.problems if problem in each]
    assert len(judgement.problems) == 1


def test_a_listed_test_may_fail_and_is_reported_if_it_passes() -> None:
    listed = judged(
        (NETPOL, State.PASSED), (f"{SCTP} a", State.FAILED), (f"{SCTP} b", State.PASSED), excuses=(NO_SCTP,)
    )
    assert listed.problems == []
    assert [each.name for each in listed.excused] == [f"{SCTP} a"]
    assert [each.name for each in listed.surprises] == [f"{SCTP} b"]
    assert "PASSED, and exceptions.yml says that it cannot (1)" in results.table(listed)


def test_a_listed_test_that_was_not_run_is_a_problem() -> None:
    assert judged((NETPOL, State.PASSED), (SCTP, State.NOT_RUN), excuses=(NO_SCTP,)).problems == [f"not run: {SCTP}"]


def test_the_table_names_every_test_once(report: Path) -> None:
    names = [each.name for each in results.parse(report)[0] if each.name != OTHER]
    judgement = results.judge(report, names, (NO_SCTP,))
    table = f"{results.table(judgement)}\n"
    assert table.startswith("6 tests: 1 passed, 3 failed, 1 skipped, 1 not run; 1 of those that failed as listed\n")
    assert {table.count(f"  {each.name}\n") for each in judgement.outcomes} == {1}
    for part in (
        "FAILED (3)",
        "NOT RUN (1)",
        "FAILED as listed in exceptions.yml (1)",
        "SKIPPED by the test itself (1)",
    ):
        assert f"\n{part}\n" in table
    assert "            Had 1 wrong" not in table
    assert "            [FAILED] Had 1 wrong results in reachability matrix\n" in table
    assert "            no SCTP sockets\n" in table


def test_the_exceptions_are_of_suites_that_there_are() -> None:
    for excuse in results.exceptions(e2e.NETPOL.name):
        assert excuse.names.startswith("[sig-network] Netpol")
        assert excuse.reason
    assert results.exceptions("another") == ()
