"""Kubernetes objects as plain dictionaries: where they live in the API, and the few questions that are asked often."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kubeproof.errors import KubeproofError

Object = dict[str, Any]

# Kind to resource; what is not here has no namespace either and is not created by a verification.
_RESOURCES = {
    "ConfigMap": "configmaps",
    "Namespace": "namespaces",
    "Pod": "pods",
    "ReplicaSet": "replicasets",
    "ReplicationController": "replicationcontrollers",
    "Role": "roles",
    "RoleBinding": "rolebindings",
    "Secret": "secrets",
    "Service": "services",
    "ServiceAccount": "serviceaccounts",
}


def collection(manifest: Mapping[str, Any]) -> str:
    """The path of the collection that an object belongs to."""
    kind, version = manifest["kind"], manifest["apiVersion"]
    if kind not in _RESOURCES:
        raise KubeproofError(f"no resource is known for kind {kind}")
    root = f"/apis/{version}" if "/" in version else f"/api/{version}"
    namespace = manifest["metadata"].get("namespace")
    return f"{root}/namespaces/{namespace}/{_RESOURCES[kind]}" if namespace else f"{root}/{_RESOURCES[kind]}"


def path(manifest: Mapping[str, Any]) -> str:
    """The path of an object."""
    return f"{collection(manifest)}/{manifest['metadata']['name']}"


def core(namespace: str, resource: str) -> str:
    """The path of a collection of the core group in a namespace."""
    return f"/api/v1/namespaces/{namespace}/{resource}"


def name(item: Mapping[str, Any]) -> str:
    """An object's name."""
    return str(item["metadata"]["name"])


def revision(item: Mapping[str, Any]) -> int:
    """The revision at which an object was last written, as an API server on etcd gives it."""
    return int(item["metadata"]["resourceVersion"])


def condition(item: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    """A condition of an object's status; empty if it has none of this type."""
    for each in item.get("status", {}).get("conditions", []):
        if each["type"] == kind:
            found: Mapping[str, Any] = each
            return found
    return {}


def holds(item: Mapping[str, Any], kind: str) -> bool:
    """Whether a condition of an object's status is true."""
    return condition(item, kind).get("status") == "True"
