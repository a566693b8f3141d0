"""What is waited for, and what is not."""

from __future__ import annotations

import time
from typing import Any

import pytest
from ansible.module_utils.kube_client import ApiError
from ansible.module_utils.kube_judge import judge

import kube_wait

CIDR = {"field": "spec.podCIDR"}


class Nodes:
    """An API with nodes, of which one has no pod network yet."""

    def get(self, path: str) -> dict[str, Any]:
        name = path.rpartition("/")[2]
        if name == "gone":
            raise ApiError(path, 404)
        spec = {} if name == "new" else {"podCIDR": "10.244.1.0/24"}
        return {"metadata": {"name": name, "generation": 1}, "spec": spec}


def wait(*objects: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    found: tuple[dict[str, Any], list[str]] = kube_wait.wait(Nodes(), list(objects), 0)
    return found


def test_what_is_there_is_returned() -> None:
    assert wait({"path": "/nodes/w1", **CIDR}) == ({"/nodes/w1": "10.244.1.0/24"}, [])


def test_what_is_missing_is_complained_of() -> None:
    values, complaints = wait({"path": "/nodes/gone", **CIDR}, {"path": "/nodes/new", **CIDR})
    assert values == {"/nodes/gone": "it does not exist", "/nodes/new": None}
    assert len(complaints) == 2


def test_what_is_optional_is_left_out_if_it_is_not_there() -> None:
    optional = {**CIDR, "optional": True}
    paths = ("/nodes/w1", "/nodes/gone", "/nodes/new")
    assert wait(*({"path": path, **optional} for path in paths)) == ({"/nodes/w1": "10.244.1.0/24"}, [])


class Lease:
    """An API with a lease that is renewed with the third look."""

    def __init__(self) -> None:
        self.looks = 0

    def get(self, path: str) -> dict[str, Any]:
        self.looks += 1
        return {"metadata": {"name": path}, "spec": {"renewTime": "10:00:00" if self.looks < 3 else "10:00:17"}}


def test_a_lease_counts_once_it_is_renewed() -> None:
    lease, wanted = Lease(), {"path": "/lease", "field": "spec.renewTime", "renewed": True}
    assert kube_wait.wait(lease, [wanted], 0)[1] == ["/lease: spec.renewTime: 10:00:00"]
    assert kube_wait.wait(Lease(), [wanted], 10) == ({"/lease": "10:00:17"}, [])


def job(name: str, **conditions: str) -> dict[str, Any]:
    found = [{"type": kind, "status": "True", "reason": reason} for kind, reason in conditions.items()]
    return {"metadata": {"name": name, "generation": 1}, "status": {"conditions": found}}


class Jobs:
    """An API with jobs: one has failed, one runs for ever."""

    def get(self, path: str) -> dict[str, Any]:
        return {"/failed": job("failed", Failed="BackoffLimitExceeded"), "/runs": job("runs", Suspended="No")}[path]


def test_what_has_failed_for_good_ends_the_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: pytest.fail("it waits"))
    asked = [{"path": path, "condition": "Complete", "failed": "Failed"} for path in ("/runs", "/failed")]
    values, complaints = kube_wait.wait(Jobs(), asked, 3600)
    assert complaints == ["/failed: Failed: BackoffLimitExceeded"]
    assert values == {"/runs": "not reported yet", "/failed": "BackoffLimitExceeded"}


def test_a_complaint_says_what_was_seen_of_its_own_field() -> None:
    asked: list[dict[str, Any]] = [
        {"path": "/nodes/new", "field": "spec.podCIDR"},
        {"path": "/nodes/new", "field": "metadata.generation", "at_least": 2},
    ]
    _, complaints = wait(*asked)
    assert complaints == ["/nodes/new: spec.podCIDR: None", "/nodes/new: metadata.generation: 1 of 2"]


@pytest.mark.parametrize(
    ("replicas", "ready", "good", "seen"),
    [(5, 5, True, "5 of 5"), (5, 2, False, "2 of 5"), (0, None, True, "0 of 0"), (2, None, False, "0 of 2")],
)
def test_a_field_is_compared_with_another_one(replicas: int, ready: int | None, good: bool, seen: str) -> None:
    status = {} if ready is None else {"readyReplicas": ready}
    document = {"metadata": {"generation": 1}, "spec": {"replicas": replicas}, "status": status}
    wanted = {"field": "status.readyReplicas", "as_field": "spec.replicas"}
    assert judge(document, wanted) == (good, seen)
    # Of the last change only: the controller has not seen it yet.
    document["status"]["observedGeneration"] = 0
    assert not judge(document, wanted)[0]


class Workload:
    """An API with a workload of two pods, and three nodes, of which one is dead and one has never reported."""

    def __init__(self, ready: int) -> None:
        self.ready = ready

    def get(self, path: str) -> dict[str, Any]:
        if path == "/api/v1/nodes":
            reported = {"w1": ["True"], "w2": ["Unknown"], "w3": []}
            conditions = {name: [{"type": "Ready", "status": each} for each in reported[name]] for name in reported}
            return {
                "items": [{"metadata": {"name": name}, "status": {"conditions": conditions[name]}} for name in reported]
            }
        return {"metadata": {"generation": 1}, "spec": {"replicas": 2}, "status": {"readyReplicas": self.ready}}


@pytest.mark.parametrize(
    ("ready", "left_out", "good"),
    [
        (2, [], True),
        (1, [], False),
        (1, ["w1"], False),
        (1, ["w2"], True),
        (1, ["gone"], False),
        (0, ["w1", "w2"], False),
        (0, ["w2", "w3"], True),
    ],
)
def test_pods_on_nodes_that_a_run_leaves_out_and_that_are_not_ready_are_not_waited_for(
    ready: int, left_out: list[str], good: bool
) -> None:
    asked = {"path": "/x", "field": "status.readyReplicas", "as_field": "spec.replicas", "nodes_lost": left_out}
    _, complaints = kube_wait.wait(Workload(ready), [asked], 0)
    assert complaints == ([] if good else [f"/x: status.readyReplicas: {ready} of 2"])


@pytest.mark.parametrize(("ready", "good", "seen"), [(3, True, "3 of 2"), (2, True, "2 of 2"), (None, False, "0 of 2")])
def test_a_field_comes_to_a_number_at_least(ready: int | None, good: bool, seen: str) -> None:
    document = {"metadata": {"generation": 1}, "status": {} if ready is None else {"numberReady": ready}}
    assert judge(document, {"field": "status.numberReady", "at_least": 2}) == (good, seen)


def test_a_plan_says_what_is_waited_for_and_not_what_is_only_read() -> None:
    nodes = [{"path": f"/api/v1/nodes/w{number}", "condition": "Ready"} for number in (1, 2)]
    deployments = "/apis/apps/v1/namespaces/kube-system/deployments"
    others: list[dict[str, Any]] = [
        {"path": f"{deployments}/coredns", "field": "status.updatedReplicas", "as_field": "spec.replicas"},
        {"path": f"{deployments}/coredns", "field": "status.readyReplicas", "as_field": "spec.replicas"},
        {"path": f"{deployments}/x", "condition": "Available"},
        {"path": f"{deployments}/y", "field": "status.readyReplicas", "at_least": 0},
        {"path": f"{deployments}/z", "field": "spec.paused", "value": False},
        {"path": "/api/v1/nodes/w1", **CIDR},
    ]
    assert kube_wait.waited_for([*nodes, *others]) == [
        "nodes w1, w2 Ready",
        "deployments coredns rolled out",
        "deployments x Available",
        "deployments y status.readyReplicas at least 0",
        "deployments z spec.paused False",
    ]
    assert kube_wait.waited_for([{**nodes[0], "path": f"/api/v1/nodes/w{number}"} for number in range(100)]) == [
        "100 nodes Ready"
    ]
