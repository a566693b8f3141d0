"""Why a run would be refused, from findings and from tasks that failed."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from kubeproof.install.refusals import Refusal, findings, of_run
from kubeproof.preflight.findings import Finding, as_data

SWAP = Finding("swap", "swap is on", "swapoff --all", host="w1")
WARNED = Finding("memory", "memory is short", "add some", host="w1", severity="warning")
COUNTED = {"host": "cp1", "role": "preflight", "task": "Check hosts", "message": "preflight: 1 error", "hint": ""}


def failure(host: str, message: str, hint: str = "") -> dict[str, Any]:
    return {"host": host, "role": "etcd", "task": "Install", "message": message, "hint": hint, "path": "x"}


def test_errors_of_the_preflight_are_refusals_in_place_of_their_count() -> None:
    assert of_run([COUNTED], as_data([SWAP, WARNED])) == [Refusal("w1", "swap is on", "swapoff --all", "swap")]


def test_without_findings_the_failure_of_the_preflight_stays() -> None:
    assert of_run([COUNTED], as_data([WARNED])) == [Refusal("cp1", "preflight: 1 error", "")]


def test_tasks_that_fail_are_refusals_each_once() -> None:
    given = [failure("w1", "full", "make room"), failure("w1", "full", "make room"), failure("w2", "full")]
    assert of_run(given, []) == [Refusal("w1", "full", "make room"), Refusal("w2", "full", "")]


def test_findings_of_earlier_runs_do_not_count(tmp_path: Path) -> None:
    assert list(findings(tmp_path / "none", 0)) == []
    for stage, moment in (("settings", 100), ("hosts", 200)):
        path = tmp_path / f"preflight-{stage}.json"
        path.write_text(json.dumps({"stage": stage, "findings": as_data([SWAP])}))
        os.utime(path, (moment, moment))
    assert len(list(findings(tmp_path, 50))) == 2
    assert len(list(findings(tmp_path, 150))) == 1
    assert list(findings(tmp_path, 250)) == []
