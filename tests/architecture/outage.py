"""A node that dies while an application on it is being used: the outage that several claims are judged from."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from kubeproof.verify.act.disruption import LIMIT_SECONDS, await_recovery, cut_off
from kubeproof.verify.act.pods import HTTP_PORT, READY_SECONDS, Blocked, Manifests, is_ready
from kubeproof.verify.act.traffic import Request, Traffic
from kubeproof.verify.observe import objects
from kubeproof.verify.observe.api import Api, NotObserved
from kubeproof.verify.observe.cluster import Cluster, Node
from kubeproof.verify.observe.hosts import NotObservable
from kubeproof.verify.observe.objects import Object

# A node is given up after so many seconds of silence where nothing else is configured, and the limit is for that.
_GRACE_SECONDS = 50.0
_NOT_READY_SECONDS = 100.0
_EVICTED_SECONDS = 45.0
# Pods stay on a node that is lost for as long as they tolerate it.
_TOLERATED_SECONDS = 2
_REPLICAS = 2
# As long as there must be no error any more.
_CALM_SECONDS = 5.0
_ANSWER_SECONDS = 30.0
_REQUEST_SECONDS = 1.0
_LABELS = {"app": "survivor"}


@dataclass
class Outage:
    """What was seen of it; times in seconds since the node was cut off, none of what did not happen in time."""

    node: str
    traffic: Traffic
    cut: float
    lost: list[str]
    not_ready: float | None = None
    evicted: float | None = None
    replaced: float | None = None
    replacements: dict[str, str] = field(default_factory=dict)
    ended: float = 0.0
    trouble: str = ""

    @property
    def times(self) -> dict[str, float | None]:
        """When what happened."""
        return {"not ready": self.not_ready, "evicted": self.evicted, "replaced": self.replaced}

    @property
    def requests(self) -> list[Request]:
        """The requests that were sent while the node was gone."""
        return [each for each in self.traffic.requests if self.cut <= each.sent and each.over <= self.ended]

    @property
    def failed(self) -> list[Request]:
        """Those of them that failed."""
        return [request for request in self.requests if request.error]


def given_up_later(settings: Mapping[str, Any]) -> float:
    """How many seconds longer than usual a node may be silent before it is given up."""
    return max(0.0, float(settings["controller_manager_node_grace_seconds"]) - _GRACE_SECONDS)


def time_until_not_ready(settings: Mapping[str, Any]) -> float:
    """The limit for that. Raises NotObservable if the host might undo its cut before all is seen that follows."""
    limit = _NOT_READY_SECONDS + given_up_later(settings)
    if limit + _EVICTED_SECONDS + READY_SECONDS + _CALM_SECONDS > LIMIT_SECONDS:
        raise NotObservable(
            f"controller_manager_node_grace_seconds is {settings['controller_manager_node_grace_seconds']}: what "
            f"follows may take longer than the {LIMIT_SECONDS} s after which a host ends its disruption by itself"
        )
    return limit


def observe(cluster: Cluster, api: Api, manifests: Manifests) -> Outage:
    """Cut a worker off that runs one of an application's pods, and look on until others have taken over."""
    if len(cluster.workers) < 2:
        raise NotObservable(f"only {len(cluster.workers)} node takes workloads: what runs on it can run nowhere else")
    not_ready_seconds = time_until_not_ready(cluster.settings)
    victim, entry = cluster.workers[-1], cluster.nodes[0]
    api.create(_application(manifests, victim))
    service = api.create(manifests.service("survivor", _LABELS, type="NodePort"))
    pods = objects.core(manifests.namespace, "pods")
    before = _await_application(api, pods)
    lost = [item for item in before if item["spec"]["nodeName"] == victim.name]
    if not lost or len(lost) == len(before):
        raise Blocked("scheduler", f"replicas that shun each other are on {[i['spec']['nodeName'] for i in before]}")
    port = service["spec"]["ports"][0]["nodePort"]
    try:
        with Traffic(entry.address, port, "hostname", timeout=_REQUEST_SECONDS) as traffic:
            if not traffic.await_answer(_ANSWER_SECONDS):
                raise Blocked("kube-proxy", f"port {port} of {entry.name} is not answered: {traffic.summary()}")
            with cut_off(victim.host):
                seen = Outage(victim.name, traffic, time.monotonic(), [objects.name(item) for item in lost])
                _look_on(api, seen, pods, {item["metadata"]["uid"] for item in before}, not_ready_seconds)
                seen.ended = time.monotonic()
    finally:
        await_recovery(api, f"{victim.name} is ready after it was cut off")
    return seen


def _look_on(api: Api, seen: Outage, pods: str, before: set[str], not_ready_seconds: float) -> None:
    """Take the times, one thing after the other. What does not happen is for the tests to judge."""

    def evicted(items: list[Object]) -> bool:
        there = [item for item in items if objects.name(item) in seen.lost]
        return all(item["metadata"].get("deletionTimestamp") for item in there)

    def successors(items: list[Object]) -> dict[str, str]:
        return {
            objects.name(item): item["spec"]["nodeName"]
            for item in items
            if item["metadata"]["uid"] not in before and is_ready(item) and item["spec"]["nodeName"] != seen.node
        }

    def await_(path: str, until: Callable[[list[Object]], bool], what: str, timeout: float, **selected: str) -> float:
        found = api.observe(path, until, what=what, timeout=timeout, **selected)
        seen.replacements = successors(found) if path == pods else {}
        return round(time.monotonic() - seen.cut, 1)

    ours = {"labelSelector": "app=survivor"}
    try:
        seen.not_ready = await_(
            "/api/v1/nodes",
            lambda items: bool(items) and not objects.holds(items[0], "Ready"),
            f"{seen.node} is not ready",
            not_ready_seconds,
            fieldSelector=f"metadata.name={seen.node}",
        )
        seen.evicted = await_(pods, evicted, f"{', '.join(seen.lost)} evicted", _EVICTED_SECONDS, **ours)
        seen.replaced = await_(
            pods, lambda items: bool(successors(items)), "a replacement is ready elsewhere", READY_SECONDS, **ours
        )
    except NotObserved as error:
        seen.trouble = str(error)
    time.sleep(_CALM_SECONDS)


def _await_application(api: Api, pods: str) -> list[Object]:
    try:
        return api.observe(
            pods,
            lambda items: len(items) == _REPLICAS and all(map(is_ready, items)),
            what="the application is ready",
            timeout=READY_SECONDS,
            labelSelector="app=survivor",
        )
    except NotObserved as error:
        raise Blocked("controller-manager, scheduler or kubelet", str(error)) from None


def _application(manifests: Manifests, victim: Node) -> Object:
    """Two servers on different nodes, one of them on the node that is to die."""
    term = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [victim.name]}]}
    preferred = {"weight": 100, "preference": term}
    apart = {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "DoNotSchedule",
        # A node that is gone is tainted: it is then no place that would have to get its share.
        "nodeTaintsPolicy": "Honor",
        "labelSelector": {"matchLabels": _LABELS},
    }
    probe = {"httpGet": {"path": "/readyz", "port": HTTP_PORT}, "periodSeconds": 1}
    pod = manifests.pod(
        "",
        [manifests.server("server", readinessProbe=probe)],
        tolerations=[
            {
                "key": f"node.kubernetes.io/{state}",
                "operator": "Exists",
                "effect": "NoExecute",
                "tolerationSeconds": _TOLERATED_SECONDS,
            }
            for state in ("not-ready", "unreachable")
        ],
        affinity={"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [preferred]}},
        topologySpreadConstraints=[apart],
    )
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "survivor", "namespace": manifests.namespace},
        "spec": {
            "replicas": _REPLICAS,
            "selector": {"matchLabels": _LABELS},
            "template": {"metadata": {"labels": _LABELS}, "spec": pod["spec"]},
        },
    }
