"""Objects that are deleted because nobody wants them any more."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

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
    assert kube_objects.apply(client, node, dry_run=False, create=False) == ""
    assert client.applied == []
    assert kube_objects.apply(client, node, dry_run=False) == "created"
    assert client.applied == ["w1"]


def test_what_is_named_goes() -> None:
    gone = {"kind": "ClusterRoleBinding", "metadata": {"name": "gone"}}
    found = kube_objects.unwanted(FakeClient(), {"objects": [], "absent": [gone], "prune": []})
    assert found == {f"{ROLES}/gone": "ClusterRoleBinding gone"}
