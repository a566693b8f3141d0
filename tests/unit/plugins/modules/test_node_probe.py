"""A pod on a node, which shows that the node runs pods."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import pytest
from ansible.module_utils.kube_client import ApiError, Client

import node_probe

READY = {"phase": "Running", "podIP": "10.1.2.3", "conditions": [{"type": "Ready", "status": "True"}]}
WAITING = {
    "phase": "Pending",
    "containerStatuses": [{"state": {"waiting": {"reason": "ErrImagePull", "message": "m"}}}],
}


class _Server:
    """An API with at most one pod, whose status is the next of those that are given, or the last."""

    def __init__(self, *statuses: Mapping[str, Any], there: bool = False, refuses: int = 0) -> None:
        self.statuses, self.there, self.refuses = list(statuses), there, refuses
        self.created: list[Mapping[str, Any]] = []
        self.policies: list[Mapping[str, Any]] = []
        self.deleted: list[str] = []

    def get(self, path: str) -> dict[str, Any]:
        if path == "/api/v1/nodes/w1":
            return {"metadata": {"uid": "node-1"}}
        if not self.there:
            raise ApiError(path, 404)
        status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0] if self.statuses else {}
        return {"status": status}

    def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
        if method == "DELETE":
            self.deleted.append(path)
            self.there = self.there and "/pods/" not in path
            return 200, {}
        if path.endswith("/networkpolicies"):
            self.policies.append(body or {})
            return 409, {"message": "already exists"}
        if self.refuses:
            return self.refuses, {"message": "a webhook says no"}
        self.created.append(body or {})
        self.there = True
        return 201, {}


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_probe, "POLL_SECONDS", 0)


def start(server: _Server, timeout: float = 5) -> dict[str, str]:
    return node_probe.start(cast(Client, server), "w1", "agnhost:1", timeout)


def test_its_address_once_it_is_ready() -> None:
    server = _Server(WAITING, {"phase": "Running", "podIP": "10.1.2.3"}, READY)
    assert start(server) == {"address": "10.1.2.3", "no_room": ""}
    (pod,) = server.created
    assert (pod["spec"]["nodeName"], pod["metadata"]["name"]) == ("w1", "kubeproof-probe-w1")
    assert pod["metadata"]["ownerReferences"][0]["uid"] == "node-1", "else the next drain is refused because of it"
    assert pod["spec"]["tolerations"] == [{"operator": "Exists"}]


def test_one_that_does_not_become_ready_says_why() -> None:
    with pytest.raises(node_probe.NotReady, match="a pod on w1 is not ready after 0 s: Pending, ErrImagePull m"):
        start(_Server(WAITING), timeout=0)


def test_one_that_cannot_be_created() -> None:
    with pytest.raises(node_probe.NotReady, match="no pod can be created on w1: a webhook says no"):
        start(_Server(refuses=500))


@pytest.mark.parametrize("code", [403, 422])
def test_one_that_a_quota_or_a_policy_refuses_says_nothing_of_the_node(code: int) -> None:
    assert start(_Server(refuses=code)) == {"address": "", "no_room": "the API refuses it: a webhook says no"}


def test_one_that_may_be_reached_whatever_policies_of_the_namespace_say() -> None:
    server = _Server(READY)
    start(server)
    (policy,), (pod,) = server.policies, server.created
    assert policy["spec"]["podSelector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    assert (policy["spec"]["policyTypes"], policy["spec"]["ingress"]) == (["Ingress"], [{}])
    assert policy["metadata"] == pod["metadata"]
    node_probe.remove(cast(Client, server), "w1")
    name = policy["metadata"]["name"]
    assert f"/apis/networking.k8s.io/v1/namespaces/kube-system/networkpolicies/{name}" in server.deleted


def test_one_that_fails() -> None:
    with pytest.raises(node_probe.NotReady, match="a pod on w1 has failed: Evicted disk"):
        start(_Server({"phase": "Failed", "reason": "Evicted", "message": "disk"}))


def test_a_node_without_room_is_no_failure() -> None:
    told = start(_Server({"phase": "Failed", "reason": "OutOfpods", "message": "110 of 110"}))
    assert told == {"address": "", "no_room": "OutOfpods: 110 of 110"}


def test_what_an_earlier_run_has_left_goes() -> None:
    server = _Server(there=True)
    assert node_probe.remove(cast(Client, server), "w1")
    assert server.deleted[-1] == "/api/v1/namespaces/kube-system/pods/kubeproof-probe-w1?gracePeriodSeconds=0"
    assert not node_probe.remove(cast(Client, server), "w1")


def test_a_name_is_a_host_name() -> None:
    name = node_probe.name_for("node-" + "x" * 41 + ".example.com")
    assert len(name) <= 63
    assert not name.endswith((".", "-"))
