"""Records of a pod's way: begun before it is created, read when it runs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from kubeproof.verify.act.pods import Blocked
from kubeproof.verify.observe import audit, clocks, objects, runtime, sockets
from kubeproof.verify.observe.api import Api
from kubeproof.verify.observe.cluster import Cluster
from kubeproof.verify.observe.etcd import Change
from kubeproof.verify.observe.hosts import Host, on_hosts
from kubeproof.verify.pod_startup import trace
from kubeproof.verify.pod_startup.trace import KUBELET_SELECTOR, SCHEDULER_SELECTOR, Notification, Recording

_RUNNING_SECONDS = 45.0
_OPEN_SECONDS = 10.0
_WRITTEN_SECONDS = 5.0
_AUDIT_FIELDS = (
    "auditID",
    "stage",
    "requestURI",
    "verb",
    "user",
    "userAgent",
    "objectRef",
    "responseStatus",
    "requestReceivedTimestamp",
    "stageTimestamp",
)


def record(cluster: Cluster, manifest: Mapping[str, Any], create: Callable[[], object]) -> Recording:
    """Have a pod created, and return what was recorded until it runs, or does not get there in time."""
    namespace, name = manifest["metadata"]["namespace"], objects.name(manifest)
    key = f"/registry/pods/{namespace}/{name}"
    servers = cluster.control_plane
    known = {host.name: clocks.measure(host) for host in {*servers, cluster.etcd.host}}
    with cluster.etcd.watching(key) as changes, ThreadPoolExecutor(2) as pool:
        since = cluster.api.get(objects.collection(manifest))["metadata"]["resourceVersion"]
        watches = [_Watch(cluster.api, manifest, selector) for selector in (SCHEDULER_SELECTOR, KUBELET_SELECTOR)]
        following = [pool.submit(watch.follow, since) for watch in watches]
        for watch in watches:
            watch.await_open()
        create()
        notified = [each for future in following for each in future.result()]
        item = cluster.api.get(objects.path(manifest))
        made = Recording(namespace, name, item["metadata"]["uid"], key, cluster.etcd.host.name, notified=notified)
        made.clocks = {clocks.CONTROLLER: clocks.THIS, **known}
        if bound_to := item["spec"].get("nodeName"):
            node = cluster.node(bound_to)
            made.node, made.node_host = node.name, node.host.name
            made.clocks.setdefault(node.host.name, clocks.measure(node.host))
        _read_until_complete(cluster, made, changes)
    return made


class _Watch:
    """A watch on one pod at the API server, with the selector of a component."""

    def __init__(self, api: Api, manifest: Mapping[str, Any], selector: str) -> None:
        self._api = api
        self._path = objects.collection(manifest)
        self._selector = selector
        self._all = f"{selector},metadata.name={objects.name(manifest)}"
        self._open = threading.Event()

    def follow(self, since: str) -> list[Notification]:
        """The events of the watch, with times, until the pod runs."""
        notified: list[Notification] = []
        limit = self._api.patient(_RUNNING_SECONDS)
        deadline = time.monotonic() + limit
        with self._api.watching(self._path, since=since, timeout=limit, fieldSelector=self._all) as events:
            self._open.set()
            for event in events:
                if event.kind in {"ERROR", "DELETED"}:
                    break
                notified.append(self._notification(event.item, time.time() - (time.monotonic() - event.at)))
                if notified[-1].phase == "Running":
                    return notified
        if time.monotonic() < deadline - 1:
            raise Blocked("apiserver", f"a watch on {self._path} ended before the pod ran")
        return notified

    def await_open(self) -> None:
        """Wait until the API server has accepted it."""
        if not self._open.wait(_OPEN_SECONDS):
            raise Blocked("apiserver", f"no watch on {self._path} within {_OPEN_SECONDS:.0f} s")

    def _notification(self, item: Mapping[str, Any], at: float) -> Notification:
        node, phase = item["spec"].get("nodeName", ""), item["status"].get("phase", "")
        return Notification(self._selector, objects.revision(item), node, phase, at)


def _read_until_complete(cluster: Cluster, made: Recording, changes: Callable[[], list[Change]]) -> None:
    """Read the logs until they leave nothing to be asked for, for a while: a request is in them once it is answered."""
    deadline = time.monotonic() + cluster.api.patient(_WRITTEN_SECONDS)
    while True:
        made.changes = changes()
        made.audit = on_hosts(cluster.control_plane, lambda host: _audited(host, made))
        if made.node:
            host = cluster.node(made.node).host
            made.requests = runtime.requests(host, made.uid)
            made.runtime_clients = sorted(set(sockets.clients(host, _socket(cluster.api, made.node)).values()))
        if not trace.trace(made).problems or time.monotonic() > deadline:
            return
        time.sleep(0.2)


def _audited(host: Host, made: Recording) -> list[dict[str, Any]]:
    """What an API server wrote of the pod, and of the watches by which components learn of pods."""
    texts = (made.namespace, "fieldSelector=status.phase%21%3DSucceeded", f"fieldSelector=spec.nodeName%3D{made.node}")
    chosen = [record for text in texts for record in audit.records([host], text) if _matters(record, made)]
    return [{field: record[field] for field in _AUDIT_FIELDS if field in record} for record in chosen]


def _matters(record: Mapping[str, Any], made: Recording) -> bool:
    reference = record.get("objectRef", {})
    if record["verb"] == "watch":
        return bool(reference.get("resource") == "pods" and not reference.get("namespace"))
    return bool(reference.get("resource") == "pods" and reference.get("name") == made.pod)


def _socket(api: Api, node: str) -> str:
    config = api.get(f"/api/v1/nodes/{node}/proxy/configz")["kubeletconfig"]
    return str(config["containerRuntimeEndpoint"]).removeprefix("unix://")
