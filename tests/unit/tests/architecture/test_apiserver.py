"""Who is connected to etcd, from what the hosts of both ends say of their sockets."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from tests.architecture import test_apiserver
from tests.unit.tests.architecture import made

from kubeproof.core import waiting
from kubeproof.verify.engine.evidence import Evidence

_LISTENING = """\
LISTEN 0 4096 *:6443 *:* users:(("kube-apiserver",pid=402,fd=5))
LISTEN 0 4096 10.0.0.1:2379 0.0.0.0:* users:(("etcd",pid=353,fd=9))
"""
_AT_ETCD = 'ESTAB 0 0 10.0.0.1:2379 {peer} users:(("etcd",pid=353,fd=12)) ino:5 sk:1'
_API_SERVER = 'ESTAB 0 0 {local} 10.0.0.1:2379 users:(("kube-apiserver",pid=402,fd=7)) ino:6 sk:2'


class _Time:
    """A clock that only sleeping moves."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> _Time:
    time = _Time()
    monkeypatch.setattr(waiting, "time", time)
    return time


def _look(*looks: tuple[Sequence[str], Sequence[str]]) -> Evidence:
    """Look at two hosts, of which the first has etcd: the sockets there and at the other one, the last look's again."""
    asked: dict[str, int] = {}

    def answers(name: str, of: int) -> made.Answers:
        def answer(command: str) -> str | None:
            if command.startswith("id -u"):
                return None
            if "--listening" in command:
                return _LISTENING
            at = min(asked.get(name, 0), len(looks) - 1)
            asked[name] = at + 1
            # ss shows states where there may be more than one.
            single = "state established" in command
            return "\n".join(
                line.removeprefix("ESTAB ") if single else line
                for line in looks[at][of]
                if not single or line.startswith("ESTAB ")
            )

        return answer

    evidence = Evidence()
    first = made.host("cp1", "10.0.0.1", "etcd", "control_plane", answers=answers("cp1", 0))
    second = made.host("cp2", "10.0.0.2", "control_plane", answers=answers("cp2", 1))
    test_apiserver.test_only_api_servers_are_connected_to_etcd(made.cluster(first, second), evidence)
    return evidence


def _served(*peers: str) -> list[str]:
    return [_AT_ETCD.format(peer=peer) for peer in peers]


def _servers(*locals_: str) -> list[str]:
    return [_API_SERVER.format(local=local) for local in locals_]


def test_api_servers_are_known_at_both_ends(clock: _Time) -> None:
    evidence = _look(([*_served("10.0.0.2:40000", "10.0.0.1:40000"), *_servers("10.0.0.1:40000")],
                      _servers("10.0.0.2:40000")))  # fmt: skip
    assert evidence.headline == "2 connections to etcd, all from API servers"
    assert evidence["connections"] == {"kube-apiserver on cp1": 1, "kube-apiserver on cp2": 1}
    assert clock.now == 0


def test_something_in_another_network_namespace_is_found() -> None:
    look = (_served("10.0.0.2:40000", "10.0.0.2:50000"), _servers("10.0.0.2:40000"))
    with pytest.raises(AssertionError, match=r"port 50000 of 10\.0\.0\.2 .* no socket of that host itself"):
        _look(look)


def test_an_api_servers_connection_to_another_member_is_not_that_of_something_else() -> None:
    elsewhere = _servers("10.0.0.2:50000")[0].replace("10.0.0.1:2379", "10.0.0.9:2379")
    with pytest.raises(AssertionError, match="port 50000"):
        _look((_served("10.0.0.2:50000"), [elsewhere]))


def test_a_connection_that_began_or_ended_meanwhile_is_nobodys_fault() -> None:
    assert _look(
        (_served("10.0.0.2:40000", "10.0.0.2:50000"), []),
        (_served("10.0.0.2:40000"), _servers("10.0.0.2:40000")),
    ).headline


def test_a_connection_that_its_client_has_closed_is_explained() -> None:
    closing = "FIN-WAIT-1 0 1 10.0.0.2:40000 10.0.0.1:2379 timer:(on,1min,7) ino:0 sk:3"
    assert _look((_served("10.0.0.2:40000"), [closing])).headline


def test_a_connection_from_elsewhere_is_judged_as_before() -> None:
    with pytest.raises(AssertionError, match=r"10\.9\.9\.9, which is no host of the cluster"):
        _look((_served("10.9.9.9:40000"), []))


def test_who_is_found_in_a_later_look_is_judged_too() -> None:
    stranger = _servers("10.0.0.2:40000")[0].replace("kube-apiserver", "etcdctl").replace("402", "999")
    with pytest.raises(AssertionError, match="etcdctl on cp2, which is no API server"):
        _look((_served("10.0.0.2:40000"), []), (_served("10.0.0.2:40000"), [stranger]))
