"""Hosts that cannot be reached: for which of them a run is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.preflight.builders import host

from kubeproof.preflight import Host, Purpose, Run, left_behind
from kubeproof.preflight.identity import Kept

GROUPS = {
    "etcd": ["host1", "host2", "host3"],
    "control_plane": ["host1", "host2", "host3"],
    "workers": ["host4", "host5"],
}
SERVER, WORKER = ("etcd", "control_plane"), ("workers",)


def fleet(*away: int, new: int = 0, limit: int = 5) -> list[Host]:
    """Three hosts with etcd and API servers, and two workers, all of them installed; of a run for the first ones."""
    hosts = []
    for number in range(1, limit + 1):
        groups = SERVER if number <= 3 else WORKER
        units = [] if number == new else ["kubelet.service"]
        found = host(number, groups, installed={"units": units})
        if number in away:
            found = Host(found.name, found.groups, found.address, None, "No route to host", unreachable=True)
        hosts.append(found)
    return hosts


def left(hosts: list[Host], purpose: Purpose = "converge") -> list[str]:
    return left_behind(hosts, Run(GROUPS, purpose, Kept(Path(), "i", {})))


@pytest.mark.parametrize("away", [(), (4,), (4, 5), (3,), (1, 4)])
def test_what_the_cluster_does_without(away: tuple[int, ...]) -> None:
    assert left(fleet(*away)) == [f"host{number}" for number in away]


@pytest.mark.parametrize("away", [(1, 2), (2, 3), (1, 2, 3), (1, 2, 3, 4, 5)])
def test_without_quorum_none_is_left_behind(away: tuple[int, ...]) -> None:
    assert left(fleet(*away)) == []


def test_members_that_nobody_looks_at_are_no_quorum() -> None:
    assert left(fleet(1, limit=2)) == []


def test_all_api_servers_elsewhere_than_etcd() -> None:
    groups = {"etcd": ["host4", "host5"], "control_plane": ["host1", "host2", "host3"], "workers": []}
    run = Run(groups, "converge", Kept(Path(), "i", {}))
    assert left_behind(fleet(1, 2), run) == ["host1", "host2"]
    assert left_behind(fleet(1, 2, 3), run) == []


@pytest.mark.parametrize("new", [2, 5])
def test_new_nodes_need_routes_from_all(new: int) -> None:
    assert left(fleet(4, new=new)) == []


@pytest.mark.parametrize("networks", [[], ["10.244.9.0/24"]])
def test_a_node_that_is_one_again_needs_them_as_well(networks: list[str]) -> None:
    hosts = fleet(4)
    installed = {"units": ["kubelet.service"], "settings": {"pod_network_plugin": "bridge"}}
    node = {"there": bool(networks), "networks": networks, "given": ["10.244.4.0/24"]}
    hosts[4] = host(5, WORKER, installed=installed, node=node)
    assert left(hosts) == []


def test_a_host_of_etcd_alone_is_no_node() -> None:
    hosts = [*fleet(4), host(6, ("etcd",))]
    assert left(hosts) == ["host4"]


def test_a_new_host_that_cannot_be_reached_is_no_new_node() -> None:
    assert left(fleet(4, new=4)) == ["host4"]


def test_a_restore_needs_etcd_and_api_servers_on_all_hosts() -> None:
    assert left(fleet(4, new=5), "restore") == ["host4"]
    assert left(fleet(3, 4), "restore") == ["host4"]
    assert left(fleet(1, 2, 3, 4, 5), "restore") == []


def test_a_replacement_has_its_own_rules() -> None:
    assert left(fleet(4), "replace-member") == []
