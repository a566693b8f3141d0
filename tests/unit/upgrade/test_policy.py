"""The version skew policy, over what runs."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from tests.unit.upgrade.worlds import OLD, changed, world

from kubeproof.core.versions import Minor
from kubeproof.upgrade.policy import added, violations
from kubeproof.upgrade.world import (
    APISERVER,
    CONTROLLER_MANAGER,
    ETCD,
    KUBE_PROXY,
    KUBELET,
    SCHEDULER,
    EtcdCluster,
    World,
)


def with_runs(runs: Mapping[str, Mapping[str, str]]) -> World:
    here = world()
    for name, programs in runs.items():
        here = changed(here, name, runs=programs)
    return here


@pytest.mark.parametrize(
    "runs",
    [
        {},
        {"cp1": {APISERVER: "1.37.2 as 1.36"}},
        {"cp1": {APISERVER: "1.37.2"}},
        {"w1": {KUBELET: "1.33.0", KUBE_PROXY: "1.33.0"}},
        {"w1": {KUBE_PROXY: "1.33.0"}},
        {"cp1": {CONTROLLER_MANAGER: "1.35.0", SCHEDULER: "1.36.9"}},
        {name: {APISERVER: "1.37.2", CONTROLLER_MANAGER: "1.37.2 as 1.36"} for name in ("cp1", "cp2", "cp3")},
        {"cp2": {ETCD: "3.7.3"}},
    ],
)
def test_within(runs: Mapping[str, Mapping[str, str]]) -> None:
    assert violations(with_runs(runs)) == []


NEWER = {"cp1": {APISERVER: "1.37.2"}}
ALL_EMULATE = {name: {APISERVER: "1.37.2 as 1.36"} for name in ("cp1", "cp2", "cp3")}


@pytest.mark.parametrize(
    ("runs", "expected"),
    [
        # Behind a load balancer it reaches the oldest, too.
        ({"cp1": {APISERVER: "1.37.2", CONTROLLER_MANAGER: "1.37.2"}}, ("cp1", CONTROLLER_MANAGER, "newer")),
        ({"cp1": {APISERVER: "1.37.2", SCHEDULER: "1.37.2 as 1.36"}}, ("cp1", SCHEDULER, "newer")),
        ({**NEWER, "w1": {KUBELET: "1.37.2"}}, ("w1", KUBELET, "newer")),
        ({**ALL_EMULATE, "w1": {KUBELET: "1.37.2"}}, ("w1", KUBELET, "newer")),
        ({**ALL_EMULATE, "cp1": {APISERVER: "1.37.2 as 1.36", SCHEDULER: "1.37.2"}}, ("cp1", SCHEDULER, "emulation")),
        # Close to the oldest is not enough, either.
        ({**NEWER, "w1": {KUBELET: "1.33.9", KUBE_PROXY: "1.34.0"}}, ("w1", KUBELET, "older")),
        ({**NEWER, "cp3": {SCHEDULER: "1.35.4"}}, ("cp3", SCHEDULER, "older")),
        ({"cp1": {ETCD: "3.5.27"}}, ("cp1", ETCD, "cluster")),
    ],
)
def test_outside(runs: Mapping[str, Mapping[str, str]], expected: tuple[str, str, str]) -> None:
    assert [each.key for each in violations(with_runs(runs))] == [expected]


def test_api_servers_are_within_one_minor_version() -> None:
    found = violations(with_runs({"cp1": {APISERVER: "1.38.0"}}))
    assert ("cp2", APISERVER, "binary") in {each.key for each in found}
    assert next(each for each in found if each.host == "cp2").problem == (
        "kube-apiserver 1.36 next to 1.38 on another host: at most one minor version apart"
    )


def test_kube_proxy_and_the_kubelet_of_its_node() -> None:
    here = world(versions={**OLD, "kubernetes": "1.37.2"})
    assert violations(changed(here, "w1", runs={KUBE_PROXY: "1.34.0"})) == []
    (found,) = [
        each for each in violations(changed(here, "w1", runs={KUBE_PROXY: "1.33.0"})) if each.rule == "neighbour"
    ]
    assert found.excess == 1


def test_members_are_within_one_minor_version_and_not_older_than_their_cluster() -> None:
    here = changed(world(etcd=EtcdCluster(Minor(3, 7))), "cp1", runs={ETCD: "3.8.0"})
    found = {each.key for each in violations(here)}
    assert found == {(name, ETCD, rule) for name in ("cp2", "cp3") for rule in ("members", "cluster")}


def test_only_what_is_new_or_worse_is_added() -> None:
    before = violations(with_runs({"w1": {KUBELET: "1.32.0", KUBE_PROXY: "1.34.0"}}))
    same = violations(with_runs({"w1": {KUBELET: "1.32.9", KUBE_PROXY: "1.34.0"}}))
    worse = violations(with_runs({"w1": {KUBELET: "1.31.0", KUBE_PROXY: "1.34.0"}}))
    assert added(before, same) == []
    assert [each.excess for each in added(before, worse)] == [2]
