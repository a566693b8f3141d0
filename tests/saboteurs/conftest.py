"""How saboteurs are run: which ones, against which cluster, and what is shown and kept of it."""

from __future__ import annotations

import dataclasses
import datetime
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests import disposable_cluster
from tests.saboteurs.framework import mutations, registry, snapshot
from tests.saboteurs.framework.registry import Saboteur
from tests.saboteurs.framework.snapshot import Snapshot
from tests.saboteurs.framework.trial import Trial

from kubeproof.core import paths
from kubeproof.core.errors import KubeproofError
from kubeproof.core.process import interrupt_when_ended
from kubeproof.settings import inventory
from kubeproof.verify.engine import claims, results
from kubeproof.verify.engine.claims import Catalogue
from kubeproof.verify.observe.cluster import Cluster

REPORT = Path("reports") / "saboteurs.json"
"""In the inventory's state directory."""
_SCHEMA = "kubeproof.saboteurs/1"
_STARTED = pytest.StashKey[datetime.datetime]()
_TRIALS = pytest.StashKey[list[Trial]]()
_CHOSEN = pytest.StashKey[tuple[Saboteur, ...]]()

described = disposable_cluster.described
cluster = disposable_cluster.cluster


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("kubeproof", "saboteurs")
    disposable_cluster.add_options(group, paths.DEFAULT_INVENTORY, "the local one")
    group.addoption("--only", action="append", default=[], metavar="SABOTEUR|CLAIM", help="only these; may be repeated")
    group.addoption("--quick", action="store_true", help="the short list that every run of `kubeproof test` includes")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_STARTED] = datetime.datetime.now(datetime.UTC)
    config.stash[_TRIALS] = []
    try:
        config.stash[_CHOSEN] = registry.select(
            registry.load(), config.getoption("only"), quick=config.getoption("quick")
        )
    except KubeproofError as error:
        raise pytest.UsageError(str(error)) from None
    interrupt_when_ended()
    config.option.verbose = config.option.verbose or -1


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "saboteur" in metafunc.fixturenames:
        chosen = metafunc.config.stash[_CHOSEN]
        metafunc.parametrize("saboteur", chosen, ids=[saboteur.name for saboteur in chosen])


@pytest.fixture(scope="session")
def before(cluster: Cluster) -> Snapshot:
    """The cluster as it has to be after each saboteur."""
    mutations.remove_leftovers(cluster)
    return snapshot.take(cluster)


@pytest.fixture(scope="session")
def catalogue() -> Catalogue:
    """All claims."""
    return claims.load()


@pytest.fixture
def trial(saboteur: Saboteur, pytestconfig: pytest.Config) -> Trial:
    """What becomes of a saboteur, kept for the report."""
    made = Trial(saboteur)
    pytestconfig.stash[_TRIALS].append(made)
    return made


def pytest_report_teststatus(report: pytest.TestReport) -> tuple[str, str, str] | None:
    if report.when == "call" or report.outcome != "passed":
        return ("error" if report.when != "call" and report.failed else report.outcome), "", ""
    return None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Show a line for each saboteur when it is over."""
    started = time.monotonic()
    try:
        yield
    finally:
        _show(item, time.monotonic() - started)


def _show(item: pytest.Item, seconds: float) -> None:
    reporter: Any = item.config.pluginmanager.get_plugin("terminalreporter")
    trials = item.config.stash[_TRIALS]
    if not reporter or not trials:
        return
    trial = trials[-1]
    if trial.left_out:
        reporter.ensure_newline()
        reporter.write_line(
            f"  · {len(trials):>2}/{len(item.session.items)} {trial.saboteur.name:<34} {trial.left_out}"
        )
        return
    steps = ", ".join(f"{step} {took:.1f}" for step, took in trial.seconds.items())
    caught = trial.caught and "proven" in trial.seconds
    number, total = len(trials), len(item.session.items)
    reporter.ensure_newline()
    reporter.write(f"  {'✔' if caught else '✘'} ", green=caught, red=not caught, bold=True)
    reporter.write_line(
        f"{number:>2}/{total} {trial.saboteur.name:<34} {', '.join(trial.saboteur.claims):<40} "
        f"{seconds:5.1f} s ({steps})"
    )
    for complaint in trial.complaints:
        reporter.write_line(f"       {complaint}")


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Count, and keep what was seen."""
    trials = config.stash[_TRIALS]
    if not trials:
        return
    document = _document(config, trials)
    path = inventory.find_state(config.getoption("inventory")) / REPORT
    results.write(document, path)
    counts = document["counts"]
    terminalreporter.write_line("")
    terminalreporter.write_line(
        f"{counts['caught']} of {counts['saboteurs']} saboteurs caught in {document['seconds']:.0f} s; they made "
        f"{counts['claims refuted and proven again']} of {counts['claims with tests']} claims false, "
        "and all of these were proven again after the repair"
    )
    unmoved = document["tests not seen failing"]
    if unmoved and not config.getoption("quick") and not config.getoption("only"):
        terminalreporter.write_line(f"Tests that no saboteur made fail: {', '.join(unmoved)}")
    terminalreporter.write_line(f"Report: {path}")


def _document(config: pytest.Config, trials: Sequence[Trial]) -> dict[str, Any]:
    started = config.stash[_STARTED]
    left_out = {trial.saboteur.name: trial.left_out for trial in trials if trial.left_out}
    trials = [trial for trial in trials if not trial.left_out]
    tested = [claim.id for claim in claims.load().claims if not claim.untested]
    caught = [trial for trial in trials if trial.caught and "proven" in trial.seconds]
    seen = {claim for trial in caught for claim in trial.saboteur.claims}
    findings = [found for trial in trials for found in trial.found.values()]
    tests = {test for found in findings for test in found.tests}
    failed = {test for found in findings for test in found.failed}
    return {
        "schema": _SCHEMA,
        "started": started.isoformat(timespec="seconds"),
        "seconds": round((datetime.datetime.now(datetime.UTC) - started).total_seconds(), 1),
        "quick": config.getoption("quick"),
        "only": config.getoption("only"),
        "counts": {
            "claims with tests": len(tested),
            "claims refuted and proven again": len(seen),
            "saboteurs": len(trials),
            "caught": len(caught),
            "tests": len(tests),
            "tests seen failing": len(failed),
        },
        "left out": left_out,
        "claims not made false": sorted(set(tested) - seen),
        "tests not seen failing": sorted(tests - failed),
        "saboteurs": [_entry(trial) for trial in trials],
    }


def _entry(trial: Trial) -> dict[str, Any]:
    entry = {key: value for key, value in dataclasses.asdict(trial.saboteur).items() if key != "breaking"}
    return entry | {
        "caught": trial.caught and "proven" in trial.seconds,
        "complaints": trial.complaints,
        "found": {claim: dataclasses.asdict(found) for claim, found in trial.found.items()},
        "seconds": trial.seconds,
    }
