"""What a kubelet clears away in its node's runtime, and what it leaves alone, also when it was restarted."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from kubeproof.verify.act import ctr
from kubeproof.verify.act.ctr import Started
from kubeproof.verify.act.disruption import await_recovery, configured, stopped
from kubeproof.verify.act.pods import Blocked, Manifests, Pod
from kubeproof.verify.engine.evidence import Evidence
from kubeproof.verify.engine.preparations import prepared_together
from kubeproof.verify.observe import runtime
from kubeproof.verify.observe.api import Api
from kubeproof.verify.observe.cluster import Cluster, Node
from kubeproof.verify.observe.hosts import Host
from kubeproof.verify.observe.objects import Object

_UNIT = "kubelet"
# These make the kubelet collect whatever image it may: any image is too old, and the disk too full. The age counts
# whenever it looks, the disk only once it has figures of it, which on a busy node it has not as it starts. An age of
# none is no age in its configuration, but is one as a flag.
_COLLECT = ("--image-gc-high-threshold=1", "--image-gc-low-threshold=0", "--minimum-image-ttl-duration=0s")
_TOO_OLD = {
    "apiVersion": "kubelet.config.k8s.io/v1beta1",
    "kind": "KubeletConfiguration",
    "imageMaximumGCAge": "1ns",
}
# The kubelet collects containers and sandboxes once a minute.
_CLEARED_SECONDS = 100.0
# It collects images when it starts, and again only after minutes.
_STARTS = 3
_COLLECTED_SECONDS = 12.0
_APART_SECONDS = 0.5


@prepared_together()
def abandoned(manifests: Manifests) -> list[Object]:
    """A pod that will be deleted while its kubelet is stopped, and one next to it that keeps running."""
    return [
        manifests.pod(name, [manifests.container("pause", ["pause"])], **manifests.on_node(manifests.nodes[-1]))
        for name in ("abandoned", "kept")
    ]


@dataclass
class Upkeep:
    """What a kubelet did on its node after it was restarted, configured to collect images at once."""

    node: Node
    foreign: Sequence[Started]
    pids: dict[str, int]
    unused: str
    protected: Sequence[str]
    images: Sequence[str]
    kept: tuple[str, str]
    pod_gone: float
    image_gone: float


@pytest.fixture(scope="module")
def upkeep(cluster: Cluster, api: Api, abandoned: list[Pod], manifests: Manifests) -> Upkeep:
    """Put things into a node's runtime past its kubelet, restart its kubelet, and wait until it has cleared up."""
    cluster.require_containerd("containers and images are made past the kubelet")
    pod, kept = abandoned
    node = cluster.node(pod.node)
    host, name = node.host, manifests.namespace
    machine = str(node.item["status"]["nodeInfo"]["architecture"])
    pid = runtime.process(host, kept.uid, "pause")
    with ExitStack() as undo:
        foreign = [
            undo.enter_context(ctr.container(host, namespace, manifests.image, name, ["/agnhost", "pause"]))
            for namespace in (ctr.KUBERNETES, name)
        ]
        names = undo.enter_context(ctr.unused_image(host, f"localhost/{name}/unused:1", machine))
        protected = undo.enter_context(ctr.pinned(host, *names))
        with stopped(host, _UNIT):
            api.delete(pod.path, gracePeriodSeconds=0)
        undo.enter_context(configured(host, _UNIT, _TOO_OLD, *_COLLECT))
        image_gone = _await_collection(host, names)
        pod_gone = _seconds_until(lambda: not runtime.containers(host, pod.uid), _CLEARED_SECONDS)
        seen = Upkeep(
            node=node,
            foreign=foreign,
            pids={each.namespace: each.pid_now() for each in foreign},
            unused=names[0],
            protected=protected,
            images=ctr.images(host),
            kept=(str(pid), str(runtime.process(host, kept.uid, "pause"))),
            pod_gone=pod_gone,
            image_gone=image_gone,
        )
    await_recovery(api, f"{node.name} is ready after its kubelet was restarted")
    return seen


def _await_collection(host: Host, names: Sequence[str]) -> float:
    """Let the kubelet collect an image; after how many seconds it is gone, 0 if it is not."""
    start = time.monotonic()
    for number in range(_STARTS):
        if number:
            host.run("systemctl restart %s", _UNIT)
        if _seconds_until(lambda: not {*names} & {*ctr.images(host)}, _COLLECTED_SECONDS):
            return time.monotonic() - start
    return 0.0


def _seconds_until(condition: Callable[[], bool], limit: float) -> float:
    """After how many seconds something is so; 0 if it is not within the limit."""
    start = time.monotonic()
    while not condition():
        if time.monotonic() - start > limit:
            return 0.0
        time.sleep(_APART_SECONDS)
    return max(time.monotonic() - start, _APART_SECONDS)


@pytest.mark.claim("kubelet-foreign")
def test_containers_started_manually_outlive_the_kubelets_cleaning(upkeep: Upkeep, evidence: Evidence) -> None:
    node = upkeep.node.name
    evidence["containers"] = [
        {"namespace": one.namespace, "id": one.id, "pid": one.pid, "pid afterwards": upkeep.pids[one.namespace]}
        for one in upkeep.foreign
    ]
    evidence["a deleted pod's sandbox and container, gone after seconds"] = round(upkeep.pod_gone, 1)
    for one in upkeep.foreign:
        now = upkeep.pids[one.namespace]
        assert now == one.pid, (
            f"on {node} a container that was started manually in containerd's namespace {one.namespace} "
            f"{f'runs as another process, {now} instead of {one.pid}' if now else 'does not run any more'} "
            "after the kubelet was restarted"
        )
    # Otherwise it may be that the kubelet has not even looked.
    if not upkeep.pod_gone:
        raise Blocked(
            "kubelet", f"on {node} what a deleted pod left is not cleared away within {_CLEARED_SECONDS:.0f} s"
        )
    evidence.headline = f"{len(upkeep.foreign)} of them outlive a restart, and collection {upkeep.pod_gone:.0f} s later"


@pytest.mark.claim("runtime-images-volumes")
def test_images_that_nothing_uses_are_collected(upkeep: Upkeep, evidence: Evidence) -> None:
    node, (before, after) = upkeep.node.name, upkeep.kept
    lost = sorted(set(upkeep.protected) - set(upkeep.images))
    evidence["settings of the kubelet"] = [*_COLLECT, f"imageMaximumGCAge: {_TOO_OLD['imageMaximumGCAge']}"]
    evidence["image"] = {"name": upkeep.unused, "gone after seconds": round(upkeep.image_gone, 1)}
    evidence["other images, kept from being collected"] = list(upkeep.protected)
    assert upkeep.image_gone, (
        f"an image that nothing uses is still on {node}, whose kubelet was configured to collect all of them, and "
        f"started {_STARTS} times"
    )
    assert not lost, f"images that are pinned, or in use, were removed from {node}: {lost}"
    assert before == after, f"a pod on {node} was replaced while images were collected"
    evidence.headline = (
        f"unused: collected {upkeep.image_gone:.1f} s after the kubelet was configured to collect all of them"
    )
