"""The controller manager's StatefulSets: pods with a name and a volume each, which come and go in order."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import pytest

from kubeproof.verify.act import volumes
from kubeproof.verify.act.pods import Manifests, Pod, is_ready
from kubeproof.verify.act.volumes import LocalVolumes, Place
from kubeproof.verify.act.workspace import Workspace
from kubeproof.verify.engine.evidence import Evidence
from kubeproof.verify.engine.preparations import early
from kubeproof.verify.observe import objects
from kubeproof.verify.observe.api import Api
from kubeproof.verify.observe.cluster import Cluster
from kubeproof.verify.observe.objects import Object

_NAME = "stored"
_REPLICAS = 2
_NOBODY: Object = {"metadata": {"uid": ""}}
_PODS = [f"{_NAME}-{number}" for number in range(_REPLICAS)]
# Long enough that a pod which does not wait for the one before it is seen not to.
_READY_AFTER = 2
_ALL_READY_SECONDS = 90.0
_REPLACED_SECONDS = 60.0


@dataclass(frozen=True)
class State:
    """What a pod of the StatefulSet is and has."""

    uid: str
    node: str
    hostname: str
    claim: str
    volume: str
    content: str


@dataclass
class Life:
    """What was seen of a StatefulSet: its pods at first, after one was deleted, and after it was scaled down and up."""

    first: dict[str, State] = field(default_factory=dict)
    replaced: dict[str, State] = field(default_factory=dict)
    again: dict[str, State] = field(default_factory=dict)
    out_of_order: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    places: dict[str, Place] = field(default_factory=dict)


@early
def life(cluster: Cluster, api: Api, workspace: Workspace, manifests: Manifests) -> Iterator[Future[Life]]:
    """A StatefulSet from its first pod on, while other claims are looked at."""
    with (
        volumes.local_volumes(workspace, cluster.workers, _NAME, _REPLICAS) as provided,
        ThreadPoolExecutor(1) as pool,
    ):
        seen = pool.submit(_live, api, manifests, provided)
        # As soon as nobody looks at its pods any more, and before their volumes go.
        seen.add_done_callback(lambda _: api.delete(objects.path(_stateful(manifests, provided))))
        yield seen


@pytest.mark.claim("ctl-statefulset")
def test_a_pod_that_is_replaced_has_its_name_and_volume(life: Future[Life], evidence: Evidence) -> None:
    seen = life.result()
    name = _PODS[0]
    before, after = seen.first[name], seen.replaced[name]
    place = seen.places.get(before.volume)
    evidence["volume"] = {before.volume: f"{place.directory} on {place.node}" if place else "not one of ours"}
    evidence["before"], evidence["after"] = vars(before), vars(after)
    evidence["seconds"] = round(seen.seconds["replaced"], 1)
    assert before.content == _written(name, before.uid), f"pod {name} has {before.content!r}, where it wrote its UID"
    assert after.uid != before.uid, f"pod {name} was deleted and is still the same"
    assert after.hostname == before.hostname == name, f"pod {name} is called {before.hostname}, then {after.hostname}"
    assert (after.claim, after.volume) == (before.claim, before.volume), (
        f"pod {name} had volume {before.volume} by claim {before.claim}, and has {after.volume} by {after.claim}"
    )
    assert after.content == before.content, (
        f"pod {name} had {before.content!r} in its volume, and has {after.content!r}"
    )
    others = {each.volume for each in seen.first.values()}
    assert len(others) == _REPLICAS, f"{_REPLICAS} pods of a StatefulSet have {len(others)} volumes"
    evidence.headline = f"{name} replaced after {evidence['seconds']} s: same name, same volume, same data"


@pytest.mark.claim("ctl-statefulset")
def test_pods_come_and_go_in_order(life: Future[Life], evidence: Evidence) -> None:
    seen = life.result()
    evidence["seconds"] = {name: round(seconds, 1) for name, seconds in seen.seconds.items()}
    evidence["at first"] = {name: vars(state) for name, state in seen.first.items()}
    evidence["after none and all again"] = {name: vars(state) for name, state in seen.again.items()}
    assert not seen.out_of_order, f"pods of a StatefulSet do not come and go in order: {'; '.join(seen.out_of_order)}"
    for name in _PODS:
        before, after = seen.first[name], seen.again[name]
        assert (after.volume, after.content) == (before.volume, before.content), (
            f"after its StatefulSet had no pods, {name} has {after.content!r} in {after.volume}, "
            f"and had {before.content!r} in {before.volume}"
        )
    evidence.headline = f"{_REPLICAS} pods come one after the other, go in reverse, and find their data again"


def _live(api: Api, manifests: Manifests, provided: LocalVolumes) -> Life:
    seen = Life(places=dict(provided.places))
    written: dict[str, str] = {}
    manifest = _stateful(manifests, provided)
    pods = objects.core(manifests.namespace, "pods")
    api.create(manifests.service(_NAME, {"app": _NAME}, clusterIP="None"))

    were_ready: set[str] = set()

    def all_ready(items: list[Object]) -> bool:
        were_ready.update(item["metadata"]["uid"] for item in items if is_ready(item))
        seen.out_of_order += [each for each in _premature(items, were_ready) if each not in seen.out_of_order]
        ready = [objects.name(item) for item in items if is_ready(item) and _staying(item)]
        return sorted(ready) == _PODS

    def none(items: list[Object]) -> bool:
        seen.out_of_order += [each for each in _overdue(items) if each not in seen.out_of_order]
        return not items

    def await_pods(until: Callable[[list[Object]], bool], what: str, timeout: float = _ALL_READY_SECONDS) -> list[Pod]:
        start = time.monotonic()
        found = api.observe(pods, until, what=what, timeout=timeout, labelSelector=f"app={_NAME}")
        seen.seconds[what] = time.monotonic() - start
        return [Pod(api, item) for item in found]

    api.create(manifest)
    first = await_pods(all_ready, "the pods of a StatefulSet come one after the other")
    for pod in first:
        written[pod.name] = pod.upload(_written(pod.name, pod.uid))
    seen.first = _states(first, written)

    lost = min(first, key=lambda pod: pod.name)
    start = time.monotonic()
    api.delete(lost.path)
    now = await_pods(
        lambda items: all_ready(items) and lost.uid not in {item["metadata"]["uid"] for item in items},
        "a pod of a StatefulSet that was deleted is replaced",
        _REPLACED_SECONDS,
    )
    seen.seconds["replaced"] = time.monotonic() - start
    seen.replaced = _states(now, written)

    api.patch(objects.path(manifest), {"spec": {"replicas": 0}})
    await_pods(none, "the pods of a StatefulSet go, the last one first")
    api.patch(objects.path(manifest), {"spec": {"replicas": _REPLICAS}})
    seen.again = _states(await_pods(all_ready, "the pods of a StatefulSet come back"), written)
    return seen


def _written(name: str, uid: str) -> str:
    return f"of {name}, {uid}"


def _premature(items: list[Object], were_ready: set[str]) -> list[str]:
    """Pods that were created though the one before them was not ready yet."""
    present = {objects.name(item): item for item in items}
    return [
        f"{name} was created before {before} was ready"
        for before, name in itertools.pairwise(_PODS)
        # While a pod is replaced, the one after it runs on.
        if name in present
        and _fresh(present[name])
        and present.get(before, _NOBODY)["metadata"]["uid"] not in were_ready
    ]


def _overdue(items: list[Object]) -> list[str]:
    """Pods that go though one after them is still there."""
    present = {objects.name(item): item for item in items}
    return [
        f"{name} went before {after}"
        for name, after in itertools.pairwise(_PODS)
        if after in present and (name not in present or not _staying(present[name]))
    ]


def _fresh(item: Object) -> bool:
    """Whether a pod was only created, and has not been started yet."""
    return not item["status"].get("containerStatuses")


def _staying(item: Object) -> bool:
    return "deletionTimestamp" not in item["metadata"]


def _states(pods: list[Pod], written: dict[str, str]) -> dict[str, State]:
    states = {}
    for pod in pods:
        [claim] = [each["persistentVolumeClaim"]["claimName"] for each in _claimed(pod)]
        bound = pod.api.get(f"{objects.core(pod.item['metadata']['namespace'], 'persistentvolumeclaims')}/{claim}")
        content = volumes.kept(pod, written[pod.name])
        states[pod.name] = State(
            pod.uid, pod.node, pod.http("hostname").strip(), claim, bound["spec"].get("volumeName", ""), content
        )
    return states


def _claimed(pod: Pod) -> list[Object]:
    return [each for each in pod.item["spec"]["volumes"] if "persistentVolumeClaim" in each]


def _stateful(manifests: Manifests, provided: LocalVolumes) -> Object:
    labels = {"app": _NAME}
    pod = manifests.pod("", volumes.keeping(manifests, "data", ready_after=_READY_AFTER))
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": _NAME, "namespace": manifests.namespace},
        "spec": {
            "replicas": _REPLICAS,
            "serviceName": _NAME,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod["spec"]},
            "volumeClaimTemplates": [volumes.claim("data", provided.storage_class)],
        },
    }
