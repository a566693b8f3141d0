"""What a plan says a service waits for: what component_service asks, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from kubeproof.install.gates import OPEN, Gate, check, of_service
from kubeproof.install.rolling import Rolling

READY = {"url": "https://127.0.0.1:6443/readyz", "expect": "ok", "ca": "/ca.crt"}
OTHERS = [{"url": f"https://10.0.0.{host}:6443/readyz", "expect": "ok"} for host in (2, 3)]
NODE = {"url": "https://127.0.0.1:7443/api/v1/nodes/w1", "condition": "Ready"}
ROLLING = Rolling(("cp1", "cp2", "cp3"), 1, tuple(OTHERS), {}, NODE)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (READY, ":6443/readyz says ok"),
        ({"url": "http://[::1]:10256/healthz"}, ":10256/healthz answers"),
        ({"url": "https://localhost:2379/health?exclude=NO", "expect": "\nx\n"}, ":2379/health?exclude=NO says x"),
        # A virtual address is where it is asked.
        ({"url": "https://10.0.0.100:6443/readyz", "expect": "ok"}, "10.0.0.100:6443/readyz says ok"),
        ({"url": "https://[fd00::1]:6443/readyz", "expect": "ok"}, "[fd00::1]:6443/readyz says ok"),
        ({"command": ["/usr/local/bin/ctr", "--address", "/run/c.sock", "version"]}, "ctr version succeeds"),
        ({"command": ["/usr/bin/python3", "-I", "/etc/kubernetes/policy/ready.py"]}, "python3 ready.py succeeds"),
        ({"command": ["/bin/true"]}, "true succeeds"),
        ({}, "it runs"),
    ],
)  # fmt: skip
def test_a_check_in_words(spec: dict[str, Any], words: str) -> None:
    assert check(spec) == words


def test_a_restart_among_others_waits_for_them_for_itself_and_for_what_it_recovers() -> None:
    gate = of_service({"health": READY}, ROLLING, restarts=True, in_turns=True)
    assert gate.before == ("on 2 others: :6443/readyz says ok",)
    assert gate.after == (":6443/readyz says ok", "node Ready again, if it was before")


@pytest.mark.parametrize(
    ("restarts", "in_turns"),
    [
        # Alone, or with cluster_rolling false: the action plugin gives the module neither gate nor recovery.
        (True, False),
        # What is only started or reloaded.
        (False, True),
    ],
)
def test_where_no_host_waits_for_others_only_the_unit_is_waited_for(restarts: bool, in_turns: bool) -> None:
    gate = of_service({"health": READY}, ROLLING, restarts=restarts, in_turns=in_turns)
    assert gate == Gate(after=(":6443/readyz says ok",))


def test_a_static_pod_is_not_asked_what_it_recovers() -> None:
    gate = of_service({"health": READY, "_manifest": {}}, ROLLING, restarts=True, in_turns=True)
    assert gate.after == (":6443/readyz says ok",)


def test_what_is_removed_is_not_waited_for() -> None:
    assert of_service({"state": "absent", "health": READY}, ROLLING, restarts=False, in_turns=True) == OPEN


def test_one_other_and_several_questions() -> None:
    rolling = Rolling(("cp1", "cp2"), 1, (OTHERS[0], {"url": "https://10.0.0.2:2379/health"}))
    gate = of_service({}, rolling, restarts=True, in_turns=True)
    assert gate.before == ("on 1 other: :6443/readyz says ok", "on 1 other: :2379/health answers")


def test_a_gate_as_data_is_read_again() -> None:
    gate = of_service({"health": READY}, ROLLING, restarts=True, in_turns=True)
    assert Gate.parse(gate.data()) == gate
    assert Gate.parse({}) == OPEN
