"""The kubelet and pods of several containers: what comes first, what goes along, what follows."""

from __future__ import annotations

import datetime
import time

import pytest

from kubeproof.core import waiting
from kubeproof.verify.act.pods import HTTP_PORT, Manifests, Pod
from kubeproof.verify.engine.evidence import Evidence
from kubeproof.verify.engine.preparations import prepared
from kubeproof.verify.observe import runtime
from kubeproof.verify.observe.api import Api
from kubeproof.verify.observe.cluster import Cluster
from kubeproof.verify.observe.hosts import Host
from kubeproof.verify.observe.objects import Object

_SIDECAR_PORT = 8090
_APP_PORT = 8091
_STARTED_SECONDS = 45.0
# The sidecar's startup is looked at no sooner than this after it runs, by kubelets that count in whole seconds.
_STARTUP_SECONDS = 3
_ROUNDING_SECONDS = 1
_RESTART_SECONDS = 30.0
_ANSWER_SECONDS = 10.0
_PAUSE_SECONDS = 0.1


def _anything_runs(item: Object) -> bool:
    """Whether any container of a pod runs, or has run."""
    status = item["status"]
    statuses = (*status.get("initContainerStatuses", []), *status.get("containerStatuses", []))
    return any("waiting" not in each["state"] for each in statuses)


@prepared(until=_anything_runs)
def convoy(manifests: Manifests) -> Object:
    """A pod with an init container that runs until it is made to end, another one, a sidecar, and the application.

    Without the sidecar's own policy, nothing of the pod would be restarted.
    """
    probe = {
        "httpGet": {"path": "/hostname", "port": _SIDECAR_PORT},
        "initialDelaySeconds": _STARTUP_SECONDS,
        "periodSeconds": 1,
        "failureThreshold": 30,
    }
    first = [
        manifests.server("gate"),
        manifests.container("brief", ["entrypoint-tester"]),
        manifests.server("sidecar", _SIDECAR_PORT, restartPolicy="Always", startupProbe=probe),
    ]
    ready = {"httpGet": {"path": "/hostname", "port": _APP_PORT}, "periodSeconds": 1}
    app = manifests.server("app", _APP_PORT, readinessProbe=ready)
    return manifests.pod(
        "convoy", [app], initContainers=first, restartPolicy="Never", **manifests.on_node(manifests.nodes[-1])
    )


def _is_over(item: Object) -> bool:
    return item["status"].get("phase") in {"Running", "Succeeded", "Failed"}


@prepared(until=_is_over)
def spoiled(manifests: Manifests) -> Object:
    """A pod whose init container fails: the test image has no such command."""
    first = [manifests.container("spoiler", ["no-such-command"])]
    app = manifests.server("app")
    return manifests.pod(
        "spoiled", [app], initContainers=first, restartPolicy="Never", **manifests.on_node(manifests.nodes[-1])
    )


@pytest.mark.claim("pod-sidecar")
def test_init_containers_come_first_and_a_sidecar_goes_along(
    cluster: Cluster, api: Api, convoy: Pod, evidence: Evidence
) -> None:
    host = cluster.node(convoy.node).host
    at_the_gate = _created(host, convoy)
    evidence["while the first init container runs"] = sorted(at_the_gate)
    assert set(at_the_gate) == {"gate"}, (
        f"on {host} the first init container of a pod is not over, and the runtime has {sorted(at_the_gate)}"
    )
    _end(api, convoy, HTTP_PORT)
    item = api.observe_one(
        convoy.manifest,
        _all_run,
        what=f"on {host} the application starts after the init containers, and beside the sidecar",
        timeout=_STARTED_SECONDS,
    )
    pod, created = Pod(api, item), _created(host, convoy)
    evidence["created"] = {name: at.isoformat() for name, at in created.items()}
    evidence["init containers"] = {name: _init(pod, name)["state"] for name in ("gate", "brief", "sidecar")}
    order = sorted(created, key=lambda name: created[name])
    assert order == ["gate", "brief", "sidecar", "app"], f"on {host} the containers of a pod were created as {order}"
    for name in ("gate", "brief"):
        ended = _init(pod, name)["state"].get("terminated")
        assert ended, f"on {host} init container {name} has not ended, and the application runs"
        assert ended["exitCode"] == 0, f"on {host} init container {name} failed, and the application runs: {ended}"
    ahead = (created["app"] - created["sidecar"]).total_seconds()
    soonest = _STARTUP_SECONDS - _ROUNDING_SECONDS
    assert ahead >= soonest, (
        f"on {host} the application came {ahead:.1f} s after the sidecar, whose startup is known after {soonest} s at "
        "the soonest"
    )
    answers = {port: pod.http("hostname", port) for port in (_SIDECAR_PORT, _APP_PORT)}
    assert set(answers.values()) == {pod.name}, f"sidecar and application do not both answer: {answers}"
    evidence.headline = f"{', '.join(order)}: in this order, the last one {ahead:.1f} s after the sidecar"


@pytest.mark.claim("pod-sidecar")
def test_a_sidecar_is_restarted_beside_its_application(
    cluster: Cluster, api: Api, convoy: Pod, evidence: Evidence
) -> None:
    before = Pod(
        api,
        api.observe_one(
            convoy.manifest, _all_run, what="sidecar and application run together", timeout=_STARTED_SECONDS
        ),
    )
    start = time.monotonic()
    _end(api, convoy, _SIDECAR_PORT)

    def restarted(item: Object) -> bool:
        status = _init(Pod(api, item), "sidecar")
        return status["restartCount"] > _init(before, "sidecar")["restartCount"] and "running" in status["state"]

    after = Pod(
        api,
        api.observe_one(
            convoy.manifest,
            restarted,
            what=f"on {convoy.node} a sidecar that has ended is restarted",
            timeout=_RESTART_SECONDS,
        ),
    )
    seconds = time.monotonic() - start
    old, new = before.container("app"), after.container("app")
    evidence["application"] = {"before": old["containerID"], "after": new["containerID"], "state": new["state"]}
    assert (new["containerID"], "running" in new["state"]) == (old["containerID"], True), (
        f"on {convoy.node} the application did not keep running while its sidecar was restarted: {new['state']}"
    )
    evidence.headline = f"ended: back in {seconds:.1f} s, its application kept running"


@pytest.mark.claim("pod-sidecar")
def test_a_failing_init_container_keeps_the_application_from_starting(
    cluster: Cluster, spoiled: Pod, evidence: Evidence
) -> None:
    host = cluster.node(spoiled.node).host
    ended = _init(spoiled, "spoiler")["state"] if spoiled.item["status"].get("initContainerStatuses") else {}
    app = spoiled.container("app")
    evidence["pod"] = spoiled.item["status"]["phase"]
    evidence["init container"] = ended
    evidence["application"] = app["state"]
    created = sorted(_created(host, spoiled))
    evidence["created in the runtime"] = created
    assert "app" not in created, f"on {host} the runtime has the application of a pod whose init container failed"
    assert "containerID" not in app, f"{host} shows a container of an application that may not start: {app}"
    assert spoiled.item["status"]["phase"] == "Failed", (
        f"on {host} a pod whose init container failed is {spoiled.item['status']['phase']}"
    )
    assert ended.get("terminated", {}).get("exitCode"), f"the init container that should fail on {host} is {ended}"
    evidence.headline = "a failed one: the application is not even created"


def _created(host: Host, pod: Pod) -> dict[str, datetime.datetime]:
    """When each of a pod's containers was first created in the runtime."""
    found = [each for each in runtime.containers(host, pod.uid) if not each.sandbox]
    return {each.name: each.created for each in sorted(found, key=lambda each: each.created, reverse=True)}


def _init(pod: Pod, name: str) -> Object:
    """The status of an init container."""
    statuses: list[Object] = pod.item["status"].get("initContainerStatuses", [])
    for status in statuses:
        if status["name"] == name:
            return status
    raise AssertionError(f"{pod.node} shows no init container {name} of pod {pod.name}")


def _all_run(item: Object) -> bool:
    """Whether a pod's containers run and answer, and those of the init containers that have not ended."""
    status = item["status"]
    sidecars = [each for each in status.get("initContainerStatuses", []) if "terminated" not in each["state"]]
    statuses = (*sidecars, *status.get("containerStatuses", []))
    return bool(statuses) and all("running" in each["state"] and each["ready"] for each in statuses)


def _end(api: Api, pod: Pod, port: int) -> None:
    """Have one of a pod's servers end as one that has done its work. It may be gone before it has answered.

    A container that runs may not listen yet, and init containers have no probes.
    """
    waiting.until(
        lambda: api.request("GET", f"{pod.path}:{port}/proxy/hostname").ok,
        api.patient(_ANSWER_SECONDS),
        pause=_PAUSE_SECONDS,
    )
    api.request("GET", f"{pod.path}:{port}/proxy/exit", params={"code": 0})
