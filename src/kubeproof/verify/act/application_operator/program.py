"""The operator's program: ``python -m`` it, with its settings on standard input.

It watches Applications and what it makes of them, and has a Deployment and a Service for each, as its spec says, also
after somebody else has changed or deleted them. What it makes is owned by the Application, and goes with it.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from kubeproof.api.kubeconfig import Access, Token
from kubeproof.verify.act.application_operator.election import Elector
from kubeproof.verify.act.application_operator.gate import Gate
from kubeproof.verify.observe import objects
from kubeproof.verify.observe.api import Api, ApiError, NotObserved
from kubeproof.verify.observe.objects import Object

LEASE = "application-operator"
KIND, PLURAL = "Application", "applications"
_WATCH_SECONDS = 600.0
# What it has not heard of in time, as when a watch ends, it looks for.
_LOOK_SECONDS = 1.0
_PAUSE = 0.3


@dataclass(frozen=True)
class Settings:
    """What an instance is given. ``pod``: the spec of an application's pods; the gate's parts: see gate.py."""

    server: str
    ca: str
    token: str
    patience: float
    namespace: str
    group: str
    identity: str
    lease_seconds: int
    pod: Object
    gate_configuration: str
    gate_deployment: Object
    gate_service: Object
    # The process that an instance ends with.
    parent: int


def collection(group: str, namespace: str) -> str:
    """The path of Applications."""
    return f"/apis/{group}/v1/namespaces/{namespace}/{PLURAL}"


def application(group: str, namespace: str, name: str, replicas: int, data: Mapping[str, str] | None = None) -> Object:
    """An Application."""
    return {
        "apiVersion": f"{group}/v1",
        "kind": KIND,
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"replicas": replicas},
        **({"data": dict(data)} if data else {}),
    }


def definition(group: str) -> Object:
    """The kind itself."""
    count = {"type": "integer", "minimum": 0, "maximum": 10}
    properties = {
        "spec": {"type": "object", "required": ["replicas"], "properties": {"replicas": count}},
        "data": {"type": "object", "additionalProperties": {"type": "string"}},
        "status": {"type": "object", "properties": {"ready": count}},
    }
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "subresources": {"status": {}},
        "schema": {"openAPIV3Schema": {"type": "object", "required": ["spec"], "properties": properties}},
    }
    names = {"plural": PLURAL, "singular": "application", "kind": KIND, "listKind": f"{KIND}List"}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{PLURAL}.{group}"},
        "spec": {"group": group, "scope": "Namespaced", "names": names, "versions": [version]},
    }


def wanted(item: Object, group: str, pod: Object) -> tuple[Object, Object]:
    """The Deployment and the Service that an Application is to have."""
    name, namespace = objects.name(item), str(item["metadata"]["namespace"])
    owner = {
        "apiVersion": f"{group}/v1",
        "kind": KIND,
        "name": name,
        "uid": item["metadata"]["uid"],
        "controller": True,
    }
    labels = {"application": name}
    metadata = {"name": name, "namespace": namespace, "ownerReferences": [owner], "labels": labels}
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata,
        "spec": {
            "replicas": item["spec"]["replicas"],
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }
    ports = [{"name": "http", "protocol": "TCP", "port": 80, "targetPort": 8080}]
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata,
        "spec": {"selector": labels, "ports": ports},
    }
    return deployment, service


def repair(found: Object, manifest: Object) -> Object:
    """What of an object differs from what it is to be, as a change of it; empty if nothing does."""
    change: Object = {}
    if manifest["kind"] == "Deployment" and found["spec"].get("replicas") != manifest["spec"]["replicas"]:
        change["spec"] = {"replicas": manifest["spec"]["replicas"]}
    if manifest["kind"] == "Service" and found["spec"].get("selector") != manifest["spec"]["selector"]:
        # A null takes away what somebody has added.
        added = dict.fromkeys(found["spec"].get("selector") or {})
        change["spec"] = {"selector": {**added, **manifest["spec"]["selector"]}}
    return change


class ApplicationOperator:
    """One instance."""

    def __init__(self, api: Api, settings: Settings) -> None:
        """Nothing is asked yet."""
        self._api, self._settings = api, settings
        self._wake = threading.Event()
        self._elector = Elector(api, settings.namespace, LEASE, settings.identity, settings.lease_seconds)
        self._gate = Gate(
            api, settings.group, settings.gate_configuration, settings.gate_deployment, settings.gate_service
        )

    def work(self) -> None:
        """Watch and act, until the process that has started it is gone."""
        namespace = self._settings.namespace
        for path in (
            collection(self._settings.group, namespace),
            f"/apis/apps/v1/namespaces/{namespace}/deployments",
            objects.core(namespace, "services"),
        ):
            threading.Thread(target=self._watch, args=(path,), daemon=True).start()
        while os.getppid() == self._settings.parent:
            try:
                if self._elector.attempt():
                    self.reconcile_all()
            except (ApiError, NotObserved, httpx.HTTPError) as error:
                # An API server that goes away, or rights that are not known yet: it looks again.
                print(f"{self._settings.identity}: {error}", file=sys.stderr, flush=True)
                self._wake.wait(_PAUSE)
            self._wake.wait(_LOOK_SECONDS)
            self._wake.clear()

    def reconcile_all(self) -> None:
        """Bring the webhook and all Applications to what they should be."""
        self._gate.converge()
        path = collection(self._settings.group, self._settings.namespace)
        for item in self._api.items(path):
            if self._elector.leads and "deletionTimestamp" not in item["metadata"]:
                self._reconcile(path, item)

    def _reconcile(self, path: str, item: Object) -> None:
        manager = {"fieldManager": self._settings.identity}
        ready = 0
        for manifest in wanted(item, self._settings.group, self._settings.pod):
            answer = self._api.request("GET", objects.path(manifest))
            if answer.status == 404:
                self._api.request("POST", objects.collection(manifest), manifest, params=manager).required()
                continue
            found = answer.required()
            change = repair(found, manifest)
            if change:
                self._api.request(
                    "PATCH",
                    objects.path(manifest),
                    change,
                    params=manager,
                    content_type="application/merge-patch+json",
                ).required()
            if manifest["kind"] == "Deployment":
                ready = found.get("status", {}).get("readyReplicas", 0)
        if item.get("status", {}).get("ready") != ready:
            self._api.patch(f"{path}/{objects.name(item)}/status", {"status": {"ready": ready}})

    def _watch(self, path: str) -> None:
        def changed(_items: list[Object]) -> bool:
            self._wake.set()
            return False

        while True:
            try:
                self._api.observe(path, changed, what=path, timeout=_WATCH_SECONDS)
            except (ApiError, NotObserved, httpx.HTTPError):
                self._wake.wait(_PAUSE)


def settings_of(text: str) -> Settings:
    """Settings as they come."""
    given: dict[str, Any] = json.loads(text)
    return Settings(**given)


def told(settings: Settings) -> str:
    """Settings as an instance reads them."""
    return json.dumps(dataclasses.asdict(settings))


def main() -> None:
    """Run one instance."""
    settings = settings_of(sys.stdin.read())
    with Api(Access(settings.server, settings.ca, Token(settings.token))) as api:
        api.patience = settings.patience
        ApplicationOperator(api, settings).work()


if __name__ == "__main__":
    main()
