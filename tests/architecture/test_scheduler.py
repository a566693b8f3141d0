"""The scheduler: which node a pod gets, and that nobody else decides it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from kubeproof.verify import audit, objects
from kubeproof.verify.api import Api
from kubeproof.verify.cluster import Cluster, NotObservable
from kubeproof.verify.evidence import Evidence
from kubeproof.verify.hosts import each
from kubeproof.verify.objects import Object
from kubeproof.verify.pods import Pod, Setting
from kubeproof.verify.workloads import prepared_together
from kubeproof.verify.workspace import Workspace, advertise, withdraw

_SCHEDULER = "system:kube-scheduler"
# A pod that did not fit waits a second, then two, then four … before it is looked at again.
_BOUND_SECONDS = 15.0


def _is_bound(item: Object) -> bool:
    return bool(item["spec"].get("nodeName"))


def _is_judged(item: Object) -> bool:
    return _is_bound(item) or objects.condition(item, "PodScheduled").get("reason") == "Unschedulable"


@prepared_together(until=_is_bound)
def scheduled(setting: Setting) -> list[Object]:
    """Pods that the scheduler has to find nodes for."""
    return [setting.pod(f"scheduled-{number}", [setting.container("pause", ["pause"])]) for number in range(2)]


@pytest.mark.claim("sched-binding")
def test_pods_are_bound_by_the_scheduler_through_the_api(
    lab: Cluster, scheduled: list[Pod], setting: Setting, evidence: Evidence
) -> None:
    if not all(each(lab.control_plane, lambda host: host.attempt("test -s %s", audit.LOG)[0] == 0).values()):
        raise NotObservable(f"the API servers write no audit log to {audit.LOG}")
    names = [pod.name for pod in scheduled]

    def bindings(records: list[audit.Record]) -> list[audit.Record]:
        return [each_ for each_ in records for pod in names if audit.concerns(each_, "pods", "create", pod, "binding")]

    records = audit.await_records(
        lab.control_plane,
        setting.namespace,
        lambda found: len(bindings(found)) >= len(names),
        what=f"bindings of {', '.join(names)}",
        timeout=5,
    )
    for pod in scheduled:
        mine = [audit.brief(record) for record in bindings(records) if record["objectRef"]["name"] == pod.name]
        created = pod.item["metadata"]["creationTimestamp"]
        evidence[pod.name] = {"created": created, "node": pod.node, "bindings": mine}
        assert len(mine) == 1, f"pod {pod.name} was bound {len(mine)} times"
        assert mine[0]["user"] == _SCHEDULER, f"pod {pod.name} was bound by {mine[0]['user']}, not by the scheduler"
        assert mine[0]["received"] >= created.rstrip("Z"), f"pod {pod.name} was bound before it was created"
    others = {record["user"]["username"] for record in bindings(records)} - {_SCHEDULER}
    assert not others, f"pods were bound by {others}"
    evidence.headline = f"{len(names)} pods, each bound once, by {_SCHEDULER}, after their creation"


@pytest.mark.claim("sched-resources")
def test_a_pod_goes_where_what_it_requests_is_left(
    lab: Cluster, api: Api, work: Workspace, setting: Setting, evidence: Evidence
) -> None:
    node, resource = lab.workers[-1].name, f"{work.resource}-scarce"
    work.on_exit(lambda: withdraw(api, node, resource))
    advertise(api, node, resource, 1)
    first, second = (_pod_requesting(setting, f"scarce-{number}", resource) for number in range(2))

    placed = _observe(api, first, _is_bound, f"a pod that fits on {node} alone is bound")
    assert placed["spec"]["nodeName"] == node, (
        f"a pod that fits on {node} alone was put on {placed['spec']['nodeName']}, which has none of {resource}"
    )
    refused = _observe(api, second, _is_judged, "a second pod is judged")
    reason = objects.condition(refused, "PodScheduled").get("message", "")
    evidence["only node that fits"] = node
    evidence["second pod"] = reason
    assert not _is_bound(refused), f"a pod was put on {refused['spec'].get('nodeName')} though nothing was left there"
    assert f"Insufficient {resource}" in reason, f"the pod waits for another reason than the one that holds: {reason}"

    promised = _promised(api, (resource,))
    evidence["requested of allocatable"] = promised
    for where, shares in promised.items():
        for what, (asked, available) in shares.items():
            assert asked <= available, f"pods on {where} were promised {asked} of {what}, it has {available}"
    evidence.headline = f"placed on {node}, the only fit; the next one waits; no node promises more than it has"


@pytest.mark.claim("sched-pending")
def test_a_pod_that_fits_nowhere_waits_until_a_node_fits(
    lab: Cluster, api: Api, work: Workspace, setting: Setting, evidence: Evidence
) -> None:
    node, resource = lab.workers[0].name, f"{work.resource}-late"
    manifest = _pod_requesting(setting, "waiting", resource)
    waiting = _observe(api, manifest, _is_judged, "a pod that fits nowhere is said to be unschedulable")
    assert not _is_bound(waiting), f"a pod that fits nowhere was put on {waiting['spec'].get('nodeName')}"
    assert waiting["status"]["phase"] == "Pending", f"a pod that fits nowhere is {waiting['status']['phase']}"
    evidence["reason"] = objects.condition(waiting, "PodScheduled")["message"]
    events = api.items(
        objects.core(setting.namespace, "events"),
        fieldSelector=f"involvedObject.uid={waiting['metadata']['uid']},reason=FailedScheduling",
    )
    assert events, "no FailedScheduling event tells the pod's owner why it waits"

    work.on_exit(lambda: withdraw(api, node, resource))
    advertise(api, node, resource, 1)
    bound = _observe(api, manifest, _is_bound, f"the pod is bound after {node} was made fit")
    scheduled_at = objects.condition(bound, "PodScheduled")["lastTransitionTime"]
    evidence["bound"] = {"node": bound["spec"]["nodeName"], "at": scheduled_at}
    assert bound["spec"]["nodeName"] == node, f"bound to {bound['spec']['nodeName']}, which does not fit"
    evidence.headline = f"waited ({evidence['reason'][:40]}…), bound to {node} when that was made fit"


def _pod_requesting(setting: Setting, name: str, resource: str) -> Object:
    container = setting.container("pause", ["pause"])
    for part in ("requests", "limits"):
        container["resources"][part][resource] = "1"
    return setting.pod(name, [container])


def _observe(api: Api, manifest: Object, until: Any, what: str) -> Object:
    if not api.items(objects.collection(manifest), fieldSelector=f"metadata.name={objects.name(manifest)}"):
        api.create(manifest)
    return api.observe_one(manifest, until, what=what, timeout=_BOUND_SECONDS)


def _promised(api: Api, more: tuple[str, ...]) -> Mapping[str, Mapping[str, tuple[float, float]]]:
    """Of each node, what its pods request and what there is."""
    pods = [pod for pod in api.items("/api/v1/pods") if pod["status"]["phase"] not in {"Succeeded", "Failed"}]
    promised = {}
    for node in api.items("/api/v1/nodes"):
        there = [pod for pod in pods if pod["spec"].get("nodeName") == objects.name(node)]
        allocatable = node["status"]["allocatable"]
        promised[objects.name(node)] = {
            resource: (
                round(sum(objects.requested(pod, resource) for pod in there), 3),
                objects.quantity(allocatable.get(resource, 0)),
            )
            for resource in ("cpu", "memory", *more)
        }
    return promised
