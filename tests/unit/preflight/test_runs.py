"""Runs that hosts know of: which are in the way, and how that is reported."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

import pytest
from tests.unit.preflight.builders import host

from kubeproof.core.active_run import EXPIRES, ActiveRun, Machine, Process
from kubeproof.preflight.findings import Finding
from kubeproof.preflight.model import Host
from kubeproof.preflight.runs import check_runs

HERE = ActiveRun.new("ansible-playbook playbooks/cluster.yml", Process.of(os.getpid()))
KILLED = replace(HERE, processes=(Process(os.getpid(), "1"),))
AWAY = replace(HERE, id="away", user="root", began=1000000000.0, machine=Machine("ctl2", "b" * 32, "boot", "pid:[1]"))


def known(run: ActiveRun, age: float = 30.0) -> dict[str, Any]:
    return {"id": run.id, "record": run.data(), "age": age}


def findings(*runs: dict[str, Any], active: str | None = "mine") -> list[Finding]:
    return list(check_runs([host(1, runs=list(runs))], active))


def test_one_of_another_controller_is_in_the_way() -> None:
    (finding,) = findings(known(AWAY, age=130))
    assert (finding.id, finding.subject, finding.host, finding.severity) == ("other-run", "away", "settings", "error")
    assert finding.problem == (
        "another run is changing host1: `ansible-playbook playbooks/cluster.yml` of root on ctl2, "
        "since 2001-09-09 01:46:40 UTC, with its last sign of life 2 min ago"
    )
    assert finding.remediation.startswith("Wait until it has ended, on ctl2.")
    assert "free 30 minutes after its last sign of life, or at once with other-run in preflight_ignore" in (
        finding.remediation
    )


def test_one_of_this_machine_is_judged_by_its_processes() -> None:
    (finding,) = findings(known(HERE, age=EXPIRES * 2))
    assert f"process {os.getpid()}, since " in finding.problem
    assert finding.remediation.startswith(f"Wait until it has ended; or end it (kill {os.getpid()})")
    assert findings(known(KILLED, age=0)) == []


@pytest.mark.parametrize("active", [HERE.id, None], ids=["this", "look"])
def test_this_one_is_not_and_none_is_in_the_way_of_a_look(active: str | None) -> None:
    assert findings(known(HERE), active=active) == []


def test_one_that_has_been_silent_for_long_has_ended() -> None:
    assert findings(known(AWAY, age=EXPIRES + 1)) == []


def test_the_last_sign_of_life_on_any_host_counts() -> None:
    hosts = [host(1, runs=[known(AWAY, age=EXPIRES * 3)]), host(2, runs=[known(AWAY, age=10)]), host(3)]
    (finding,) = check_runs(hosts, "mine")
    assert finding.problem.startswith("another run is changing host1, host2: ")
    assert finding.problem.endswith("last sign of life 10 s ago")


def test_what_is_no_record_is_none() -> None:
    assert findings({"id": "x", "record": {"id": "x"}, "age": 1.0}) == []


def test_a_host_without_a_report() -> None:
    assert list(check_runs([Host("host1", frozenset(["etcd"]), "", None, "down", True)], "mine")) == []
