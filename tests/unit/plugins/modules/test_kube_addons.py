"""Add-ons: applied in order, recorded, and removed when nobody wants them any more."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from ansible.module_utils.kube_client import ApiError

import kube_addons

RECORD = "ConfigMap/kube-system/kubeproof-addons"


class Server:
    """An API server: objects by kind, namespace and name, and the kinds that it knows."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        self.unknown: set[str] = set()
        self.log: list[str] = []
        self.resources: dict[str, Any] = {}
        # By kind, how often it is asked for in vain until it is known.
        self.slow: dict[str, int] = {}

    def path(self, document: dict[str, Any]) -> str:
        kind = document["kind"]
        if self.slow.get(kind, 0) > 0:
            self.slow[kind] -= 1
            raise ApiError(f"no {kind} yet", 404)
        if kind in self.unknown:
            raise ApiError(f"no {kind}", 404)
        metadata = document["metadata"]
        return f"{kind}/{metadata.get('namespace', 'default')}/{metadata['name']}"

    def get(self, path: str) -> dict[str, Any]:
        if path not in self.objects:
            raise ApiError(path, 404)
        return copy.deepcopy(self.objects[path])

    def apply(self, document: dict[str, Any], _manager: str, dry_run: bool) -> dict[str, Any]:
        path = self.path(document)
        before = self.objects.get(path, {})
        after = {**before, **copy.deepcopy(document)}
        after["metadata"] = {**before.get("metadata", {}), **after["metadata"]}
        if not dry_run:
            self.log.append(f"apply {path}")
            if document["kind"] == "CustomResourceDefinition":
                after["status"] = {"conditions": [{"type": "Established", "status": "True"}]}
            self.objects[path] = after
        return after

    def delete(self, path: str, dry_run: bool) -> None:
        if not dry_run:
            self.log.append(f"delete {path}")
            del self.objects[path]

    def recorded(self) -> dict[str, list[str]]:
        data = self.objects[RECORD]["data"]
        return {name: [each["metadata"]["name"] for each in json.loads(text)] for name, text in data.items()}


def item(kind: str, name: str, version: str = "v1", **more: Any) -> dict[str, Any]:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name}, **more}


def converge(server: Server, *, dry_run: bool = False, prune: bool = True, **addons: list[Any]) -> kube_addons.Addons:
    run = kube_addons.Addons(server, dry_run)
    run.converge([{"name": name, "objects": objects} for name, objects in addons.items()], prune)
    return run


def told(run: kube_addons.Addons) -> list[tuple[str, str]]:
    return [(change["what"], change["path"]) for change in run.changes]


def test_a_second_run_changes_and_writes_nothing() -> None:
    server = Server()
    first = converge(server, a=[item("ConfigMap", "x")], b=[item("Secret", "y")])
    assert told(first) == [("created", "ConfigMap x"), ("created", "Secret y")]
    assert server.recorded() == {"a": ["x"], "b": ["y"]}
    assert server.objects["ConfigMap/default/x"]["metadata"]["labels"] == {"kubeproof.io/addon": "a"}
    server.log.clear()
    assert told(converge(server, a=[item("ConfigMap", "x")], b=[item("Secret", "y")])) == []
    assert f"apply {RECORD}" not in server.log


def test_where_nothing_is_wanted_nothing_is_recorded() -> None:
    server = Server()
    assert told(converge(server, a=[])) == []
    assert server.log == []


def test_what_was_there_is_recorded_before_anything_is_applied() -> None:
    server = Server()
    converge(server, a=[item("ConfigMap", "x")])
    assert server.log[0] == f"apply {RECORD}"


def test_what_others_refer_to_comes_first() -> None:
    server = Server()
    kinds = ["APIService", "Deployment", "Service", "Namespace", "CustomResourceDefinition", "Pod"]
    converge(server, a=[item(kind, "x", spec={"group": "x.io"}) for kind in kinds])
    applied = [line.split("/")[0].split()[1] for line in server.log[1:]]
    assert applied == ["Namespace", "CustomResourceDefinition", "Service", "Deployment", "Pod", "APIService"]


def test_what_is_in_no_addon_any_more_goes_the_last_first() -> None:
    server = Server()
    converge(server, a=[item("ConfigMap", "x"), item("Deployment", "y")], b=[item("Secret", "z")])
    server.log.clear()
    run = converge(server, a=[], b=[item("Secret", "z")])
    assert told(run) == [("removed", "Deployment y"), ("removed", "ConfigMap x")]
    assert server.recorded() == {"b": ["z"]}
    assert told(converge(server, a=[], b=[])) == [("removed", "Secret z")]
    assert RECORD not in server.objects


def test_an_interrupted_run_forgets_nothing() -> None:
    server = Server()
    converge(server, a=[item("ConfigMap", "x")])
    server.unknown.add("Broken")
    with pytest.raises(ApiError, match="no Broken"):
        converge(server, a=[item("ConfigMap", "new"), item("Broken", "b", "b.io/v1")])
    assert server.recorded() == {"a": ["new", "x", "b"]}
    assert ("removed", "ConfigMap x") in told(converge(server, a=[item("ConfigMap", "new")]))
    assert server.recorded() == {"a": ["new"]}


def test_another_version_or_a_namespace_that_is_spelled_out_is_the_same_object() -> None:
    server = Server()
    converge(server, a=[item("X", "x", "x.io/v1beta1")])
    same = item("X", "x", "x.io/v1")
    same["metadata"]["namespace"] = "default"
    assert not [change for change in told(converge(server, a=[same])) if change[0] == "removed"]
    assert "X/default/x" in server.objects


def test_what_others_have_taken_over_stays_and_is_forgotten() -> None:
    server = Server()
    converge(server, a=[item("ConfigMap", "x")])
    server.objects["ConfigMap/default/x"]["metadata"]["labels"] = {}
    assert told(converge(server, a=[])) == []
    assert "ConfigMap/default/x" in server.objects
    assert RECORD not in server.objects


@pytest.mark.parametrize("kind", kube_addons.KEPT)
def test_what_holds_others_data_stays_with_a_warning(kind: str) -> None:
    server = Server()
    converge(server, a=[item(kind, "x", spec={"group": "x.io"})])
    for _ in range(2):
        run = converge(server, a=[])
        assert told(run) == []
        assert "kept" in run.warnings[0]
    assert server.recorded() == {"a": ["x"]}
    # Somebody has deleted it.
    del server.objects[f"{kind}/default/x"]
    assert converge(server, a=[]).warnings == []


def test_without_pruning_objects_stay_on_record() -> None:
    server = Server()
    converge(server, a=[item("ConfigMap", "x")])
    assert told(converge(server, prune=False, a=[])) == []
    assert server.recorded() == {"a": ["x"]}
    assert told(converge(server, a=[])) == [("removed", "ConfigMap x")]


def test_what_is_gone_already_is_forgotten() -> None:
    server = Server()
    converge(server, a=[item("X", "x", "x.io/v1"), item("ConfigMap", "y")])
    del server.objects["ConfigMap/default/y"]
    server.unknown.add("X")
    assert told(converge(server, a=[])) == []
    assert RECORD not in server.objects


def test_check_mode_tells_and_writes_nothing() -> None:
    server = Server()
    converge(server, a=[item("ConfigMap", "x")])
    server.log.clear()
    server.unknown.add("New")
    run = converge(server, dry_run=True, a=[item("Namespace", "n"), item("New", "x", "new.io/v1")])
    assert told(run) == [("created", "Namespace n"), ("created", "New x"), ("removed", "ConfigMap x")]
    assert server.log == []
    assert run.pending == []


def test_a_kind_that_this_run_has_defined_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    server = Server()
    server.slow["Greeting"] = 3
    definition = item("CustomResourceDefinition", "greetings.x.io", spec={"group": "x.io"})
    run = converge(server, a=[item("Greeting", "hello", "x.io/v1"), definition])
    assert told(run)[1] == ("created", "Greeting hello")


def test_a_definition_that_is_not_accepted_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kube_addons, "SERVED_SECONDS", -1.0)
    server = Server()
    run = kube_addons.Addons(server, False)
    monkeypatch.setattr(run, "unready", lambda _: [{}])
    with pytest.raises(ApiError, match="is not established"):
        run.apply(item("CustomResourceDefinition", "x", spec={"group": "x.io"}))


@pytest.mark.parametrize(
    ("kind", "status", "ready"),
    [
        ("Deployment", {}, False),
        ("Deployment", {"updatedReplicas": 2, "availableReplicas": 1}, False),
        ("Deployment", {"updatedReplicas": 1, "availableReplicas": 2}, False),
        ("Deployment", {"updatedReplicas": 2, "availableReplicas": 2, "replicas": 2}, True),
        # What is available may be a pod of the former template, beside a new one that is not.
        ("Deployment", {"updatedReplicas": 2, "availableReplicas": 2, "replicas": 3}, False),
        ("StatefulSet", {"observedGeneration": 1, "readyReplicas": 1, "updatedReplicas": 2}, False),
        ("StatefulSet", {"observedGeneration": 1, "readyReplicas": 2, "updatedReplicas": 2}, True),
        # Pods of the former template serve until their turn comes.
        ("StatefulSet", {"observedGeneration": 1, "readyReplicas": 2, "updatedReplicas": 1}, False),
        ("StatefulSet", {"readyReplicas": 2, "updatedReplicas": 2}, False),
        ("DaemonSet", {}, False),
        ("DaemonSet", {"observedGeneration": 1, "desiredNumberScheduled": 2, "updatedNumberScheduled": 2}, False),
        ("DaemonSet", {"observedGeneration": 1}, True),
        ("Job", {"conditions": [{"type": "Complete", "status": "False"}]}, False),
        ("Job", {"conditions": [{"type": "Complete", "status": "True"}]}, True),
        ("APIService", {"conditions": [{"type": "Available", "status": "True"}]}, True),
    ],
)
def test_what_has_not_started_is_pending(kind: str, status: dict[str, Any], ready: bool) -> None:
    server = Server()
    document = item(kind, "x", spec={"replicas": 2})
    converge(server, a=[document])
    found = server.objects[f"{kind}/default/x"]
    found["status"], found["metadata"]["generation"] = status, 1
    pending = converge(server, a=[document]).pending
    assert bool(pending) is not ready
    assert {question["path"] for question in pending} <= {f"{kind}/default/x"}


SEEN = {"observedGeneration": 1}


@pytest.mark.parametrize(
    ("kind", "status", "lost", "pending", "warned"),
    [
        ("Deployment", {"updatedReplicas": 2, "replicas": 2, "availableReplicas": 1}, 1, False, True),
        ("Deployment", {"updatedReplicas": 2, "replicas": 2, "availableReplicas": 1}, 0, True, False),
        ("Deployment", {"updatedReplicas": 2, "replicas": 2}, 1, True, False),
        ("Deployment", {"updatedReplicas": 2, "replicas": 2, "availableReplicas": 2}, 1, False, False),
        # The new template's pods can start elsewhere.
        ("Deployment", {"updatedReplicas": 1, "replicas": 2, "availableReplicas": 2}, 1, True, False),
        ("StatefulSet", {**SEEN, "readyReplicas": 1, "updatedReplicas": 2}, 1, False, True),
        ("DaemonSet", {**SEEN, "desiredNumberScheduled": 3, "updatedNumberScheduled": 2, "numberAvailable": 2}, 1,
         False, True),
        ("DaemonSet", {**SEEN, "desiredNumberScheduled": 3, "updatedNumberScheduled": 3, "numberAvailable": 1}, 1,
         True, False),
        ("DaemonSet", {"desiredNumberScheduled": 0}, 1, True, False),
    ],
)  # fmt: skip
def test_pods_on_nodes_that_the_run_leaves_out_are_not_waited_for(
    kind: str, status: dict[str, Any], lost: int, pending: bool, warned: bool
) -> None:
    server = Server()
    document = item(kind, "x", spec={"replicas": 2})
    converge(server, a=[document])
    found = server.objects[f"{kind}/default/x"]
    found["status"], found["metadata"]["generation"] = status, 1
    # A dead one, one to which only the way is lost, and one that is no node any more.
    ready = {"w1": "Unknown", "w2": "True"}
    nodes = [{"metadata": {"name": name}, "status": {"conditions": [{"type": "Ready", "status": ready[name]}]}}
             for name in ready]  # fmt: skip
    server.objects["/api/v1/nodes"] = {"items": nodes}
    run = kube_addons.Addons(server, False, nodes_lost=["w1", "w2", "gone"] if lost else ["w2", "gone"])
    run.converge([{"name": "a", "objects": [document]}], prune=True)
    assert (bool(run.pending), bool(run.warnings)) == (pending, warned)
    for warning in run.warnings:
        assert warning.startswith(
            f"{kind} x is not complete, and not waited for, since the run leaves out nodes, and 1 of these is not ready"
        )


@pytest.mark.parametrize(("updated", "ready"), [(1, False), (2, True), (3, True)])
def test_a_partition_is_held_back_and_the_rest_is_not(updated: int, ready: bool) -> None:
    server = Server()
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"partition": 1}}
    document = item("StatefulSet", "x", spec={"replicas": 3, "updateStrategy": strategy})
    converge(server, a=[document])
    found = server.objects["StatefulSet/default/x"]
    found["status"] = {"observedGeneration": 1, "readyReplicas": 3, "updatedReplicas": updated}
    found["metadata"]["generation"] = 1
    assert bool(converge(server, a=[document]).pending) is not ready


def test_a_job_that_has_failed_is_known_by_its_condition() -> None:
    server = Server()
    assert converge(server, a=[item("Job", "x")]).pending == [
        {"path": "Job/default/x", "condition": "Complete", "failed": "Failed"}
    ]


@pytest.mark.parametrize(
    "spec",
    [
        ("DaemonSet", {"updateStrategy": {"type": "OnDelete"}}),
        ("StatefulSet", {"updateStrategy": {"type": "OnDelete"}, "replicas": 2}),
        ("Deployment", {"paused": True, "replicas": 2}),
        ("Job", {"suspend": True}),
    ],
)
def test_what_its_author_holds_back_is_not_waited_for(spec: tuple[str, dict[str, Any]]) -> None:
    """Their pods would be replaced, or started, only once somebody acts."""
    kind, given = spec
    server = Server()
    document = item(kind, "x", spec=given)
    converge(server, a=[document])
    status = {"observedGeneration": 1, "desiredNumberScheduled": 2, "numberAvailable": 2, "availableReplicas": 2}
    status |= {"readyReplicas": 2}
    found = server.objects[f"{kind}/default/x"]
    found["status"], found["metadata"]["generation"] = status, 1
    assert converge(server, a=[document]).pending == []


class Admitting(Server):
    """One that has to ask a webhook about pools, which does not answer so many times."""

    def __init__(self, refusals: int) -> None:
        super().__init__()
        self.refusals = refusals

    def apply(self, document: dict[str, Any], manager: str, dry_run: bool) -> dict[str, Any]:
        if document["kind"] == "Pool" and self.refusals:
            self.refusals -= 1
            raise ApiError('Internal error occurred: failed calling webhook "pool": connection refused', 500)
        return super().apply(document, manager, dry_run)


def test_a_webhook_that_starts_in_the_same_run_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kube_addons, "POLL_SECONDS", 0)
    assert told(converge(Admitting(3), a=[item("Pool", "p")])) == [("created", "Pool p")]
    monkeypatch.setattr(kube_addons, "ADMITTED_SECONDS", -1)
    with pytest.raises(ApiError, match="failed calling webhook"):
        converge(Admitting(1), a=[item("Pool", "p")])


def test_slow_hosts_have_longer_to_start_a_webhook_and_to_accept_a_definition(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 10_000, 50))
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    monkeypatch.setattr(kube_addons, "POLL_SECONDS", 0)
    with pytest.raises(ApiError, match="failed calling webhook"):
        kube_addons.Addons(Admitting(4), False).apply(item("Pool", "p"))
    kube_addons.Addons(Admitting(4), False, patience=3.0).apply(item("Pool", "p"))
    for patience, said in ((1.0, "after 30 s"), (7.0, "after 210 s")):
        run = kube_addons.Addons(Server(), False, patience)
        monkeypatch.setattr(run, "unready", lambda _: [{}])
        with pytest.raises(ApiError, match=said):
            run.apply(item("CustomResourceDefinition", "x", spec={"group": "x.io"}))


def test_check_mode_does_not_wait_for_a_webhook() -> None:
    run = converge(Admitting(1), dry_run=True, a=[item("Pool", "p"), item("Pool", "q")])
    assert told(run) == [("created", "Pool q")]
    [warning] = run.warnings
    assert warning.startswith("Pool p was not compared: ")
