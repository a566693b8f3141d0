"""Kubernetes objects as plain dictionaries: where they live in the API, and the few questions that are asked often."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kubeproof.core.errors import KubeproofError

Object = dict[str, Any]

# Kind to resource; what is not here is not created by a verification.
_RESOURCES = {
    "ClusterRole": "clusterroles",
    "ClusterRoleBinding": "clusterrolebindings",
    "ConfigMap": "configmaps",
    "CronJob": "cronjobs",
    "CustomResourceDefinition": "customresourcedefinitions",
    "DaemonSet": "daemonsets",
    "Deployment": "deployments",
    "Gateway": "gateways",
    "HTTPRoute": "httproutes",
    "HorizontalPodAutoscaler": "horizontalpodautoscalers",
    "Ingress": "ingresses",
    "Job": "jobs",
    "Lease": "leases",
    "MutatingAdmissionPolicy": "mutatingadmissionpolicies",
    "MutatingAdmissionPolicyBinding": "mutatingadmissionpolicybindings",
    "Namespace": "namespaces",
    "NetworkPolicy": "networkpolicies",
    "PersistentVolume": "persistentvolumes",
    "PersistentVolumeClaim": "persistentvolumeclaims",
    "Pod": "pods",
    "PodDisruptionBudget": "poddisruptionbudgets",
    "ReplicaSet": "replicasets",
    "ReplicationController": "replicationcontrollers",
    "Role": "roles",
    "RoleBinding": "rolebindings",
    "Secret": "secrets",
    "Service": "services",
    "ServiceAccount": "serviceaccounts",
    "StatefulSet": "statefulsets",
    "StorageClass": "storageclasses",
    "ValidatingWebhookConfiguration": "validatingwebhookconfigurations",
}

_CORDON = "node.kubernetes.io/unschedulable"
_SUFFIXES = {
    "Ki": 2**10,
    "Mi": 2**20,
    "Gi": 2**30,
    "Ti": 2**40,
    "n": 1e-9,
    "u": 1e-6,
    "m": 1e-3,
    "k": 1e3,
    "M": 1e6,
    "G": 1e9,
    "T": 1e12,
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
    for each in item.get("status", {}).get("conditions") or []:
        if each["type"] == kind:
            found: Mapping[str, Any] = each
            return found
    return {}


def holds(item: Mapping[str, Any], kind: str) -> bool:
    """Whether a condition of an object's status is true."""
    return condition(item, kind).get("status") == "True"


def cordoned(node: Mapping[str, Any]) -> bool:
    """Whether somebody keeps new pods from a node, which has a taint then that says nothing of the node itself."""
    return bool(node["spec"].get("unschedulable"))


def troubles(node: Mapping[str, Any]) -> list[str]:
    """The keys of the taints that a node has for the state that it is in. Of a cordon that is somebody's wish."""
    keys = [str(taint["key"]) for taint in node["spec"].get("taints", [])]
    return [key for key in keys if key.startswith("node.kubernetes.io/") and key != _CORDON]


def quantity(text: str | int) -> float:
    """A quantity of a resource as a number, of cores or bytes or pieces."""
    told = str(text)
    for suffix, factor in _SUFFIXES.items():
        if told.endswith(suffix):
            return float(told.removesuffix(suffix)) * factor
    return float(told)


def requested(pod: Mapping[str, Any], resource: str) -> float:
    """What a pod asks of its node: all its containers together, or the greediest of those that come before them."""

    def of(container: Mapping[str, Any]) -> float:
        return quantity(container.get("resources", {}).get("requests", {}).get(resource, 0))

    together = sum(of(container) for container in pod["spec"]["containers"])
    before = max((of(container) for container in pod["spec"].get("initContainers", [])), default=0.0)
    return max(together, before) + quantity(pod["spec"].get("overhead", {}).get(resource, 0))
