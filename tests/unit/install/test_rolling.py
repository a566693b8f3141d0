"""Who may be restarted when."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from kubeproof.core.amounts import at_once
from kubeproof.core.errors import KubeproofError
from kubeproof.install.rolling import Halted, Rolling, Turns, this_run


@pytest.mark.parametrize(
    ("told", "hosts", "expected"),
    [(1, 3, 1), (2, 3, 2), (5, 3, 3), ("25%", 3, 1), ("25%", 8, 2), ("100%", 4, 4), ("1%", 50, 1), (1, 0, 1)],
)
def test_a_number_or_a_share_of_hosts(told: int | str, hosts: int, expected: int) -> None:
    assert at_once(told, hosts) == expected


@pytest.mark.parametrize("told", ["0", "-1", "half", "0%", "101%", "", "%"])
def test_what_is_neither_is_refused(told: str) -> None:
    with pytest.raises(KubeproofError, match="neither a number of hosts"):
        at_once(told, 3)


def test_one_host_has_nobody_to_take_turns_with() -> None:
    assert not Rolling.parse({"hosts": ["a"]}).needed
    assert Rolling.parse({"hosts": ["a", "b"]}).needed


def test_an_unknown_argument_is_named() -> None:
    with pytest.raises(KubeproofError, match="throttle"):
        Rolling.parse({"hosts": ["a"], "throttle": 1})


@pytest.mark.parametrize("limit", [1, 2])
def test_only_so_many_at_a_time(tmp_path: Path, limit: int) -> None:
    turns = Turns(tmp_path, "etcd.service", "run")
    away: list[int] = []
    most = 0
    guard = threading.Lock()

    def restart(number: int) -> None:
        nonlocal most
        with turns.turn(f"host{number}", limit):
            with guard:
                away.append(number)
                most = max(most, len(away))
            time.sleep(0.05)
            with guard:
                away.remove(number)

    threads = [threading.Thread(target=restart, args=(number,)) for number in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == limit


def test_nobody_goes_after_one_that_failed(tmp_path: Path) -> None:
    turns = Turns(tmp_path, "etcd.service", "run")
    with turns.turn("cp1", 1):
        turns.halt("cp1", "etcd.service has failed")
    with pytest.raises(Halted, match=r"not restarted on cp2.*on cp1 it did not become healthy"), turns.turn("cp2", 1):
        pytest.fail("it had its turn")


def test_who_waits_while_it_fails_does_not_go_either(tmp_path: Path) -> None:
    turns = Turns(tmp_path, "etcd.service", "run")
    outcome: list[str] = []

    def wait() -> None:
        try:
            with turns.turn("cp2", 1):
                outcome.append("went")
        except Halted:
            outcome.append("halted")

    with turns.turn("cp1", 1):
        waiting = threading.Thread(target=wait)
        waiting.start()
        time.sleep(0.2)
        turns.halt("cp1", "")
    waiting.join()
    assert outcome == ["halted"]


def test_another_run_and_another_unit_go(tmp_path: Path) -> None:
    Turns(tmp_path, "etcd.service", "yesterday").halt("cp1", "")
    with (
        Turns(tmp_path, "etcd.service", "today").turn("cp2", 1),
        Turns(tmp_path, "x.service", "yesterday").turn("a", 1),
    ):
        pass


def test_a_run_is_known_by_its_process() -> None:
    assert this_run() == this_run()
