"""Pods that tests look at, and pods that tests look with."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from kubeproof.verify.observe import objects
from kubeproof.verify.observe.api import Api, describe
from kubeproof.verify.observe.objects import Object

HTTP_PORT = 8080
UDP_PORT = 8081
# Of a server of files, where a pod has one besides.
FILES_PORT = 8082
# Where the test image's HTTP server writes what is uploaded to it.
UPLOADS = "/uploads"
READY_SECONDS = 60.0
# Of a pod that is only placed: its volume, of a Secret that nobody makes.
_NEVER = "never"
ONLY_PLACED = "verify.kubeproof.io/only-placed"
"""The label of pods that are only placed."""
_PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
# The kubelet's default, and more than any answer takes that still is one.
_PROBE_SECONDS, _LONGEST_PROBE_SECONDS = 1, 30
# Kubernetes' default.
_LONGEST_PERIOD_SECONDS = 10
_LONGEST_FAREWELL_SECONDS = 30
_SECURITY = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
}


class Blocked(Exception):
    """What a test needs to look at a claim is not there; ``component`` is where to look for the cause."""

    def __init__(self, component: str, message: str) -> None:
        """Name the component and what it did not do."""
        super().__init__(f"{message} (look at: {component})")
        self.component = component


@dataclass(frozen=True)
class Manifests:
    """What the manifests of a verification have in common."""

    namespace: str
    image: str
    nodes: tuple[str, ...]
    # What time limits are multiplied by, those of probes too: hosts may be slow.
    patience: float = 1.0

    def container(self, name: str, arguments: Sequence[str], **more: Any) -> Object:
        """A container of the test image, modest and harmless."""
        return {
            "name": name,
            "image": self.image,
            "imagePullPolicy": "IfNotPresent",
            "args": list(arguments),
            "securityContext": _SECURITY,
            "resources": {"requests": {"cpu": "5m", "memory": "16Mi"}, "limits": {"memory": "128Mi"}},
            **more,
            **{name: self._patient(more[name]) for name in _PROBES if name in more},
        }

    def farewell(self, seconds: float) -> int:
        """For how many seconds a server that is to end keeps answering, until every node has heard of it.

        On slow hosts longer, up to what an application's preStop hook would wait.
        """
        return min(round(self.patience * seconds), _LONGEST_FAREWELL_SECONDS)

    def _patient(self, probe: Mapping[str, Any]) -> Object:
        """A probe that a slow host can answer in time, and that dozens of do not keep it from everything else."""
        timeout = self.patience * probe.get("timeoutSeconds", _PROBE_SECONDS)
        period = probe["periodSeconds"]
        return {
            **probe,
            "timeoutSeconds": max(round(min(timeout, _LONGEST_PROBE_SECONDS)), _PROBE_SECONDS),
            "periodSeconds": max(round(min(self.patience * period, _LONGEST_PERIOD_SECONDS)), period),
        }

    def pod(
        self, name: str, containers: Sequence[Object], *, labels: Mapping[str, str] | None = None, **spec: Any
    ) -> Object:
        """A pod that any pod security standard admits."""
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": self.namespace, "labels": dict(labels or {})},
            "spec": {
                "containers": list(containers),
                "terminationGracePeriodSeconds": 1,
                "automountServiceAccountToken": False,
                "enableServiceLinks": False,
                "securityContext": {
                    "runAsNonRoot": True,
                    "runAsUser": 65532,
                    "seccompProfile": {"type": "RuntimeDefault"},
                },
                **spec,
            },
        }

    def placed(self, name: str, *, labels: Mapping[str, str] | None = None, **spec: Any) -> Object:
        """A pod that is given a node and never starts there: where it is put is all that is asked of it.

        Its kubelet waits for a volume before it makes anything of the pod, and looks for it several times a second:
        those that no test needs any more are deleted (``ONLY_PLACED``). ``resources`` are those of its container, of
        which the usual ones are a part.
        """
        # Kubelets pass over volumes that no container mounts.
        container = self.container("pause", ["pause"], volumeMounts=[{"name": _NEVER, "mountPath": "/never"}])
        for part, more in spec.pop("resources", {}).items():
            container["resources"][part].update(more)
        volumes = [{"name": _NEVER, "secret": {"secretName": _NEVER}}]
        return self.pod(name, [container], labels={**(labels or {}), ONLY_PLACED: ""}, volumes=volumes, **spec)

    def server(self, name: str, port: int = HTTP_PORT, **more: Any) -> Object:
        """A container that answers HTTP, and UDP on the default ports."""
        udp = UDP_PORT if port == HTTP_PORT else -1
        return self.container(name, ["netexec", f"--http-port={port}", f"--udp-port={udp}"], **more)

    def file_server(self, name: str, **more: Any) -> Object:
        """A container that answers HTTP with the contents of its files; ready once it does."""
        probe = {"httpGet": {"path": "/", "port": FILES_PORT}, "periodSeconds": 1}
        return self.container(name, ["test-webserver", f"--port={FILES_PORT}"], **{"readinessProbe": probe, **more})

    def service(self, name: str, selector: Mapping[str, str], port: int = 80, **spec: Any) -> Object:
        """A service in front of servers."""
        ports = [{"name": "http", "protocol": "TCP", "port": port, "targetPort": HTTP_PORT}]
        return {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": name, "namespace": self.namespace},
            "spec": {"selector": dict(selector), "ports": ports, **spec},
        }

    def on_node(self, node: str) -> dict[str, Any]:
        """For a pod's spec: on this node without the scheduler's help, whatever the node is tainted with."""
        return {"nodeName": node, "tolerations": [{"operator": "Exists"}]}


class Pod:
    """A pod that runs."""

    def __init__(self, api: Api, item: Object) -> None:
        """Know the pod as the API last showed it."""
        self.api = api
        self.item = item

    @property
    def name(self) -> str:
        """Its name."""
        return objects.name(self.item)

    @property
    def manifest(self) -> Object:
        """It as an object that can be asked for: in lists, objects do not tell their kind."""
        return {"apiVersion": "v1", "kind": "Pod", **self.item}

    @property
    def path(self) -> str:
        """Its path in the API."""
        return objects.path(self.manifest)

    @property
    def uid(self) -> str:
        """Its unique id."""
        return str(self.item["metadata"]["uid"])

    @property
    def node(self) -> str:
        """The node it is on."""
        return str(self.item["spec"]["nodeName"])

    @property
    def address(self) -> str:
        """Its address in the pod network."""
        return str(self.item["status"]["podIP"])

    @property
    def addresses(self) -> tuple[str, ...]:
        """Its addresses in the pod network, of each IP family; the first is ``address``."""
        told = self.item["status"].get("podIPs") or [{"ip": self.address}]
        return tuple(str(each["ip"]) for each in told)

    def address_like(self, other: str) -> str:
        """Its address of the IP family that another one is of; empty if it has none."""
        return next((each for each in self.addresses if (":" in each) == (":" in other)), "")

    def now(self) -> Pod:
        """The pod as it is at this moment."""
        return Pod(self.api, self.api.get(self.path))

    def container(self, name: str) -> Mapping[str, Any]:
        """The status of one of its containers."""
        for status in self.item["status"]["containerStatuses"]:
            if status["name"] == name:
                found: Mapping[str, Any] = status
                return found
        raise KeyError(f"{self.name} has no container {name}")

    def container_id(self, name: str) -> str:
        """A container's id in the runtime."""
        return str(self.container(name)["containerID"]).partition("://")[2]

    def http(self, path: str, port: int = HTTP_PORT, **query: Any) -> str:
        """Ask its HTTP server, through the API server's proxy."""
        return str(self.api.get(f"{self.path}:{port}/proxy/{path}", **query))

    def upload(self, content: str) -> str:
        """Have its HTTP server write a file with this content into ``UPLOADS``; the file's path in the container."""
        boundary = secrets.token_hex(8)
        part = f'Content-Disposition: form-data; name="file"; filename="data"\r\n\r\n{content}'
        answer = self.api.request(
            "POST",
            f"{self.path}:{HTTP_PORT}/proxy/upload",
            f"--{boundary}\r\n{part}\r\n--{boundary}--\r\n",
            content_type=f"multipart/form-data; boundary={boundary}",
        )
        told = _json(answer.required())
        if "output" not in told:
            raise Blocked("kubelet", f"{self.name} cannot write to {UPLOADS}: {told.get('error')}")
        return str(told["output"])

    def dial(
        self,
        host: str,
        port: int,
        request: str,
        *,
        protocol: str = "http",
        tries: int = 1,
        through: int = HTTP_PORT,
    ) -> Dialled:
        """Have it send requests, each over a connection of its own, and tell what was answered."""
        query = {"host": host, "port": port, "request": request, "protocol": protocol, "tries": tries}
        try:
            answer = self.api.request("GET", f"{self.path}:{through}/proxy/dial", params=query)
        except httpx.ReadTimeout:
            return Dialled((), (f"{tries} requests to {host}:{port} were not over in time",))
        # A name that it cannot resolve is its answer, not a failure to ask it.
        if answer.status == 400:
            return Dialled((), (answer.message.strip(),))
        told = _json(answer.required())
        return Dialled(tuple(told.get("responses", [])), tuple(told.get("errors", [])))


@dataclass(frozen=True)
class Dialled:
    """What came of requests that a pod sent."""

    responses: tuple[str, ...]
    errors: tuple[str, ...]


def _json(body: Any) -> dict[str, Any]:
    """A JSON object that the test image sends as text."""
    parsed: dict[str, Any] = body if isinstance(body, dict) else json.loads(body)
    return parsed


def is_ready(item: Object) -> bool:
    """Whether a pod is ready."""
    return objects.holds(item, "Ready")


def is_only_placed(item: Object) -> bool:
    """Whether a pod is one that never starts."""
    return ONLY_PLACED in item["metadata"].get("labels", {})


def is_running(item: Object) -> bool:
    """Whether a pod's containers have been started."""
    return bool(item["status"].get("phase") == "Running")


def blame(item: Object, warning: str = "", seconds: float = READY_SECONDS) -> Blocked:
    """Why a pod is not ready after so long, and whose doing that is; ``warning``: what its last event says."""
    said = "; ".join(filter(None, [describe(item), warning]))
    if not item.get("spec", {}).get("nodeName"):
        return Blocked("scheduler", f"pod not bound to a node within {seconds:.0f} s: {said}")
    if not item.get("status", {}).get("containerStatuses"):
        return Blocked("kubelet", f"pod not taken up by its kubelet within {seconds:.0f} s: {said}")
    if not item["status"].get("podIP"):
        return Blocked("runtime or pod-network", f"pod has no sandbox after {seconds:.0f} s: {said}")
    return Blocked("kubelet", f"pod not ready within {seconds:.0f} s: {said}")
