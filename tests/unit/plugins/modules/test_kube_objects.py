"""Objects that are deleted because nobody wants them any more."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest
from ansible.module_utils.kube_apply import apply
from ansible.module_utils.kube_client import ApiError

import kube_objects

ROLES = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings"


class FakeClient:
    """An API server with bindings of two schedulers."""

    def get(self, _path: str) -> dict[str, Any]:
        names = ("kubeproof:kube-scheduler:batch", "kubeproof:kube-scheduler:old")
        return {"kind": "ClusterRoleBindingList", "items": [{"metadata": {"name": name}} for name in names]}

    def path(self, document: dict[str, Any]) -> str:
        return f"{ROLES}/{quote(document['metadata']['name'])}"


def test_what_is_listed_and_not_wanted_goes_and_what_is_wanted_stays() -> None:
    wanted = {"kind": "ClusterRoleBinding", "metadata": {"name": "kubeproof:kube-scheduler:batch"}}
    params = {"objects": [wanted], "absent": [], "prune": [f"{ROLES}?labelSelector=kubeproof.io/scheduler"]}
    found = kube_objects.unwanted(FakeClient(), params)
    assert list(found.values()) == ["ClusterRoleBinding kubeproof:kube-scheduler:old"]


class Empty:
    """An API server that has nothing yet."""

    def __init__(self) -> None:
        self.applied: list[str] = []

    def path(self, document: dict[str, Any]) -> str:
        return f"/api/v1/nodes/{document['metadata']['name']}"

    def get(self, path: str) -> dict[str, Any]:
        raise ApiError(path, 404)

    def apply(self, document: dict[str, Any], _manager: str, _dry_run: bool) -> dict[str, Any]:
        self.applied.append(document["metadata"]["name"])
        return document


def test_what_is_not_there_is_made_unless_it_is_others_to_make() -> None:
    client, node = Empty(), {"kind": "Node", "metadata": {"name": "w1"}}
    assert apply(client, node, dry_run=False, create=False) == ""
    assert client.applied == []
    assert apply(client, node, dry_run=False) == "created"
    assert client.applied == ["w1"]


CLASS = {"kind": "StorageClass", "metadata": {"name": "fast"}, "reclaimPolicy": "Delete"}


class Immutable:
    """An API server with a StorageClass, of which it changes nothing."""

    def __init__(self, choices: tuple[str, ...] = ("Delete", "Retain"), **fields: Any) -> None:
        self.present: dict[str, Any] | None = {**CLASS, **fields}
        self.choices = choices
        self.log: list[str] = []

    def path(self, document: dict[str, Any]) -> str:
        return str(document["metadata"]["name"])

    def get(self, _path: str) -> dict[str, Any]:
        assert self.present
        return self.present

    def delete(self, path: str, dry_run: bool) -> None:
        assert not dry_run
        self.log.append(f"delete {path}")
        self.present = None

    def apply(self, document: dict[str, Any], _manager: str, dry_run: bool) -> dict[str, Any]:
        there = self.present if document["metadata"]["name"] == "fast" else None
        if document["reclaimPolicy"] not in self.choices or (there and there != document):
            raise ApiError("updates to reclaimPolicy are forbidden", 422)
        if not dry_run:
            self.log.append(f"apply {document['metadata']['name']}")
            self.present = document
        return document


def test_a_class_that_cannot_be_changed_is_made_anew() -> None:
    client, wanted = Immutable(), {**CLASS, "reclaimPolicy": "Retain"}
    assert apply(client, wanted, dry_run=True) == "changed"
    assert client.log == []
    assert apply(client, wanted, dry_run=False) == "changed"
    assert client.log == ["delete fast", "apply fast"]
    assert apply(client, wanted, dry_run=False) == ""


def test_a_class_stays_if_the_new_one_is_refused() -> None:
    client = Immutable()
    with pytest.raises(ApiError, match="reclaimPolicy"):
        apply(client, {**CLASS, "reclaimPolicy": "Never"}, dry_run=False)
    assert client.log == []


def test_nothing_else_is_deleted_for_a_change() -> None:
    client = Immutable(kind="Job")
    with pytest.raises(ApiError, match="forbidden"):
        apply(client, {**CLASS, "kind": "Job", "reclaimPolicy": "Retain"}, dry_run=False)
    assert client.log == []


class Scaled:
    """A deployment whose fields have these managers, each with operation and subresource."""

    def __init__(self, *managers: dict[str, Any]) -> None:
        self.applied: list[dict[str, Any]] = []
        self.present: dict[str, Any] = {
            "kind": "Deployment",
            "metadata": {"name": "coredns", "managedFields": [*managers]},
            "spec": {"replicas": 5, "paused": False},
        }

    def path(self, _document: dict[str, Any]) -> str:
        return "/apis/apps/v1/namespaces/kube-system/deployments/coredns"

    def get(self, _path: str) -> dict[str, Any]:
        return self.present

    def apply(self, document: dict[str, Any], _manager: str, _dry_run: bool) -> dict[str, Any]:
        self.applied.append(document)
        return {**self.present, "spec": {**self.present["spec"], **document["spec"]}}


def manager(name: str, operation: str = "Update", *fields: str, **more: Any) -> dict[str, Any]:
    return {"manager": name, "operation": operation, "fieldsV1": {"f:spec": {f"f:{key}": {} for key in fields}}, **more}


OURS = manager("kubeproof", "Apply", "replicas", "template")
DEPLOYMENT: dict[str, Any] = {
    "kind": "Deployment",
    "metadata": {"name": "coredns"},
    "spec": {"replicas": 2, "template": {}},
}


@pytest.mark.parametrize(
    "other",
    [
        manager("kube-controller-manager", "Update", "replicas", subresource="scale"),
        manager("kubectl", "Update", "replicas", subresource="scale"),
        # An older kubeproof, or a program with our name that does not apply.
        manager("kubeproof", "Update", "replicas"),
    ],
)
def test_a_field_that_others_have_set_is_kept(other: dict[str, Any]) -> None:
    client = Scaled(manager("kubeproof", "Apply", "template"), other)
    assert apply(client, DEPLOYMENT, dry_run=False, keep=["spec.replicas"]) == "changed"
    assert client.applied == [{**DEPLOYMENT, "spec": {"template": {}}}]
    assert DEPLOYMENT["spec"] == {"replicas": 2, "template": {}}
    # Otherwise it is put back.
    assert apply(client, DEPLOYMENT, dry_run=False) == "changed"
    assert client.applied[1] == DEPLOYMENT


@pytest.mark.parametrize(
    "managers",
    [
        [],
        [OURS],
        # Others have set something else.
        [
            OURS,
            manager("kubectl", "Update", "paused"),
            {"manager": "k", "operation": "Update", "fieldsV1": {"f:status": {}}},
        ],
        [OURS, {"manager": "broken", "operation": "Update"}],
    ],
)
def test_a_field_of_ours_is_applied(managers: list[dict[str, Any]]) -> None:
    client = Scaled(*managers)
    apply(client, DEPLOYMENT, dry_run=False, keep=["spec.replicas", "spec.not.there"])
    assert client.applied == [DEPLOYMENT]


def test_a_kept_field_is_part_of_an_object_that_is_created() -> None:
    created: list[dict[str, Any]] = []

    class New(Empty):
        def apply(self, document: dict[str, Any], _manager: str, _dry_run: bool) -> dict[str, Any]:
            created.append(document)
            return document

    assert apply(New(), DEPLOYMENT, dry_run=False, keep=["spec.replicas"]) == "created"
    assert created == [DEPLOYMENT]


def test_what_is_named_goes() -> None:
    gone = {"kind": "ClusterRoleBinding", "metadata": {"name": "gone"}}
    found = kube_objects.unwanted(FakeClient(), {"objects": [], "absent": [gone], "prune": []})
    assert found == {f"{ROLES}/gone": "ClusterRoleBinding gone"}
