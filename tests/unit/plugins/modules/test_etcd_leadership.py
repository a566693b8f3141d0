"""The module that transfers etcd's leadership: which member gets it, and when."""

from __future__ import annotations

import time
from typing import Any

import pytest

import etcd_leadership
from etcd_leadership import LeadershipTransfer, Stays


class Etcd:
    """Three members, as their JSON gateways tell of them."""

    def __init__(self, leader: str = "1") -> None:
        self.leader = leader
        self.logs = {"1": 100, "2": 99, "3": 100}
        self.applied: dict[str, int] = {}
        self.away: set[str] = set()
        self.learners: set[str] = set()
        self.asked: list[str] = []
        self.ignores = False

    def ask(self, url: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
        self.asked.append(path)
        member = url.removeprefix("https://e")
        if member in self.away:
            raise OSError("connection refused")
        if path == "/v3/cluster/member/list":
            members = [
                {"ID": each, "name": f"e{each}", "clientURLs": [f"https://e{each}"]}
                | ({"isLearner": True} if each in self.learners else {})
                for each in self.logs
            ]
            return {"members": members}
        if path == "/v3/maintenance/transfer-leadership":
            assert member == self.leader
            if not self.ignores:
                self.leader = body["targetID"]
            return {}
        assert path == "/v3/maintenance/status"
        index = self.logs[member]
        return {
            "header": {"member_id": member},
            "leader": self.leader,
            "raftIndex": str(index),
            "raftAppliedIndex": str(self.applied.get(member, index)),
        }


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(etcd_leadership, "PATIENCE_SECONDS", 0.1)
    monkeypatch.setattr(etcd_leadership, "POLL_SECONDS", 0.001)


def move(etcd: Etcd) -> tuple[str, bool]:
    return LeadershipTransfer("https://e1", etcd.ask).carry_out()


def test_the_member_that_has_most_of_the_log_leads() -> None:
    etcd = Etcd()
    assert move(etcd) == ("e3", False)
    assert etcd.leader == "3"


def test_the_log_rests_when_all_have_the_same() -> None:
    etcd = Etcd()
    etcd.logs["2"] = 100
    assert move(etcd)[1]


def test_what_is_not_applied_yet_does_not_rest() -> None:
    etcd = Etcd()
    etcd.logs["2"], etcd.applied = 100, {"1": 98, "2": 98, "3": 98}
    assert not move(etcd)[1]


def test_a_log_that_grows_does_not_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    etcd = Etcd()

    def write(_: float) -> None:
        etcd.logs = {member: index + 1 for member, index in etcd.logs.items()}

    etcd.logs["2"] = 100
    monkeypatch.setattr(time, "sleep", write)
    assert not move(etcd)[1]


def test_members_that_are_away_or_learn_are_no_candidates() -> None:
    etcd = Etcd()
    etcd.away, etcd.logs["2"] = {"3"}, 100
    assert move(etcd) == ("e2", True)
    etcd = Etcd()
    etcd.learners = {"3"}
    assert move(etcd)[0] == "e2"


def test_looking_moves_nothing() -> None:
    etcd = Etcd()
    assert {name for _, name, _, _ in LeadershipTransfer("https://e1", etcd.ask).candidates()} == {"e2", "e3"}
    assert "/v3/maintenance/transfer-leadership" not in etcd.asked


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"leader": "2"}, "it is not the leader"),
        ({"away": {"1"}}, "https://e1 does not report its status"),
        ({"away": {"2", "3"}}, "no other member reports its status"),
        ({"ignores": True}, "not all members follow"),
    ],
)
def test_a_lead_that_stays_says_why(wrong: dict[str, Any], told: str) -> None:
    etcd = Etcd()
    for name, value in wrong.items():
        setattr(etcd, name, value)
    with pytest.raises(Stays, match=told):
        move(etcd)
