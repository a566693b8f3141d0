"""Pods that are prepared: what is said of one that does not come."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from kubeproof.verify.act.pods import Blocked, Manifests
from kubeproof.verify.engine import preparations
from kubeproof.verify.engine.preparations import Workloads, ahead, last_used, prepared, prepared_together
from kubeproof.verify.observe.api import Answer, Api, ApiError, NotObserved

POD = {"kind": "Pod", "metadata": {"name": "late", "uid": "1"}, "spec": {}, "status": {"phase": "Pending"}}


class Slow:
    """An API of a cluster whose hosts take four times as long, and in which no pod gets anywhere."""

    patience = 4.0

    def observe(self, *_: Any, **__: Any) -> Any:
        raise NotObserved("pods")

    def items(self, path: str, **_: Any) -> list[Any]:
        return [] if "events" in path else [POD]


def test_the_time_that_was_waited_is_said() -> None:
    manifests = SimpleNamespace(namespace="here")
    workloads = Workloads(cast(Api, Slow()), cast(Manifests, manifests))
    with pytest.raises(Blocked, match="not bound to a node within 240 s"):
        workloads.await_all([POD], lambda _: False)


class Fast:
    """An API that starts pods at once, and counts them."""

    patience = 1.0

    def __init__(self) -> None:
        self.pods: list[Any] = []

    def create(self, manifest: Any) -> Any:
        self.pods.append(manifest)
        return manifest

    def observe(self, _path: str, done: Any, **_: Any) -> Any:
        assert done(self.pods)
        return self.pods


def test_slow_hosts_get_a_pod_when_a_claim_asks_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preparations, "_PREPARATIONS", {})

    @prepared(until=lambda _: True)
    def one(_: Manifests) -> Any:
        return {"kind": "Pod", "metadata": {"name": "one"}}

    @prepared(until=lambda _: True)
    def two(_: Manifests) -> Any:
        return {"kind": "Pod", "metadata": {"name": "two"}}

    api = Fast()
    workloads = Workloads(cast(Api, api), cast(Manifests, SimpleNamespace(namespace="here")))
    for name in ("two", "one", "two"):
        assert [pod.name for pod in workloads.prepared(name)] == [name]
    assert [pod["metadata"]["name"] for pod in api.pods] == ["two", "one"]


def test_pods_start_ahead_unless_hosts_are_slow() -> None:
    assert ahead(cast(Api, Fast()))
    assert not ahead(cast(Api, Slow()))


@pytest.mark.parametrize(
    ("status", "starts"),
    [
        ({}, True),
        ({"containerStatuses": [{"state": {"waiting": {"reason": "ContainerCreating"}}}]}, True),
        ({"containerStatuses": [{"state": {"running": {"startedAt": "now"}}}]}, False),
        # One that is to fail, between two attempts.
        ({"containerStatuses": [{"state": {"waiting": {}}, "lastState": {"terminated": {"exitCode": 1}}}]}, False),
        # One that waits for its first container to end.
        (
            {
                "initContainerStatuses": [{"state": {"running": {"startedAt": "now"}}}],
                "containerStatuses": [{"state": {"waiting": {"reason": "PodInitializing"}}}],
            },
            False,
        ),
    ],
)
def test_slow_hosts_get_a_pod_once_those_before_it_have_begun(status: Any, starts: bool) -> None:
    bound = {"metadata": {"name": "one"}, "spec": {"nodeName": "w1"}, "status": status}
    pending = {**bound, "spec": {}, "status": {}}
    leaving = {**bound, "metadata": {"name": "one", "deletionTimestamp": "now"}, "status": {}}
    placed = {**Manifests("here", "image", ()).placed("two", nodeName="w1"), "status": {}}
    done: list[bool] = []

    class Earlier(Slow):
        def observe(self, _path: str, until: Any, **_: Any) -> Any:
            done.append(until([bound, pending, leaving, placed]))
            return []

    workloads = Workloads(cast(Api, Earlier()), cast(Manifests, SimpleNamespace(namespace="here")))
    workloads.submit([])
    assert done == [not starts]


def test_pods_are_released_after_the_last_test_that_uses_them(monkeypatch: pytest.MonkeyPatch) -> None:
    preparation = SimpleNamespace()
    monkeypatch.setattr(preparations, "_PREPARATIONS", {"one": preparation, "two": preparation, "unused": preparation})
    tests = (("a", ["one", "api"]), ("b", ["two"]), ("c", ["one", "two"]), ("d", ["api"]), ("e", ["two"]))
    assert last_used(tests) == {"c": ["one"], "e": ["two"]}


def test_what_begins_early_is_released_like_what_is_prepared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preparations, "EARLY", ["early"])
    assert last_used([("a", ["early"]), ("b", ["early"]), ("c", ["api"])]) == {"b": ["early"]}


def test_what_is_released_is_deleted_and_what_is_not_there_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preparations, "_PREPARATIONS", {})

    @prepared_together(until=lambda _: True)
    def some(_: Manifests) -> Any:
        kinds = {"Service": "v1", "Pod": "v1", "ReplicaSet": "apps/v1"}
        metadata = {"name": "one", "namespace": "here"}
        return [{"apiVersion": version, "kind": kind, "metadata": metadata} for kind, version in kinds.items()]

    deleted: list[str] = []

    class Refusing(Fast):
        def delete(self, path: str, **_: Any) -> None:
            deleted.append(path)
            raise ApiError(Answer("DELETE", 500, {}))

    workloads = Workloads(cast(Api, Refusing()), cast(Manifests, SimpleNamespace(namespace="here")))
    workloads.submit(["some"])
    workloads.release(["some", "never-submitted"])
    assert deleted == ["/api/v1/namespaces/here/pods/one", "/apis/apps/v1/namespaces/here/replicasets/one"]


def test_what_a_fixture_made_by_itself_is_released_once_it_was_adopted() -> None:
    deleted: list[str] = []

    class Deleting(Fast):
        def delete(self, path: str, **_: Any) -> None:
            deleted.append(path)

    workloads = Workloads(cast(Api, Deleting()), cast(Manifests, SimpleNamespace(namespace="here")))
    metadata = {"name": "one", "namespace": "there"}
    workloads.adopt("made", [{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata}])
    workloads.release(["made"])
    assert deleted == ["/apis/apps/v1/namespaces/there/deployments/one"]


def test_pods_that_were_only_placed_are_deleted_at_once() -> None:
    asked: list[tuple[str, int]] = []

    class Deleting(Fast):
        def delete(self, path: str, **options: Any) -> None:
            asked.append((path, options["gracePeriodSeconds"]))
            raise ApiError(Answer("DELETE", 500, {}))

    workloads = Workloads(cast(Api, Deleting()), cast(Manifests, SimpleNamespace(namespace="here")))
    workloads.release_placed()
    assert asked == [("/api/v1/namespaces/here/pods?labelSelector=verify.kubeproof.io/only-placed", 0)]
