"""Objects that are deleted because nobody wants them any more."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

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


def test_what_is_named_goes() -> None:
    gone = {"kind": "ClusterRoleBinding", "metadata": {"name": "gone"}}
    found = kube_objects.unwanted(FakeClient(), {"objects": [], "absent": [gone], "prune": []})
    assert found == {f"{ROLES}/gone": "ClusterRoleBinding gone"}
