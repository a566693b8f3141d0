"""A pytest plugin that announces a verification's findings before it cleans up, to whoever has started it.

A saboteur may keep the cluster from cleaning up; who knows the findings can repair it first.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kubeproof.core import files
from kubeproof.verify.engine.plugin import Recorder
from kubeproof.verify.engine.results import ClaimResult, Outcome


def pytest_addoption(parser: pytest.Parser) -> None:
    """Where the findings go."""
    parser.getgroup("kubeproof").addoption("--announce", type=Path, help="where findings go before the clean-up")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Announce all findings when the last test is over: what the session has made goes with that test."""
    path: Path | None = item.config.getoption("announce")
    if nextitem is not None or path is None:
        return
    recorder = next(plugin for plugin in item.config.pluginmanager.get_plugins() if isinstance(plugin, Recorder))
    findings = {result.claim.id: _finding(result) for result in recorder.results.claims if result.tests}
    files.write(path, json.dumps(findings))


def _finding(result: ClaimResult) -> dict[str, object]:
    failed = [test.name for test in result.tests if test.outcome is Outcome.FAILED]
    tests = [test.name for test in result.tests]
    return {"verdict": str(result.verdict), "reason": result.reason, "tests": tests, "failed": failed}
