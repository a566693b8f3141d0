"""A rehearsal, with API servers that are made of dictionaries."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from kubeproof.backup.agent import rehearsal
from kubeproof.backup.agent.drill_api import NotFound, Resource
from kubeproof.backup.agent.errors import BackupError

LIMITS = Resource("limitranges", "/api/v1/limitranges", True, frozenset({"list", "watch", "update"}))
NODES = Resource("nodes", "/api/v1/nodes", False, frozenset({"list", "watch", "update"}))
WIDGETS = Resource("widgets.example.org", "/apis/example.org/v1/widgets", True, frozenset({"list", "watch"}))
KEYS = [
    "/registry/limitranges/default/a",
    "/registry/limitranges/default/alien",
    "/registry/minions/n",
    "/registry/example.org/widgets/default/w",
]


@dataclass
class Server:
    """Objects by path; those that are None cannot be read, and their lists fail."""

    objects: dict[str, dict[str, Any] | None]
    served: list[Resource] = field(default_factory=lambda: [LIMITS, NODES])
    definitions: list[dict[str, Any]] = field(default_factory=list)
    answers: dict[str, list[str]] = field(default_factory=dict)
    put_paths: list[str] = field(default_factory=list)

    def resources(self) -> Iterator[Resource]:
        yield from self.served

    def uids(self, path: str, revision: int | None) -> Iterator[tuple[str, str]]:
        assert revision == 7
        resource = next(each for each in self.served if each.path == path)
        for where, found in self.objects.items():
            if where.rsplit("/", 1)[0].rsplit("/", 1)[-1] != resource.name:
                continue
            if found is None:
                raise BackupError("no kind is registered")
            metadata = found["metadata"]
            yield "{}/{}".format(metadata.get("namespace", ""), metadata["name"]), metadata["uid"]

    def json(self, path: str) -> Any:
        if path.endswith("/customresourcedefinitions"):
            return {"items": self.definitions}
        if path not in self.objects:
            raise NotFound(path)
        found = self.objects[path]
        if found is None:
            raise BackupError("no kind is registered")
        return found

    def put(self, path: str, document: Any) -> str:
        assert document["metadata"]["uid"]
        self.put_paths.append(path)
        answers = self.answers.get(path.partition("?")[0], [])
        return answers.pop(0) if answers else ""


def limit(name: str) -> dict[str, Any]:
    return {"metadata": {"namespace": "default", "name": name, "uid": f"uid-{name}"}}


def server(**more: Any) -> Any:
    objects = {
        "/api/v1/namespaces/default/limitranges/a": limit("a"),
        "/api/v1/namespaces/default/limitranges/alien": None,
        "/api/v1/nodes/n": {"metadata": {"name": "n", "uid": "uid-n"}},
    }
    return Server(**{"objects": objects, **more})


def test_what_cannot_be_read_is_named() -> None:
    found = rehearsal.read(server(), 7, KEYS)
    assert found.objects == {"limitranges": {"default/a": "uid-a"}, "nodes": {"/n": "uid-n"}}
    assert found.broken == {"limitranges": {"default/alien": "no kind is registered"}}


def test_a_list_that_fails_for_no_object_is_broken_as_a_whole() -> None:
    found = rehearsal.read(server(), 7, [])
    assert found.broken == {"limitranges": {"": "no kind is registered"}}


def test_what_a_webhook_converts_is_left_out() -> None:
    definition = {
        "spec": {"group": "example.org", "names": {"plural": "widgets"}, "conversion": {"strategy": "Webhook"}},
        "status": {"conditions": [{"type": "Established", "status": "True"}]},
    }
    found = rehearsal.read(server(served=[NODES, WIDGETS], definitions=[definition]), 7, KEYS)
    assert list(found.skipped) == ["widgets.example.org"]


def test_what_is_late_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    late = server(served=[NODES])
    monkeypatch.setattr("time.sleep", lambda _: late.served.append(WIDGETS))
    assert "widgets.example.org" in rehearsal.read(late, 7, KEYS, ["widgets.example.org"]).objects


def test_names_in_keys() -> None:
    assert list(rehearsal.names_in(KEYS, LIMITS)) == ["default/a", "default/alien"]
    assert list(rehearsal.names_in(KEYS, NODES)) == ["/n"]
    assert list(rehearsal.names_in(KEYS, WIDGETS)) == ["default/w"]


def test_one_object_of_each_kind_is_written() -> None:
    written = server(answers={"/api/v1/nodes/n": ["409: it was changed"]})
    count, failed = rehearsal.write_back(written, rehearsal.read(written, 7, KEYS), ())
    assert (count, failed) == (2, [])
    assert written.put_paths == ["/api/v1/namespaces/default/limitranges/a", "/api/v1/nodes/n", "/api/v1/nodes/n"]


def test_what_any_version_refuses_to_write_is_no_problem() -> None:
    written = server(answers={"/api/v1/nodes/n": ["422: it is invalid"]})
    _, failed = rehearsal.write_back(written, rehearsal.read(written, 7, KEYS), ())
    assert [each[:2] for each in failed] == [("nodes", "/n")]
    (found,) = rehearsal._only_by_target(server(), failed)
    assert (found.phase, found.resource, found.name) == ("write", "nodes", "/n")
    same = server(answers={"/api/v1/nodes/n": ["422: it is invalid"]})
    assert list(rehearsal._only_by_target(same, failed)) == []
    assert same.put_paths == ["/api/v1/nodes/n?dryRun=All"]
