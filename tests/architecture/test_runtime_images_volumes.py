"""The kubelet and the images and volumes of its pods: fetched when asked for, there as long as the pod is."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from kubeproof.verify.act import ctr
from kubeproof.verify.act.pods import Manifests, Pod
from kubeproof.verify.engine.evidence import Evidence
from kubeproof.verify.engine.preparations import prepared
from kubeproof.verify.observe import runtime
from kubeproof.verify.observe.api import Api
from kubeproof.verify.observe.cluster import Cluster
from kubeproof.verify.observe.hosts import Host
from kubeproof.verify.observe.objects import Object, core

# Nobody listens there, on no host: what is to be fetched from there fails at once, and nothing leaves the node.
_NOWHERE = "127.0.0.1:1"
_STARTED_SECONDS = 40.0
_GONE_SECONDS = 40.0
_APART_SECONDS = 0.3
_ROOT = "/var/lib/kubelet/pods"
_VOLUMES = {"disk": "/disk", "memory": "/memory", "told": "/told"}
_POLICIES = {
    "never-there": ("Never", "present"),
    "never-absent": ("Never", "absent"),
    "if-not-there": ("IfNotPresent", "present"),
    "always-there": ("Always", "fetched"),
}


@prepared()
def housed(manifests: Manifests) -> Object:
    """A pod with a volume on disk, one in memory, and one with what the API tells of the pod."""
    volumes: list[Object] = [
        {"name": "disk", "emptyDir": {}},
        {"name": "memory", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
        {
            "name": "told",
            "projected": {
                "sources": [{"downwardAPI": {"items": [{"path": "name", "fieldRef": {"fieldPath": "metadata.name"}}]}}]
            },
        },
    ]
    mounts = [{"name": name, "mountPath": path} for name, path in _VOLUMES.items()]
    container = manifests.container("pause", ["pause"], volumeMounts=mounts)
    return manifests.pod("housed", [container], volumes=volumes, **manifests.on_node(manifests.nodes[-1]))


@pytest.fixture(scope="module")
def image_names(cluster: Cluster, manifests: Manifests) -> Iterator[dict[str, str]]:
    """Images of a registry that does not answer. Two are on a node: the test image, under these names.

    They are not the same: an image that the kubelet has tried to fetch is not one that was there before, to it.
    """
    cluster.require_containerd("images are given further names")
    names = {name: f"{_NOWHERE}/{manifests.namespace}/{name}:1" for name in ("present", "fetched", "absent")}
    host = cluster.node(manifests.nodes[-1]).host
    with (
        ctr.tagged(host, manifests.image, names["present"]),
        ctr.tagged(host, manifests.image, names["fetched"]),
    ):
        yield names


@pytest.mark.claim("runtime-images-volumes")
def test_pull_policies_are_honoured(
    api: Api, image_names: dict[str, str], manifests: Manifests, evidence: Evidence
) -> None:
    pods = {
        name: Pod(api, api.create(_with_image(manifests, name, image_names[image], policy)))
        for name, (policy, image) in _POLICIES.items()
    }
    states, events = {}, {}
    for name, pod in pods.items():
        item = api.observe_one(
            {"apiVersion": "v1", "kind": "Pod", "metadata": pod.item["metadata"]},
            _judged,
            what=f"the kubelet of {manifests.nodes[-1]} starts, or refuses, pod {name}",
            timeout=_STARTED_SECONDS,
        )
        state = Pod(api, item).container("server")["state"]
        states[name] = "running" if "running" in state else state["waiting"]["reason"]
        expected = "" if states[name] in {"running", "ErrImageNeverPull"} else "Failed"
        events[name] = _image_events(api, manifests.namespace, pod, expected)
        evidence[name] = {"policy": _POLICIES[name], "container": state, "events": events[name]}
    node = manifests.nodes[-1]
    for name in ("never-there", "if-not-there"):
        assert states[name] == "running", f"{name}: on {node} a container whose image is there is {states[name]}"
        assert not _tried(events[name]), f"{name}: on {node} an image that is there is fetched: {events[name]}"
    assert states["never-absent"] == "ErrImageNeverPull", (
        f"on {node} a container whose image is not there, and may not be fetched, is {states['never-absent']}"
    )
    assert not _tried(events["never-absent"]), f"on {node} an image is fetched that may not be: {events}"
    assert states["always-there"] in {"ErrImagePull", "ImagePullBackOff"}, (
        f"on {node} a container whose image is to be fetched always, from a registry that does not answer, "
        f"is {states['always-there']}"
    )
    assert any(_NOWHERE in event and "refused" in event for event in events["always-there"]), (
        f"on {node} nobody tried to fetch an image that is to be fetched always: {events['always-there']}"
    )
    evidence.headline = "Never, IfNotPresent and Always honoured"


@pytest.mark.claim("runtime-images-volumes")
def test_volumes_come_and_go_with_their_pod(cluster: Cluster, api: Api, housed: Pod, evidence: Evidence) -> None:
    host = cluster.node(housed.node).host
    pid = runtime.process(host, housed.uid, "pause")
    inside = {line.split()[4] for line in host.run("cat %s", f"/proc/{pid}/mountinfo").splitlines()}
    missing = [path for path in _VOLUMES.values() if path not in inside]
    evidence["mounted in the container"] = sorted(inside & set(_VOLUMES.values()))
    assert not missing, f"in a container on {host} these volumes are not mounted: {missing}"
    told = host.run("cat %s", f"/proc/{pid}/root/told/name").strip()
    assert told == housed.name, f"the projected volume of a pod on {host} says its name is {told!r}"
    for name in ("disk", "memory"):
        # Written where the kubelet has the volume, read where the container has it.
        directory = f"{_ROOT}/{housed.uid}/volumes/kubernetes.io~empty-dir/{name}"
        host.run("printf seen > %s", f"{directory}/probe")
        read = host.attempt("cat %s", f"/proc/{pid}/root{_VOLUMES[name]}/probe")[1]
        assert read == "seen", f"the container on {host} has something else at {_VOLUMES[name]} than the kubelet"
    before = _mounts(host, housed.uid)
    evidence["mounted on the host"] = before
    mounted = {name for name in _VOLUMES for path in before if path.endswith(f"/{name}")}
    assert {"memory", "told"} <= mounted, f"{host} has no mounts for volumes of the pod: {before}"

    start = time.monotonic()
    api.delete(housed.path)
    api.observe_gone(housed.manifest, what=f"pod housed on {host} goes", timeout=_GONE_SECONDS)
    left, limit = [f"{_ROOT}/{housed.uid}"], api.patient(_GONE_SECONDS)
    while left and time.monotonic() - start < limit:
        left = _mounts(host, housed.uid) or host.run("ls -d %s 2>/dev/null || true", left[0]).split()
        time.sleep(_APART_SECONDS)
    seconds = time.monotonic() - start
    evidence["left of it"] = left
    assert not left, f"{limit:.0f} s after its pod was deleted, {host} still has {', '.join(left)}"
    evidence.headline = f"{len(_VOLUMES)} volumes mounted, gone {seconds:.1f} s after their pod was deleted"


def _with_image(manifests: Manifests, name: str, image: str, policy: str) -> Object:
    container = manifests.container("server", ["pause"], image=image, imagePullPolicy=policy)
    return manifests.pod(name, [container], **manifests.on_node(manifests.nodes[-1]))


def _judged(item: Object) -> bool:
    """Whether the kubelet has started a pod's container, or has said why it can't."""
    states = [each["state"] for each in item["status"].get("containerStatuses", [])]
    return bool(states) and all(
        "running" in state or "Image" in state.get("waiting", {}).get("reason", "") for state in states
    )


def _image_events(api: Api, namespace: str, pod: Pod, expected: str) -> list[str]:
    """What the kubelet reports of a pod's image, up to an expected reason: a moment after the pod's state."""

    def about_image(found: list[Object]) -> bool:
        return any("image" in event["message"].lower() and expected in event["reason"] for event in found)

    found = api.observe(
        core(namespace, "events"),
        about_image,
        what=f"the kubelet tells what became of the image of pod {pod.name}",
        timeout=_STARTED_SECONDS,
        fieldSelector=f"involvedObject.uid={pod.uid}",
    )
    return [f"{event['reason']}: {event['message']}" for event in found if "image" in event["message"].lower()]


def _tried(events: list[str]) -> bool:
    return any(event.startswith("Pulling:") for event in events)


def _mounts(host: Host, uid: str) -> list[str]:
    """Where volumes of a pod are mounted on its host."""
    lines = host.run("cat /proc/1/mountinfo").splitlines()
    return [path for line in lines if uid in (path := line.split()[4])]
