"""Leadership transfer: several hosts, each in a thread as Ansible has each in a process."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from kubeproof.core.errors import KubeproofError
from kubeproof.install import leadership
from kubeproof.install.barrier import Barrier
from kubeproof.install.leadership import LeadershipTransfer, Moved, Outcome

HOSTS = ("cp1", "cp2", "cp3")


class Cluster:
    """What is true of all hosts, and what happened in which order."""

    def __init__(self, leader: str = "cp2") -> None:
        self.leader = leader
        self.events: list[str] = []
        self.still: set[str] = set()
        self.still_when_moved: set[str] = set()
        self.rested = True
        self.slow = 0.0
        self.stubborn = ""
        self.immovable = ""


class Operations:
    """One host."""

    def __init__(self, cluster: Cluster, host: str) -> None:
        self._cluster = cluster
        self._host = host

    def look(self) -> str:
        return "" if self._host == self._cluster.leader else "it is not the leader"

    def move(self) -> Moved:
        time.sleep(self._cluster.slow)
        if self._cluster.immovable:
            return Moved(why=self._cluster.immovable)
        self._cluster.still_when_moved = set(self._cluster.still)
        self._cluster.events.append("moved")
        self._cluster.leader = "cp3"
        return Moved(to="cp3", rested=self._cluster.rested)

    def processes(self) -> list[int]:
        return [11]

    def hold(self, processes: Sequence[int], seconds: float) -> float:
        assert list(processes) == [11]
        assert seconds > 0
        if self._host == self._cluster.stubborn:
            raise KubeproofError("there is no systemd-run")
        self._cluster.still.add(self._host)
        self._cluster.events.append(f"{self._host} stands still")
        return 100.0

    def release(self, processes: Sequence[int]) -> float:
        assert list(processes) == [11]
        self._cluster.still.discard(self._host)
        self._cluster.events.append(f"{self._host} goes on")
        return 100.5


def run(
    directory: Path,
    cluster: Cluster,
    *,
    leaders: Sequence[str] = ("cp2",),
    holders: Sequence[str] = HOSTS,
    present: Sequence[str] = HOSTS,
    called: Sequence[str] = (),
    seconds: float = 3.0,
    forks: int = 20,
) -> dict[str, Outcome]:
    outcomes: dict[str, Outcome] = {}

    def work(host: str) -> None:
        barrier = Barrier(directory, "transfer", "run")
        part = LeadershipTransfer(
            host,
            Operations(cluster, host),
            barrier,
            leaders=leaders,
            holders=holders,
            seconds=seconds,
            present=[*present, *called],
            forks=forks,
        )
        outcomes[host] = part.carry_out()

    threads = [threading.Thread(target=work, args=(host,)) for host in present]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not cluster.still, "an API server was left standing still"
    return outcomes


def test_all_api_servers_stand_still_while_the_lead_moves(tmp_path: Path) -> None:
    cluster = Cluster()
    outcomes = run(tmp_path, cluster)
    assert cluster.still_when_moved == set(HOSTS)
    assert cluster.events[3] == "moved"
    assert outcomes["cp2"].to == "cp3"
    assert [outcomes[host].held for host in HOSTS] == [0.5] * 3
    assert not any(outcome.warnings for outcome in outcomes.values())


def test_etcd_may_have_hosts_of_its_own(tmp_path: Path) -> None:
    cluster = Cluster("e1")
    outcomes = run(tmp_path, cluster, leaders=["e1"], present=[*HOSTS, "e1"])
    assert cluster.still_when_moved == set(HOSTS)
    assert outcomes["e1"] == Outcome(to="cp3")


def test_nobody_stands_still_for_one_that_leads_no_more(tmp_path: Path) -> None:
    cluster = Cluster("cp1")
    outcomes = run(tmp_path, cluster)
    assert cluster.events == []
    assert outcomes["cp2"] == Outcome(why="it is not the leader")


def test_of_two_that_led_one_hands_over(tmp_path: Path) -> None:
    cluster = Cluster("cp2")
    outcomes = run(tmp_path, cluster, leaders=["cp1", "cp2"])
    assert cluster.events.count("moved") == 1
    assert cluster.still_when_moved == set(HOSTS)
    assert outcomes["cp1"].why == "it is not the leader"


def test_without_seconds_nobody_stands_still(tmp_path: Path) -> None:
    cluster = Cluster()
    outcomes = run(tmp_path, cluster, seconds=0)
    assert cluster.events == ["moved"]
    assert not outcomes["cp2"].warnings


def test_too_few_forks_are_told(tmp_path: Path) -> None:
    cluster = Cluster()
    outcomes = run(tmp_path, cluster, forks=2)
    assert cluster.events == ["moved"]
    assert "takes 3 hosts side by side, and there are 2 forks" in outcomes["cp2"].warnings[0]


def test_hosts_that_a_run_leaves_out_are_told_and_not_waited_for(tmp_path: Path) -> None:
    cluster = Cluster()
    outcomes = run(tmp_path, cluster, present=["cp2"])
    assert cluster.events == ["moved"]
    assert "this run leaves cp1, cp3 out" in outcomes["cp2"].warnings[0]


def test_a_host_that_does_not_come_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leadership, "_READY_SECONDS", 0.1)
    cluster = Cluster()
    outcomes = run(tmp_path, cluster, present=["cp1", "cp2"], called=["cp3"])
    assert cluster.events == ["moved"]
    assert "cp3 did not reach the barrier in time" in outcomes["cp2"].warnings[0]


def test_one_that_can_not_be_held_is_told(tmp_path: Path) -> None:
    cluster = Cluster()
    cluster.stubborn = "cp1"
    outcomes = run(tmp_path, cluster)
    assert cluster.still_when_moved == {"cp2", "cp3"}
    assert "no systemd-run" in outcomes["cp1"].warnings[0]
    assert "the API server on cp1 was not paused" in outcomes["cp2"].warnings[0]
    # The process is resumed all the same.
    assert "cp1 goes on" in cluster.events


def test_a_transfer_that_takes_too_long_is_reported(tmp_path: Path) -> None:
    cluster = Cluster()
    # The others have to be in time, on a busy machine too.
    cluster.slow = 1.5
    outcomes = run(tmp_path, cluster, seconds=1.0)
    assert "longer than etcd_hold_seconds" in outcomes["cp2"].warnings[0]


def test_a_log_that_grows_is_told(tmp_path: Path) -> None:
    cluster = Cluster()
    cluster.rested = False
    assert "something else writes" in run(tmp_path, cluster)["cp2"].warnings[0]


def test_a_leadership_that_stays_is_reported_and_ends_nothing(tmp_path: Path) -> None:
    cluster = Cluster()
    cluster.immovable = "no other member reports its status"
    outcomes = run(tmp_path, cluster)
    assert "leadership stays on cp2 until it restarts: no other member" in outcomes["cp2"].warnings[0]


def test_what_was_said_in_another_run_does_not_count(tmp_path: Path) -> None:
    Barrier(tmp_path, "transfer", "yesterday").say("cp1", "ready")
    today = Barrier(tmp_path, "transfer", "today")
    assert today.said("cp1", "ready") is None
    assert today.await_all("ready", ["cp1"], 0.05) == ["cp1"]
    today.say("cp1", "ready", "here")
    assert today.said("cp1", "ready") == "here"
    assert today.await_all("ready", ["cp1"], 0.05) == []
