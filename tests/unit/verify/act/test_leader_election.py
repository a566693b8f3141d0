"""Whose process holds a lease, by what hosts call themselves; and hosts that share a name, or cannot be reached."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from kubeproof.verify.act import leader_election
from kubeproof.verify.observe.cluster import Cluster
from kubeproof.verify.observe.hosts import Host, Hosts, NotObservable

PROCESS = "5e5f1f5a-0000-4000-8000-0123456789ab"


class Called:
    """A host that calls itself something."""

    def __init__(self, name: str, own: str) -> None:
        self.name, self.own = name, own
        self.groups = frozenset({"control_plane"})

    def run(self, command: str) -> str:
        assert command == "uname -n"
        return f"{self.own}\n"


def hosts(*there: Called, away: tuple[Called, ...] = ()) -> Hosts:
    made = Hosts.__new__(Hosts)
    made.all, made.away = cast(tuple[Host, ...], there), cast(tuple[Host, ...], away)
    return made


def cluster(found: Hosts) -> Cluster:
    return cast(Cluster, SimpleNamespace(hosts=found, control_plane=found.all))


def lease(name: str) -> dict[str, Any]:
    return {"spec": {"holderIdentity": f"{name}_{PROCESS}"}}


def test_the_holder_is_the_host_that_calls_itself_so() -> None:
    one, two = Called("cp1", "ip-10-0-0-11"), Called("cp2", "ip-10-0-0-12")
    assert leader_election.holder(cluster(hosts(one, two)), lease("ip-10-0-0-12")) is cast(Host, two)


def test_a_holder_that_is_no_host_is_none() -> None:
    assert leader_election.holder(cluster(hosts(Called("cp1", "cp1"))), lease("cp9")) is None


def test_hosts_that_share_a_name_cannot_be_told_apart() -> None:
    with pytest.raises(NotObservable, match="cp1, cp2 all call themselves localhost"):
        leader_election.holder(
            cluster(hosts(Called("cp1", "localhost"), Called("cp2", "localhost"))), lease("localhost")
        )


def test_what_takes_a_whole_group_is_not_looked_at_without_one_of_its_hosts() -> None:
    one, two, three = (Called(name, name) for name in ("cp1", "cp2", "cp3"))
    with pytest.raises(NotObservable, match="all hosts of the group control_plane, and cp3 cannot be reached"):
        leader_election.several_control_plane_hosts(cluster(hosts(one, two, away=(three,))))
    assert len(leader_election.several_control_plane_hosts(cluster(hosts(one, two, three)))) == 3
    assert [host.name for host in hosts(one, away=(three,)).described("control_plane")] == ["cp1", "cp3"]
