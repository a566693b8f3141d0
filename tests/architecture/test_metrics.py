"""Metrics: what nodes and pods use, and what is scaled by it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest

from kubeproof.verify.act.pods import HTTP_PORT, Blocked, Manifests
from kubeproof.verify.engine.evidence import Evidence
from kubeproof.verify.engine.preparations import Workloads, early
from kubeproof.verify.observe import objects
from kubeproof.verify.observe.api import Api
from kubeproof.verify.observe.cluster import Cluster
from kubeproof.verify.observe.hosts import NotObservable
from kubeproof.verify.observe.objects import Object

_METRICS = "/apis/metrics.k8s.io/v1beta1"
_SERVICE = "/apis/apiregistration.k8s.io/v1/apiservices/v1beta1.metrics.k8s.io"
_SERVER = "/apis/apps/v1/namespaces/kube-system/deployments/metrics-server"
_SCALER = "/apis/autoscaling/v2/namespaces/{}/horizontalpodautoscalers/{}"
_DEPLOYMENT = "/apis/apps/v1/namespaces/{}/deployments/{}"
# Two measurements, 15 seconds apart, after the kubelet's own.
_MEASURED_SECONDS = 75.0
# Its loop goes every 15 seconds; a pod counts once it was measured for a whole interval after it became ready.
_NOTICED_SECONDS, _SCALED_SECONDS = 45.0, 150.0
_POLL_SECONDS = 1.0
_REQUEST, _TARGET, _MOST = "10m", 80, 2
# Requests that the busy pod sends to itself with each probe: a few hundredths of a processor, at a request of one.
_TRIES = 80
_BUSY, _IDLE = "busy", "idle"


@dataclass(frozen=True)
class Scaled:
    """Two deployments with an autoscaler each, one of them under load."""

    namespace: str


@early
def scaled(cluster: Cluster, api: Api, workloads: Workloads, manifests: Manifests) -> Scaled:
    """Made at the beginning, since measuring takes a while. The kubelet's probe is what loads one of them."""
    if not cluster.settings["metrics_server_enabled"]:
        raise NotObservable("metrics_server_enabled is false: kubeproof installs no metrics API")
    path = f"/dial?host=127.0.0.1&port={HTTP_PORT}&protocol=http&request=hostname&tries={_TRIES}"
    probe = {"httpGet": {"path": path, "port": HTTP_PORT}, "periodSeconds": 1, "timeoutSeconds": 5}
    quiet = {"httpGet": {"path": "/hostname", "port": HTTP_PORT}, "periodSeconds": 5}
    made = []
    for name, readiness in ((_BUSY, probe), (_IDLE, quiet)):
        resources = {"requests": {"cpu": _REQUEST, "memory": "16Mi"}, "limits": {"cpu": "100m", "memory": "128Mi"}}
        container = manifests.server("server", readinessProbe=readiness, resources=resources)
        made.append(api.create(_deployment(manifests, name, container)))
        api.create(_autoscaler(manifests.namespace, name))
    workloads.adopt("scaled", made)
    return Scaled(manifests.namespace)


@pytest.mark.claim("metrics-resource")
def test_every_node_and_pod_is_measured(
    cluster: Cluster, api: Api, scaled: Scaled, manifests: Manifests, evidence: Evidence
) -> None:
    _await_answer(api)
    service = api.get(_SERVICE)["spec"]
    arguments = api.get(_SERVER)["spec"]["template"]["spec"]["containers"][0]["args"]
    trusting = [each for each in arguments if "insecure" in each]
    evidence["certificates"] = {
        "the API servers' CA for it": bool(service.get("caBundle")),
        "its CA for kubelets": [each for each in arguments if "certificate-authority" in each],
    }
    assert service.get("caBundle"), "the API servers have no CA to verify the metrics API with"
    assert not service.get("insecureSkipTLSVerify"), "the API servers do not verify whom they ask for metrics"
    assert not trusting, f"metrics-server does not verify kubelets: {' '.join(trusting)}"

    names = {node.name for node in cluster.nodes}
    _poll(
        api,
        _MEASURED_SECONDS,
        lambda: names <= set(_usage(api, "nodes")),
        lambda: f"not measured: {', '.join(sorted(names - set(_usage(api, 'nodes'))))}",
    )
    nodes = _usage(api, "nodes")
    for node in cluster.nodes:
        used, has = nodes[node.name], node.item["status"]["capacity"]
        evidence[node.name] = {name: str(value) for name, value in used.items()}
        assert 0 < used["memory"] <= _number(has["memory"]), f"{node.name} uses {used['memory']} bytes of its memory"
        assert used["cpu"] > 0, f"{node.name} uses no processor at all"

    def both() -> dict[str, Decimal]:
        pods = _usage(api, f"namespaces/{scaled.namespace}/pods")
        each = {name: max((pods[pod]["cpu"] for pod in pods if pod.startswith(name)), default=None)
                for name in (_BUSY, _IDLE)}  # fmt: skip
        return {name: value for name, value in each.items() if value is not None}

    def busier() -> bool:
        used = both()
        return len(used) == 2 and used[_BUSY] > max(2 * used[_IDLE], _number(_REQUEST))

    _poll(api, _MEASURED_SECONDS, busier, lambda: f"a pod under load is not measured as such: processors used {both()}")
    used = both()
    evidence["processors used by pods"] = {name: str(value) for name, value in used.items()}
    evidence.headline = (
        f"{len(names)} nodes measured; a pod under load uses {1000 * used[_BUSY]:.0f} thousandths of a processor, "
        f"one without {1000 * used[_IDLE]:.0f}"
    )


@pytest.mark.claim("hpa-scales")
def test_load_brings_more_pods(api: Api, scaled: Scaled, evidence: Evidence) -> None:
    try:
        _await_answer(api)
    except AssertionError as error:
        raise Blocked("metrics-server", str(error)) from None
    start = time.monotonic()
    paths = {name: _SCALER.format(scaled.namespace, name) for name in (_BUSY, _IDLE)}
    _poll(
        api,
        _NOTICED_SECONDS,
        lambda: bool(api.get(paths[_BUSY])["status"].get("conditions")),
        lambda: "no controller acts on an autoscaler",
    )
    _poll(
        api,
        _SCALED_SECONDS,
        lambda: _ready(api, scaled.namespace, _BUSY) >= _MOST and _utilization(api.get(paths[_IDLE])) is not None,
        lambda: (
            "a deployment under load is not scaled: "
            + "; ".join(f"{name}: {_status(api.get(path))}" for name, path in paths.items())
        ),
    )
    busy, idle = (api.get(paths[name]) for name in (_BUSY, _IDLE))
    evidence["under load"], evidence["without"] = _status(busy), _status(idle)
    evidence["seconds, until all pods were ready"] = round(time.monotonic() - start, 1)
    assert busy["status"].get("lastScaleTime"), "the deployment has more pods, but not by its autoscaler"
    assert api.get(_DEPLOYMENT.format(scaled.namespace, _IDLE))["spec"]["replicas"] == 1, (
        f"a deployment without load was scaled: {_status(idle)}"
    )
    evidence.headline = (
        f"under load 1 -> {_MOST} pods; without, at {_utilization(idle)} % of what it asks for, it stays at 1"
    )


def _deployment(manifests: Manifests, name: str, container: Object) -> Object:
    labels = {"app": f"scaled-{name}"}
    pod = manifests.pod("", [container], **manifests.on_node(manifests.nodes[-1]))
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": manifests.namespace},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod["spec"]},
        },
    }


def _autoscaler(namespace: str, name: str) -> Object:
    target = {"type": "Utilization", "averageUtilization": _TARGET}
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
            "minReplicas": 1,
            "maxReplicas": _MOST,
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": target}}],
        },
    }


def _await_answer(api: Api) -> None:
    """Wait until the API servers reach the metrics API. Fails if they don't."""
    _poll(
        api,
        _MEASURED_SECONDS,
        lambda: objects.condition(api.get(_SERVICE), "Available").get("status") == "True",
        lambda: f"the metrics API does not answer: {_unavailable(api)}",
    )


def _poll(api: Api, seconds: float, until: Callable[[], bool], complaint: Callable[[], str]) -> None:
    """Ask again and again: the metrics API has no watches."""
    deadline = time.monotonic() + api.patient(seconds)
    while not until():
        assert time.monotonic() < deadline, complaint()
        time.sleep(_POLL_SECONDS)


def _usage(api: Api, path: str) -> dict[str, dict[str, Decimal]]:
    """What was measured, by name; nothing while the API does not answer, or knows nothing yet."""
    answer = api.request("GET", f"{_METRICS}/{path}")
    found = answer.required()["items"] if answer.ok else []
    usage: dict[str, dict[str, Decimal]] = {}
    for item in found:
        parts = [item["usage"]] if "usage" in item else [part["usage"] for part in item["containers"]]
        usage[objects.name(item)] = {
            name: sum((_number(part[name]) for part in parts), Decimal()) for name in ("cpu", "memory")
        }
    return usage


def _number(quantity: str) -> Decimal:
    """A quantity of the API as a number."""
    units: dict[str, int | str] = {
        "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "n": "1e-9", "u": "1e-6", "m": "1e-3", "k": 1000,
    }  # fmt: skip
    for unit, factor in units.items():
        if quantity.endswith(unit):
            return Decimal(quantity.removesuffix(unit)) * Decimal(factor)
    return Decimal(quantity)


def _unavailable(api: Api) -> str:
    """Why the API servers do not reach it."""
    return str(objects.condition(api.get(_SERVICE), "Available").get("message", "they have not tried yet"))


def _ready(api: Api, namespace: str, name: str) -> int:
    return int(api.get(_DEPLOYMENT.format(namespace, name))["status"].get("readyReplicas", 0))


def _utilization(scaler: Object) -> int | None:
    """What an autoscaler has read, in percent of what pods ask for; None while it has read nothing."""
    for metric in scaler["status"].get("currentMetrics") or []:
        current: dict[str, Any] = (metric.get("resource") or {}).get("current") or {}
        if "averageUtilization" in current:
            return int(current["averageUtilization"])
    return None


def _status(scaler: Object) -> dict[str, Any]:
    """What an autoscaler says."""
    status = scaler["status"]
    said = [f"{each['type']} {each['status']}: {each.get('message', '')}" for each in status.get("conditions") or []]
    return {
        "utilization, percent": _utilization(scaler),
        "wanted": status.get("desiredReplicas"),
        "conditions": said,
    }
