"""Where a verification works: namespaces of its own, which go away with it, whatever ends it."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Any, Self

import httpx

from kubeproof.core.active_run import Machine, Process
from kubeproof.verify.observe import objects
from kubeproof.verify.observe.api import JSON_PATCH, MERGE_PATCH, Api, NotObserved
from kubeproof.verify.observe.etcd import Etcd
from kubeproof.verify.observe.objects import Object

PREFIX = "kubeproof-verify"
LABEL = "kubeproof.io/verification"
OWNER = "kubeproof.io/verification-owner"
_NOTE = "kubeproof.io/verification-ends"
RESOURCE_DOMAIN = "verify.kubeproof.io"
# What is left of a verification on another machine differs from one that still runs only by its age.
_MAX_AGE_SECONDS = 3600
# What a verification creates outside of its namespaces; each has the label, and goes with the verification.
_OUTSIDE = (
    "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations",
    "/api/v1/persistentvolumes",
    "/apis/storage.k8s.io/v1/storageclasses",
    "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
    "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
    "/apis/rbac.authorization.k8s.io/v1/clusterroles",
    "/apis/rbac.authorization.k8s.io/v1/namespaces/kube-system/rolebindings",
    "/apis/rbac.authorization.k8s.io/v1/namespaces/kube-system/roles",
)
_GONE_SECONDS = 60.0


class Workspace:
    """The objects of one verification."""

    def __init__(self, api: Api) -> None:
        """Think of a name; nothing is created before the first namespace is asked for."""
        self.api = api
        self.run_id = secrets.token_hex(4)
        self._namespaces: list[str] = []
        self._undo = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._undo.close()
        finally:
            remove_namespaces(self.api, self._namespaces)

    @property
    def resource(self) -> str:
        """The beginning of the names of node resources and labels that this verification may give."""
        return f"{RESOURCE_DOMAIN}/{self.run_id}"

    def on_exit(self, function: Callable[[], Any]) -> None:
        """Have something undone at the end."""
        self._undo.callback(function)

    def namespace(self, suffix: str = "", api: Api | None = None) -> str:
        """Create a namespace, through another API server than usual if one is given."""
        name = "-".join(part for part in (PREFIX, self.run_id, suffix) if part)
        self._namespaces.append(name)
        metadata = {"name": name, "labels": {LABEL: self.run_id}, "annotations": {OWNER: json.dumps(_this_process())}}
        (api or self.api).create({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
        return name

    def create_outside(self, manifest: Mapping[str, Any]) -> Object:
        """Create an object that is in none of this verification's namespaces, labelled; it is removed at the end."""
        metadata = {**manifest["metadata"], "labels": {LABEL: self.run_id}}
        self.on_exit(lambda: self.api.delete(objects.path(manifest)))
        return self.api.create({**manifest, "metadata": metadata})

    def label_node(self, node: str, label: str) -> None:
        """Label a node, as long as this verification lasts or until ``unlabel_node``."""
        self.on_exit(lambda: unlabel_node(self.api, node, label))
        self.api.patch(f"/api/v1/nodes/{node}", {"metadata": {"labels": {label: ""}}})


@dataclass(frozen=True)
class Departure:
    """A namespace that is being deleted: what etcd had of it, and how long it takes, once that is known."""

    namespace: str
    keys: list[str]
    seconds: Future[float]


@contextmanager
def departing(api: Api, etcd: Etcd, namespace: str) -> Iterator[Departure]:
    """Delete a namespace, and take the time until it is gone while other things are done."""
    keys, start = keys_of(etcd, namespace), time.monotonic()
    api.delete(f"/api/v1/namespaces/{namespace}")

    def until_gone() -> float:
        api.observe_gone(_namespace(namespace), what=f"namespace {namespace} gone", timeout=_GONE_SECONDS)
        return time.monotonic() - start

    with ThreadPoolExecutor(1) as pool:
        yield Departure(namespace, keys, pool.submit(until_gone))


def keys_of(etcd: Etcd, namespace: str) -> list[str]:
    """The keys in etcd that have a namespace in their name."""
    return [key for key in etcd.keys("/registry/") if f"/{namespace}" in key]


def remove_namespaces(api: Api, names: list[str]) -> None:
    """Remove namespaces with all that is in them, and wait until they are gone."""
    for name in names:
        _delete_at_last(api, f"/api/v1/namespaces/{name}")
        # The namespace's controller begins seconds later, and looks again much later if it meets pods that take time to
        # end. What would replace them can't, now that the namespace is going.
        _delete_at_last(api, objects.core(name, "pods"))
    for name in names:
        with contextlib.suppress(NotObserved, httpx.HTTPError):
            api.observe(objects.core(name, "pods"), lambda items: not items, what="no pods", timeout=_GONE_SECONDS)
        _have_looked_at(api, name)
    for name in names:
        api.observe_gone(_namespace(name), what=f"namespace {name} gone", timeout=_GONE_SECONDS)


def _have_looked_at(api: Api, name: str) -> None:
    """Have the namespace's controller look again in five seconds, as it does after each change.

    By itself it looks half as long after it has met pods as the most patient of them may take to end: 15 s by default.
    """
    change = {"metadata": {"annotations": {_NOTE: "pods are gone"}}}
    # It goes sooner or later without.
    with contextlib.suppress(httpx.HTTPError):
        api.request("PATCH", f"/api/v1/namespaces/{name}", change, content_type=MERGE_PATCH)


def _delete_at_last(api: Api, path: str) -> None:
    """Delete what is at a path, even if the server that is asked has no etcd at first.

    One whose host was cut off may hold on to dead connections to etcd for 40 s (its client's keep-alive, 30 and 10 s).
    """
    deadline = time.monotonic() + api.patient(_GONE_SECONDS)
    while True:
        try:
            api.delete(path)
        except httpx.TimeoutException:
            if time.monotonic() > deadline:
                raise
        else:
            return


def remove_leftovers(api: Api) -> list[str]:
    """Remove what verifications that were killed left in the API; the names of what was removed."""
    found = api.items("/api/v1/namespaces", labelSelector=LABEL)
    alive = {item["metadata"]["labels"][LABEL] for item in found if _still_runs(item)}
    dead = [objects.name(item) for item in found if item["metadata"]["labels"][LABEL] not in alive]
    remove_namespaces(api, dead)
    for collection in _OUTSIDE:
        for item in api.items(collection, labelSelector=LABEL):
            if item["metadata"]["labels"][LABEL] not in alive:
                api.delete(f"{collection}/{objects.name(item)}")
                dead.append(objects.name(item))
    for node in api.items("/api/v1/nodes"):
        for given, take_away in (
            (node["status"].get("capacity", {}), withdraw),
            (node["metadata"].get("labels", {}), unlabel_node),
        ):
            for key in filter(_ours, given):
                if key.split("/")[1].split("-")[0] not in alive:
                    take_away(api, objects.name(node), key)
                    dead.append(f"{key} of {objects.name(node)}")
    return dead


def unlabel_node(api: Api, node: str, label: str) -> None:
    """Take a label away from a node again; that it has none is fine."""
    api.patch(f"/api/v1/nodes/{node}", {"metadata": {"labels": {label: None}}})


def advertise(api: Api, node: str, resource: str, amount: int) -> None:
    """Let a node have some of a resource that nothing else uses.

    https://kubernetes.io/docs/tasks/administer-cluster/extended-resource-node/
    """
    change = {"status": {part: {resource: str(amount)} for part in ("capacity", "allocatable")}}
    api.patch(f"/api/v1/nodes/{node}/status", change)


def withdraw(api: Api, node: str, resource: str) -> None:
    """Take a resource away from a node again."""
    pointer = resource.replace("~", "~0").replace("/", "~1")
    status = api.get(f"/api/v1/nodes/{node}")["status"]
    parts = [part for part in ("capacity", "allocatable") if resource in status[part]]
    removals = [{"op": "remove", "path": f"/status/{part}/{pointer}"} for part in parts]
    if removals:
        api.patch(f"/api/v1/nodes/{node}/status", removals, JSON_PATCH)


def _ours(key: str) -> bool:
    return key.startswith(f"{RESOURCE_DOMAIN}/")


def _namespace(name: str) -> Object:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


def _this_process() -> dict[str, Any]:
    return {"machine": asdict(Machine.here()), "process": asdict(Process.of(os.getpid()))}


def _still_runs(namespace: Mapping[str, Any]) -> bool:
    """Whether the verification that owns a namespace is still running."""
    owner = json.loads(namespace["metadata"].get("annotations", {}).get(OWNER, "{}"))
    try:
        machine, process = Machine(**owner["machine"]), Process(**owner["process"])
    except (KeyError, TypeError):
        # As earlier versions wrote it. A machine is not known by its host's name alone.
        return _is_young(namespace)
    if machine.visible:
        return process.alive
    return not machine.rebooted and _is_young(namespace)


def _is_young(namespace: Mapping[str, Any]) -> bool:
    return _age_seconds(namespace["metadata"]["creationTimestamp"]) < _MAX_AGE_SECONDS


def _age_seconds(timestamp: str) -> float:
    return (datetime.datetime.now(datetime.UTC) - datetime.datetime.fromisoformat(timestamp)).total_seconds()
