"""Persistent volumes for tests: directories on nodes, made for one test and removed with it.

They are provisioned statically, so that any cluster can be asked, whatever storage it has.
https://kubernetes.io/docs/concepts/storage/volumes/#local
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from kubeproof.verify.act.disruption import undone
from kubeproof.verify.act.pods import FILES_PORT, UPLOADS, Manifests, Pod
from kubeproof.verify.act.workspace import PREFIX, Workspace
from kubeproof.verify.observe import objects
from kubeproof.verify.observe.api import Api, NotObserved
from kubeproof.verify.observe.cluster import Node
from kubeproof.verify.observe.hosts import Host
from kubeproof.verify.observe.objects import Object

NO_PROVISIONER = "kubernetes.io/no-provisioner"
DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"
SIZE = "16Mi"
# Of test pods.
USER = 65532
# Of a volume's spec: what becomes of it when its claim is gone.
POLICY = "persistentVolumeReclaimPolicy"
_REMOVED = "Delete"
_ROOT = f"/var/lib/{PREFIX}"
_HOSTNAME = "kubernetes.io/hostname"
_VOLUMES = "/api/v1/persistentvolumes"
_GONE_SECONDS = 20.0
# After that a host removes by itself what a verification that was killed has left: longer than any takes.
_LIMIT_SECONDS = 2 * 3600


@dataclass(frozen=True)
class Place:
    """Where a volume's data is. ``label``: the node's host name, which is its name unless another was chosen."""

    node: str
    label: str
    host: Host
    directory: str


@dataclass(frozen=True)
class LocalVolumes:
    """Volumes of one storage class, by name, each a directory on a node."""

    storage_class: str
    places: Mapping[str, Place]


@contextmanager
def local_volumes(workspace: Workspace, nodes: Sequence[Node], purpose: str, count: int) -> Iterator[LocalVolumes]:
    """So many volumes, spread over nodes, which nobody but who names their storage class gets."""
    name = f"{PREFIX}-{workspace.run_id}-{purpose}"
    spread = [nodes[number % len(nodes)] for number in range(count)]
    places = {
        f"{name}-{number}": Place(node.name, _host_name(node), node.host, f"{_ROOT}/{name}-{number}")
        for number, node in enumerate(spread)
    }
    with ExitStack() as undo:
        for place in places.values():
            undo.enter_context(_directory(place))
        # Before the directories go.
        undo.callback(_remove, workspace.api, name, places)
        workspace.create_outside(storage_class(name))
        for volume, place in places.items():
            workspace.create_outside(persistent_volume(volume, name, place))
        yield LocalVolumes(name, places)


def _host_name(node: Node) -> str:
    return str(node.item["metadata"].get("labels", {}).get(_HOSTNAME, node.name))


@contextmanager
def _directory(place: Place) -> Iterator[None]:
    """A directory that test pods may write to."""
    # Others may be about to make, or remove, what is in the same place.
    remove = f"rm -rf --one-file-system {place.directory}; rmdir {_ROOT} 2>/dev/null || true"
    with undone(place.host, remove, _LIMIT_SECONDS):
        make = "install -d -m 0755 %s && install -d -o %s -g %s -m 0700 %s"
        place.host.run(make, _ROOT, str(USER), str(USER), place.directory)
        yield


def _remove(api: Api, storage_class_name: str, names: Iterable[str]) -> None:
    """Remove volumes, and whatever claims them, if their pods are going."""
    volumes = [item for item in api.items(_VOLUMES) if objects.name(item) in set(names)]
    for item in volumes:
        api.delete(f"{_VOLUMES}/{objects.name(item)}")
        owner = item["spec"].get("claimRef")
        if owner:
            api.delete(f"{objects.core(owner['namespace'], 'persistentvolumeclaims')}/{owner['name']}")
    for item in volumes:
        # A pod that does not go keeps its volume, and is removed with its namespace later.
        with contextlib.suppress(NotObserved):
            wanted = {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": item["metadata"]}
            api.observe_gone(wanted, what=f"volume {objects.name(item)} goes", timeout=_GONE_SECONDS)
    api.delete(f"/apis/storage.k8s.io/v1/storageclasses/{storage_class_name}")


def storage_class(name: str) -> Object:
    """A class whose volumes are there before, and are bound once it is known where the pod can run."""
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": name},
        "provisioner": NO_PROVISIONER,
        "volumeBindingMode": "WaitForFirstConsumer",
    }


def persistent_volume(name: str, storage_class_name: str, place: Place) -> Object:
    """A directory on a node as a volume, whose data stays when its claim goes."""
    # Of a volume's affinity the scheduler looks at labels only, and takes fields for fulfilled.
    on_node = {"key": _HOSTNAME, "operator": "In", "values": [place.label]}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name},
        "spec": {
            "capacity": {"storage": SIZE},
            "accessModes": ["ReadWriteOnce"],
            POLICY: "Retain",
            "storageClassName": storage_class_name,
            "local": {"path": place.directory},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [on_node]}]}},
        },
    }


def claim(name: str, storage_class_name: str, namespace: str = "") -> Object:
    """A claim to a volume of a class. Without ``namespace``, as a StatefulSet has it as a template."""
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, **({"namespace": namespace} if namespace else {})},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": storage_class_name,
            "resources": {"requests": {"storage": SIZE}},
        },
    }


def keeping(manifests: Manifests, volume: str, *, ready_after: int = 0) -> list[Object]:
    """The containers of a pod that writes what it is sent to a volume, and shows what is there.

    ``ready_after``: seconds that pass, at the least, until it is ready.
    """
    probe = {"httpGet": {"path": "/readyz", "port": 8080}, "periodSeconds": 1, "initialDelaySeconds": ready_after}
    mount = [{"name": volume, "mountPath": UPLOADS}]
    return [
        manifests.server("server", readinessProbe=probe, volumeMounts=mount),
        manifests.file_server("files", volumeMounts=[{**mount[0], "readOnly": True}]),
    ]


def kept(pod: Pod, path: str) -> str:
    """What a pod, made of the containers above, has in a file; why it has nothing there, if it has not."""
    answer = pod.api.request("GET", f"{pod.path}:{FILES_PORT}/proxy/{path.lstrip('/')}")
    return str(answer.body) if answer.ok else f"nothing ({answer.status})"


def default_provisioned(api: Api) -> str:
    """The cluster's default storage class, if that has volumes made; empty if it has not, or there is none."""
    for item in api.items("/apis/storage.k8s.io/v1/storageclasses"):
        is_default = item["metadata"].get("annotations", {}).get(DEFAULT_CLASS) == "true"
        if is_default and item["provisioner"] != NO_PROVISIONER:
            return objects.name(item)
    return ""


def let_go(api: Api, namespace: str, storage_class_name: str) -> None:
    """Have the volumes that were made for claims of a namespace removed with these, even if their class keeps them."""
    for item in api.items(_VOLUMES):
        spec = item["spec"]
        ours = (spec.get("claimRef") or {}).get("namespace") == namespace
        if ours and spec.get("storageClassName") == storage_class_name and spec[POLICY] != _REMOVED:
            api.patch(f"{_VOLUMES}/{objects.name(item)}", {"spec": {POLICY: _REMOVED}})
