"""Who may be restarted when."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from pathlib import Path
from typing import Self

import pytest

from kubeproof.core import waiting
from kubeproof.core.amounts import at_once
from kubeproof.core.errors import KubeproofError
from kubeproof.install.rolling import Halted, Orphaned, Rolling, Stuck, Turns, this_run

# Longer than any test.
LIMIT = 60.0


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
        with turns.turn(f"host{number}", limit, LIMIT):
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
    with turns.turn("cp1", 1, LIMIT):
        turns.halt("cp1", "etcd.service has failed")
    with (
        pytest.raises(Halted, match=r"not restarted on cp2.*on cp1 it did not become healthy"),
        turns.turn("cp2", 1, LIMIT),
    ):
        pytest.fail("it had its turn")


def test_the_one_that_failed_may_be_put_back(tmp_path: Path) -> None:
    turns = Turns(tmp_path, "etcd.service", "run")
    with turns.turn("cp1", 1, LIMIT):
        turns.halt("cp1", "etcd.service has failed")
    with turns.turn("cp1", 1, LIMIT):
        pass
    with pytest.raises(Halted), turns.turn("cp2", 1, LIMIT):
        pytest.fail("it had its turn")


class TestAfterARunThatFailed:
    """Running again must not break one more host each time."""

    @pytest.fixture
    def today(self, tmp_path: Path) -> Turns:
        Turns(tmp_path, "kubelet.service", "yesterday").halt("w1", "not ready")
        return Turns(tmp_path, "kubelet.service", "today", ["w1", "w2"], forks=2)

    def test_nobody_goes_before_that_host_is_well(self, today: Turns) -> None:
        with Fleet(today, ["w2"], 1) as fleet:
            assert not fleet.more_than(0)
            with today.turn("w1", 1, LIMIT):
                pass
            assert not fleet.more_than(0), "it has had its turn, and nobody has said that it is well"
            today.well("w1")
            assert fleet.reaches(1)

    def test_nor_after_it_has_failed_again(self, today: Turns) -> None:
        today.halt("w1", "not ready")
        with pytest.raises(Halted, match="on w1 it did not become healthy"), today.turn("w2", 1, LIMIT):
            pytest.fail("it had its turn")

    def test_one_that_does_not_come_is_not_waited_for_for_ever(self, today: Turns) -> None:
        with pytest.raises(Halted, match=r"in an earlier run.*on w1.*--limit w1"), today.turn("w2", 1, 0.2):
            pytest.fail("it had its turn")

    @pytest.mark.usefixtures("today")
    def test_one_that_is_not_in_this_run_is_not_waited_for(self, tmp_path: Path) -> None:
        with Turns(tmp_path, "kubelet.service", "today", ["w2"], forks=2).turn("w2", 1, 0.2):
            pass

    @pytest.mark.usefixtures("today")
    def test_with_too_few_forks_it_might_never_come(self, tmp_path: Path) -> None:
        # And not only once it has been waited for.
        with pytest.raises(Halted, match="--limit w1"):
            Turns(tmp_path, "kubelet.service", "today", ["w2", "w3", "w1"], forks=2)._before("w2")
        assert Turns(tmp_path, "kubelet.service", "today", ["w1", "w2", "w3"], forks=2)._before("w2") == ["w1"]


def test_nobody_goes_once_the_run_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes that work for a run survive it where it was killed, or its terminal was closed."""
    turns = Turns(tmp_path, "kubelet.service", "run")
    monkeypatch.setattr(os, "getppid", lambda: 1)
    with pytest.raises(Orphaned, match="has ended"), turns.turn("w1", 1, LIMIT):
        pytest.fail("it had its turn")


class Fleet:
    """Hosts that all want their turn at once; the test ends each."""

    def __init__(self, turns: Turns, hosts: int | list[str], at_once: int) -> None:
        self.away: list[str] = []
        self._turns = turns
        names = [f"w{number}" for number in range(hosts)] if isinstance(hosts, int) else hosts
        self._ends = {name: threading.Event() for name in names}
        self._threads = [threading.Thread(target=self._restart, args=(host, at_once)) for host in self._ends]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for event in self._ends.values():
            event.set()
        for thread in self._threads:
            thread.join()

    def _restart(self, host: str, at_once: int) -> None:
        with contextlib.suppress(Halted), self._turns.turn(host, at_once, LIMIT):
            self.away.append(host)
            self._ends[host].wait()
            self.away.remove(host)

    def reaches(self, number: int) -> bool:
        return waiting.until(lambda: len(self.away) >= number, 10, pause=0.01) and not self.more_than(number)

    def more_than(self, number: int) -> bool:
        time.sleep(0.3)
        return len(self.away) > number

    def end(self, host: str) -> None:
        self._ends[host].set()


def test_the_first_host_of_a_run_goes_alone(tmp_path: Path) -> None:
    with Turns(tmp_path, "kubelet.service", "yesterday").turn("w0", 3, LIMIT):
        pass
    with Fleet(Turns(tmp_path, "kubelet.service", "today"), 6, 3) as fleet:
        assert fleet.reaches(1)
        fleet.end(fleet.away[0])
        assert fleet.reaches(3)


def test_nobody_else_goes_where_the_first_did_not_come_back(tmp_path: Path) -> None:
    turns = Turns(tmp_path, "kubelet.service", "run")
    with Fleet(turns, 6, 3) as fleet:
        assert fleet.reaches(1)
        turns.halt(fleet.away[0], "NotReady")
        fleet.end(fleet.away[0])
        assert waiting.until(lambda: not fleet.away, 10, pause=0.01)
        assert not fleet.more_than(0)
    # The next run has no proof yet.
    assert not Turns(tmp_path, "kubelet.service", "next")._has_passed


@pytest.mark.parametrize("failure", ["raised", "told"])
def test_one_that_failed_is_no_proof(tmp_path: Path, failure: str) -> None:
    turns = Turns(tmp_path, "kubelet.service", "run")
    with contextlib.suppress(OSError), turns.turn("w0", 2, LIMIT):
        if failure == "raised":
            raise OSError
        turns.halt("w0", "NotReady")
    assert not turns._has_passed


def test_one_that_restarted_nothing_is_no_proof(tmp_path: Path) -> None:
    turns = Turns(tmp_path, "kubelet.service", "run")
    with turns.turn("w0", 2, LIMIT) as turn:
        turn.restarted = False
    assert not turns._has_passed


def test_a_turn_is_not_waited_for_for_ever(tmp_path: Path) -> None:
    turns = Turns(tmp_path, "etcd.service", "run")
    with turns.turn("cp0", 1, LIMIT):
        pass
    with (
        turns.turn("cp1", 1, LIMIT),
        pytest.raises(Stuck, match=r"not restarted on cp2.* within 0 s.* ended: cp1 since \d\d:\d\d:\d\d UTC\."),
        turns.turn("cp2", 1, 0.3),
    ):
        pytest.fail("it had its turn")


def test_as_long_as_turns_end_they_are_waited_for(tmp_path: Path) -> None:
    """Of many hosts the last one waits longer than any turn may take."""
    turns = Turns(tmp_path, "etcd.service", "run")
    came = threading.Event()

    def wait() -> None:
        with turns.turn("last", 1, 1.0):
            came.set()

    with turns.turn("cp1", 1, LIMIT):
        last = threading.Thread(target=wait)
        last.start()
        for number in range(6):
            time.sleep(0.3)
            # Another one has it.
            turns._slot(0).write_text(f"cp{number}")
    last.join()
    assert came.is_set()


def test_who_waits_while_it_fails_does_not_go_either(tmp_path: Path) -> None:
    turns = Turns(tmp_path, "etcd.service", "run")
    outcome: list[str] = []

    def wait() -> None:
        try:
            with turns.turn("cp2", 1, LIMIT):
                outcome.append("went")
        except Halted:
            outcome.append("halted")

    with turns.turn("cp1", 1, LIMIT):
        waiting = threading.Thread(target=wait)
        waiting.start()
        time.sleep(0.2)
        turns.halt("cp1", "")
    waiting.join()
    assert outcome == ["halted"]


def test_another_run_and_another_unit_go(tmp_path: Path) -> None:
    Turns(tmp_path, "etcd.service", "yesterday").halt("cp1", "")
    with (
        Turns(tmp_path, "etcd.service", "today").turn("cp2", 1, LIMIT),
        Turns(tmp_path, "x.service", "yesterday").turn("a", 1, LIMIT),
    ):
        pass


def test_a_run_is_known_by_its_process() -> None:
    assert this_run() == this_run()
