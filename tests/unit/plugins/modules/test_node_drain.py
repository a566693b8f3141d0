"""Which pods leave a node, and what an operator has cordoned."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import pytest
from ansible.module_utils.kube_client import ApiError, Client

import node_drain

NOTHING = node_drain.Allowed()
BUDGET = {"message": "Cannot evict pod", "details": {"causes": [{"message": "The disruption budget web needs 2"}]}}


def pod(name: str, owner: str = "ReplicaSet", phase: str = "Running", **annotations: str) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "default", "uid": f"{name}-1", "annotations": annotations}
    return {"metadata": {**metadata, "ownerReferences": [{"kind": owner}]}, "status": {"phase": phase}}


class _Server:
    """A node with pods, of which some may not leave, or not at once."""

    def __init__(
        self, *pods: dict[str, Any], refusals: int = 0, cordoned_by: str | None = None, set_by: str = ""
    ) -> None:
        self.pods, self.refusals, self.evictions = list(pods), refusals, 0
        self.spec = {"unschedulable": True} if cordoned_by is not None else {}
        self.annotations = {node_drain.CORDONED_BY: cordoned_by} if cordoned_by else {}
        fields: dict[str, Any] = {"f:spec": {"f:unschedulable": {}}}
        self.managers = [{"manager": set_by or node_drain.MANAGER, "operation": "Update", "fieldsV1": fields}]
        self.changes: list[Any] = []

    def get(self, path: str) -> dict[str, Any]:
        if path.startswith("/api/v1/pods"):
            return {"items": list(self.pods)}
        return {"spec": self.spec, "metadata": {"annotations": self.annotations, "managedFields": self.managers}}

    def merge(self, path: str, change: Mapping[str, Any], manager: str, dry_run: bool) -> None:
        assert manager == node_drain.MANAGER
        self.changes.append((path, change, dry_run))

    def ask(self, _method: str, path: str, body: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
        self.evictions += 1
        if self.refusals:
            self.refusals -= 1
            return 429, BUDGET
        self.pods = [each for each in self.pods if f"/{each['metadata']['name']}/" not in path]
        assert body["deleteOptions"]["preconditions"]["uid"]
        return 201, {}


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_drain, "PAUSE", 0)


def test_pods_leave_and_those_of_the_node_stay() -> None:
    staying = [
        pod("daemon", "DaemonSet"),
        pod("static", "Node", **{node_drain.MIRROR: "x"}),
        pod("over", "Job", "Failed"),
    ]
    server = _Server(pod("one"), pod("two"), *staying)
    done = node_drain.drain(cast(Client, server), "w1", 5, NOTHING)
    assert done == [{"path": f"Pod default/{name}", "what": "evicted"} for name in ("one", "two")]
    assert server.pods == staying


def test_pods_that_came_after_the_plan_lose_nothing_that_they_may_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of all pods of the node none is evicted, as with `kubectl drain`."""
    monkeypatch.setattr(node_drain, "SOON", 0)
    cache = pod("cache") | {"spec": {"volumes": [{"name": "disk", "emptyDir": {}}]}}
    memory = pod("memory") | {"spec": {"volumes": [{"name": "ram", "emptyDir": {"medium": "Memory"}}]}}
    bare, leaving = pod("bare"), pod("leaving")
    for each in (bare, leaving):
        each["metadata"]["ownerReferences"] = []
    leaving["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    for allowed, refused in (
        ((False, True), "w1 is evicted: default/cache: it would lose [^;]*; upgrade_delete_local_data"),
        ((True, False), "w1 is evicted: default/bare: it has no controller [^;]*; upgrade_delete_bare_pods"),
    ):
        server = _Server(pod("web"), memory, cache, bare, leaving)
        with pytest.raises(node_drain.Remaining, match=refused):
            node_drain.drain(cast(Client, server), "w1", 5, node_drain.Allowed(*allowed))
        assert server.evictions == 0
    assert len(node_drain.drain(cast(Client, server), "w1", 5, node_drain.Allowed(True, True))) == 5


def test_a_pod_that_ends_soon_is_waited_for_and_not_evicted() -> None:
    """One that makes a volume's directory on the node is no controller's."""
    helper = pod("helper")
    helper["metadata"]["ownerReferences"] = []

    class Ending(_Server):
        looks = 0

        def get(self, path: str) -> dict[str, Any]:
            self.looks += 1
            # Once before the first eviction, and one more that comes after it.
            self.pods = [each for each in self.pods if each is not helper]
            self.pods += [helper] if self.looks in (1, 2, 4) else []
            return super().get(path)

    server = Ending(pod("one"))
    assert node_drain.drain(cast(Client, server), "w1", 5, NOTHING) == [{"path": "Pod default/one", "what": "evicted"}]
    assert (server.evictions, server.looks) == (1, 5)


def test_a_budget_is_waited_for() -> None:
    server = _Server(pod("one"), refusals=3)
    assert node_drain.drain(cast(Client, server), "w1", 5, NOTHING)
    assert server.evictions == 4


def test_an_eviction_is_asked_for_once() -> None:
    class Slow(_Server):
        def ask(self, *_: Any) -> tuple[int, dict[str, Any]]:
            self.evictions += 1
            return 201, {}

    server = Slow(pod("one"))
    with pytest.raises(node_drain.Remaining, match="default/one: it was evicted, and does not end"):
        node_drain.drain(cast(Client, server), "w1", 0.05, NOTHING)
    assert server.evictions == 1


def test_what_does_not_leave_is_named_with_what_the_api_says() -> None:
    with pytest.raises(node_drain.Remaining, match="default/one: Cannot evict pod The disruption budget web needs 2"):
        node_drain.drain(cast(Client, _Server(pod("one"), refusals=10**6)), "w1", 0.05, NOTHING)


def test_no_answer_is_waited_out() -> None:
    class Silent(_Server):
        def ask(self, *_: Any) -> tuple[int, dict[str, Any]]:
            raise ApiError("nobody there")

    with pytest.raises(node_drain.Remaining, match="nobody there"):
        node_drain.drain(cast(Client, Silent(pod("one"))), "w1", 0.05, NOTHING)


def test_who_has_cordoned_is_noted() -> None:
    server = _Server()
    assert node_drain.cordon(cast(Client, server), "w1", "upgrade", dry_run=False) == [
        {"path": "Node w1", "what": "cordoned"}
    ]
    ((_, change, _),) = server.changes
    assert change["metadata"]["annotations"] == {node_drain.CORDONED_BY: "upgrade"}
    assert change["spec"]["unschedulable"]


@pytest.mark.parametrize("by", ["", "somebody"])
def test_what_an_operator_has_cordoned_stays_so(by: str) -> None:
    server = _Server(cordoned_by=by)
    assert node_drain.cordon(cast(Client, server), "w1", "upgrade", dry_run=False) == []
    assert node_drain.uncordon(cast(Client, server), "w1", "upgrade", dry_run=False) == []
    assert server.changes == []


def test_a_note_that_outlived_an_operators_uncordon_claims_no_later_cordon() -> None:
    server = _Server(cordoned_by="upgrade", set_by="kubectl-cordon")
    assert node_drain.uncordon(cast(Client, server), "w1", "upgrade", dry_run=False) == []
    assert server.changes == []


def test_what_was_cordoned_by_an_upgrade_is_uncordoned() -> None:
    server = _Server(cordoned_by="upgrade")
    assert node_drain.uncordon(cast(Client, server), "w1", "upgrade", dry_run=True)
    ((_, change, dry_run),) = server.changes
    assert change["metadata"]["annotations"] == {node_drain.CORDONED_BY: None}
    assert dry_run
