"""The world from reports and answers."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from tests.unit.preflight.builders import host as seen

from kubeproof.core.versions import Minor, Version
from kubeproof.upgrade.look import CORDONED_BY, MANAGER, Answers, world
from kubeproof.upgrade.world import APISERVER, CNI, CONTAINERD, ETCD, KUBELET, RUNC, EtcdCluster, Host, Member, Running


def process(program: str, version: str, **more: Any) -> dict[str, Any]:
    return {"program": program, "pid": 1, "version": version, "emulates": "", "age": 5.0, "form": "service", **more}


def status(member: int, leader: int = 7, **more: Any) -> dict[str, Any]:
    header = {"cluster_id": 1, "member_id": member, "revision": 10, "raft_term": 2}
    found = {"header": header, "version": "3.7.3", "leader": leader, "storageVersion": "3.6.0", **more}
    return {"Endpoint": "https://127.0.0.1:2379", "Status": found}


VERSION = {"etcdserver": "3.7.3", "etcdcluster": "3.6.0", "storage": "3.6.0"}


def node(
    name: str, *, ready: str = "True", unschedulable: bool = False, set_by: str = MANAGER, **annotations: str
) -> dict[str, Any]:
    info = {"kubeletVersion": "v1.36.3", "containerRuntimeVersion": "containerd://2.3.7"}
    fields: dict[str, Any] = {"f:spec": {"f:unschedulable": {}}} if unschedulable else {}
    managers = [{"manager": set_by, "operation": "Update", "fieldsV1": fields}]
    return {
        "metadata": {"name": name, "annotations": annotations, "managedFields": managers},
        "spec": {"unschedulable": unschedulable},
        "status": {"conditions": [{"type": "Ready", "status": ready}], "nodeInfo": info},
    }


def test_what_runs_and_not_what_is_installed() -> None:
    running = [
        process(APISERVER, "1.37.2", emulates="1.36"),
        process(KUBELET, "1.37.2"),
        process(KUBELET, "1.36.3", age=90.0),
    ]
    versions = {KUBELET: "1.37.2", RUNC: "1.5.2"}
    report = seen(1, installed={"running": running, "versions": versions, "components": {CNI: "1.10.0"}})
    (found,) = world("prod", [report], Answers({}, {})).hosts
    assert found.runs == {
        APISERVER: Running(Version.of("1.37.2"), Minor(1, 36), 5.0),
        KUBELET: Running(Version.of("1.36.3"), None, 90.0),
        RUNC: Running(Version.of("1.5.2")),
        CNI: Running(Version.of("1.10.0")),
    }


@pytest.mark.parametrize(("form", "pods"), [("service", False), ("pod", True)])
def test_whether_kube_proxy_is_a_daemonset(form: str, pods: bool) -> None:
    running = [process("kube-proxy", "1.36.3", form=form)]
    report = seen(1, installed={"running": running, "versions": {}, "components": {}})
    assert world("prod", [report], Answers({}, {})).proxy_pods is pods


def test_plugins_are_what_they_say_and_not_what_was_recorded_of_the_whole() -> None:
    """A turn switches parts of what a host has, which is no record of the whole: a way back that is killed is seen."""
    versions = {CNI: "1.9.1"}
    report = seen(1, installed={"running": [], "versions": versions, "components": {CNI: "1.10.0"}})
    (found,) = world("prod", [report], Answers({}, {})).hosts
    assert found.runs[CNI] == Running(Version.of("1.9.1"))


def test_members() -> None:
    hosts = [dataclasses.replace(seen(at), groups=frozenset({"etcd"})) for at in (1, 2, 3)]
    answers = Answers(
        {
            "host1": status(7),
            "host2": status(8, isLearner=True, downgradeInfo={"enabled": True, "targetVersion": "3.6.0"}),
        },
        {"host1": VERSION},
    )
    found = world("prod", hosts, answers)
    assert [host.member for host in found.hosts] == [
        Member(leader=True, storage=Minor(3, 6)),
        Member(learner=True, storage=Minor(3, 6)),
        Member(healthy=False),
    ]
    assert found.etcd == EtcdCluster(Minor(3, 6), Minor(3, 6))


def test_a_member_without_a_leader_or_with_an_alarm() -> None:
    hosts = [dataclasses.replace(seen(at), groups=frozenset({"etcd"})) for at in (1, 2)]
    answers = Answers(
        {
            "host1": status(7, 0, errors=["etcdserver: no leader"]),
            "host2": status(8, errors=["memberID:8 alarm:NOSPACE "]),
        },
        {},
    )
    found = world("prod", hosts, answers)
    assert [host.well for host in found.hosts] == [False, True]
    assert found.etcd.alarms == ("memberID:8 alarm:NOSPACE",)


def test_dns() -> None:
    containers = [{"name": "coredns", "image": "registry.example:5000/coredns:v1.15.0@sha256:ab"}]
    deployment = {"spec": {"template": {"spec": {"containers": containers}}}}
    assert world("prod", [], Answers({}, {}, dns=deployment)).dns == Version.of("1.15.0")
    assert world("prod", [], Answers({}, {})).dns is None


def test_nodes() -> None:
    hosts = [dataclasses.replace(seen(at), groups=frozenset({"workers"})) for at in (1, 2, 3, 4)]
    nodes = [
        node("host1", ready="False"),
        node("host2", unschedulable=True),
        node("host3", unschedulable=True, **{CORDONED_BY: "upgrade"}),
        # Uncordoned by an operator, which leaves the note, and cordoned later.
        node("host4", unschedulable=True, set_by="kubectl-cordon", **{CORDONED_BY: "upgrade"}),
    ]
    found = world("prod", hosts, Answers({}, {}, nodes)).hosts
    assert [host.ready for host in found] == [False, True, True, True]
    assert [host.cordoned for host in found] == ["", "operator", "upgrade", "operator"]


def test_taints_that_keep_pods_away() -> None:
    taints = [
        {"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"},
        {"key": "pool", "value": "gpu", "effect": "NoExecute"},
        {"key": "pool", "value": "gpu", "effect": "PreferNoSchedule"},
        {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"},
    ]
    tainted = node("host1")
    tainted["spec"]["taints"] = taints
    (found,) = world("prod", [seen(1)], Answers({}, {}, [tainted])).hosts
    assert found.taints == {"node-role.kubernetes.io/control-plane=:NoSchedule", "pool=gpu:NoExecute"}


def test_a_host_that_is_unreachable_runs_what_its_kubelet_has_reported() -> None:
    gone = dataclasses.replace(seen(1), report=None, unreachable=True, groups=frozenset({"workers"}))
    (found,) = world("prod", [gone], Answers({}, {}, [node("host1")])).hosts
    assert not found.reachable
    assert {name: str(running) for name, running in found.runs.items()} == {KUBELET: "1.36.3", CONTAINERD: "2.3.7"}
    assert ETCD not in found.runs


# --- turns that were not confirmed ---


def turned(state: str, **more: Any) -> dict[str, Any]:
    former = {"kube-apiserver": "1.36.3", "emulates": ""}
    return {"state": state, "act": "api-servers 1.37.2", "former": former, "began": 0.0, **more}


def looked(turn: dict[str, Any], *running: dict[str, Any]) -> Host:
    report = seen(1, installed={"running": list(running), "versions": {}, "components": {}})
    (found,) = world("prod", [report], Answers({"host1": status(7)}, {}, turns={"host1": turn})).hosts
    return found


@pytest.mark.parametrize("state", ["unconfirmed", "putting back"])
def test_what_a_host_may_put_back_at_any_moment(state: str) -> None:
    found = looked(turned(state), process(APISERVER, "1.37.2"))
    assert found.unconfirmed == {APISERVER}
    assert found.before == {APISERVER: Running(Version.of("1.36.3"))}
    assert found.runs[APISERVER].version == Version.of("1.37.2")
    assert found.well


def test_what_a_host_has_begun_to_put_back_is_put_back_whatever_runs() -> None:
    """It refuses to confirm that, so that every run would end there."""
    former = {"kube-apiserver": "1.36.3", "emulates": "", "to": {"kube-apiserver": "1.37.2"}}
    assert looked(turned("unconfirmed", former=former), process(APISERVER, "1.37.2")).confirmable
    assert not looked(turned("putting back", former=former), process(APISERVER, "1.37.2")).confirmable


def test_a_host_whose_unconfirmed_program_does_not_run_is_not_well() -> None:
    found = looked(turned("unconfirmed"))
    assert not found.well
    assert found.runs == {APISERVER: Running(Version.of("1.36.3"))}


@pytest.mark.parametrize(
    ("runs", "arrived"), [("1.36.3", False), ("1.37.2", False), ("1.37.2 as 1.36", True), ("", False)]
)
def test_whether_a_turn_has_got_to_its_end(runs: str, arrived: bool) -> None:
    """Killed between the switch of a file and the restart, a host is well, and is not what the turn leads to."""
    former = {"kube-apiserver": "1.36.3", "emulates": "", "to": {"kube-apiserver": "1.37.2 as 1.36"}}
    version, _, emulates = runs.partition(" as ")
    processes = [process(APISERVER, version, emulates=emulates)] if runs else []
    found = looked(turned("unconfirmed", former=former), *processes)
    assert found.arrived is arrived
    assert found.confirmable is arrived


def test_a_turn_that_an_older_kubeproof_has_begun_does_not_say_where_it_leads() -> None:
    assert looked(turned("unconfirmed"), process(APISERVER, "1.37.2")).confirmable


def test_what_an_unconfirmed_server_emulated_before() -> None:
    turn = turned("unconfirmed", former={"kube-apiserver": "1.37.2", "etcd": "3.7.3", "emulates": "1.36"})
    found = looked(turn, process(APISERVER, "1.37.2"), process(ETCD, "3.7.3"))
    assert found.before[APISERVER].emulates == Minor(1, 36)
    assert found.before[ETCD].emulates is None


@pytest.mark.parametrize(
    ("turn", "says"),
    [
        (turned("unconfirmed"), "api-servers 1.37.2, begun at 1970-01-01 00:00 UTC: not confirmed"),
        (
            turned("put back", at=86400.0, by="host", reason="it was not confirmed"),
            "api-servers 1.37.2: put back by the host itself at 1970-01-02 00:00 UTC: it was not confirmed",
        ),
        (turned("putting back", problems=["p"]), "api-servers 1.37.2: not confirmed, and not put back: p"),
        (turned("kept", reason="etcd is not put back"), "api-servers 1.37.2: etcd is not put back"),
        ({}, ""),
    ],
)
def test_what_became_of_a_turn(turn: dict[str, Any], says: str) -> None:
    found = looked(turn, process(APISERVER, "1.37.2"))
    assert found.turned == says
    assert bool(found.unconfirmed) == (turn.get("state") in ("unconfirmed", "putting back"))
