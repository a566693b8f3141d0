"""The kubelet and persistent volumes: the data is there for the next pod, and after the kubelet was stopped."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from kubeproof.verify.act import volumes
from kubeproof.verify.act.disruption import await_recovery, stopped
from kubeproof.verify.act.pods import Manifests, Pod, is_ready
from kubeproof.verify.act.volumes import LocalVolumes
from kubeproof.verify.act.workspace import Workspace
from kubeproof.verify.engine.evidence import Evidence
from kubeproof.verify.engine.preparations import Workloads
from kubeproof.verify.observe import objects, runtime
from kubeproof.verify.observe.api import Api
from kubeproof.verify.observe.cluster import Cluster
from kubeproof.verify.observe.objects import Object

_GONE_SECONDS = 60.0
_RELEASED_SECONDS = 60.0
_RESTARTED_SECONDS = 120.0
# A provisioner may start a pod of its own on the node for each.
_BOUND_SECONDS = 60.0
_REMOVED_SECONDS = 90.0


@contextmanager
def _one_volume(cluster: Cluster, workspace: Workspace, purpose: str) -> Iterator[LocalVolumes]:
    with volumes.local_volumes(workspace, cluster.workers[-1:], purpose, 1) as provided:
        yield provided


@pytest.mark.claim("volume-persists")
def test_data_outlives_its_pod(
    cluster: Cluster, api: Api, workspace: Workspace, workloads: Workloads, manifests: Manifests, evidence: Evidence
) -> None:
    proven = []
    with _one_volume(cluster, workspace, "kept") as provided:
        volume = _outlives(api, workloads, manifests, provided.storage_class, "kept", evidence)
        place = provided.places.get(volume)
        assert place, f"a claim to class {provided.storage_class} was given {volume}, which is of another"
        evidence["directory"] = f"{place.directory} on {place.node}"
        _release(api, manifests, volume)
        left = place.host.run("cat %s/upload* || true", place.directory)
        assert left == "kept", f"once its claim is gone, {place.directory} on {place.node} has {left!r}"
        proven.append("statically provisioned")
    default = volumes.default_provisioned(api)
    evidence["default storage class with a provisioner"] = default or "none"
    if default:
        # Whatever ends this: what the class keeps would stay after the namespace and its claims are gone.
        workspace.on_exit(lambda: volumes.let_go(api, manifests.namespace, default))
        volume = _outlives(api, workloads, manifests, default, "provisioned", evidence)
        _is_removed(api, manifests, volume, default, evidence)
        proven.append(f"provisioned by class {default}")
    also = "" if default else "; no default storage class that provisions"
    evidence.headline = f"data read by the next pod: {', '.join(proven)}{also}"


@pytest.mark.claim("volume-restart")
def test_data_and_volume_are_there_after_the_kubelet_was_stopped(
    cluster: Cluster, api: Api, workspace: Workspace, workloads: Workloads, manifests: Manifests, evidence: Evidence
) -> None:
    with _one_volume(cluster, workspace, "away") as provided:
        [place] = provided.places.values()
        api.create(volumes.claim("away", provided.storage_class, manifests.namespace))
        pod = workloads.run(_keeper(manifests, "away", "away"))
        path = pod.upload("written before")
        before = pod.container("server")["restartCount"]
        pid = runtime.process(place.host, pod.uid, "server")
        start = time.monotonic()
        with stopped(place.host, "kubelet", cluster.runtime):
            place.host.run("kill -KILL %s", str(pid))
        await_recovery(api, f"{place.node} is ready after its kubelet and container runtime were stopped")
        back = Pod(
            api,
            api.observe_one(
                pod.manifest,
                lambda item: _restarted(item, before),
                what=f"a container that died on {place.node} while the kubelet was stopped runs again",
                timeout=_RESTARTED_SECONDS,
            ),
        )
        seconds = time.monotonic() - start
        content = volumes.kept(back, path)
        again = back.upload("written after")
        evidence["volume"] = f"{place.directory} on {place.node}"
        evidence["seconds"] = round(seconds, 1)
        evidence["restarts"] = back.container("server")["restartCount"]
        assert back.uid == pod.uid, f"the pod on {place.node} was replaced, though only its kubelet was restarted"
        assert content == "written before", f"after the restart {path} has {content!r}"
        assert volumes.kept(back, again) == "written after", f"what is written after the restart is not in {again}"
        api.delete(back.path)
        api.observe_gone(back.manifest, what=f"pod {back.name} goes", timeout=_GONE_SECONDS)
        evidence.headline = f"data and volume there {seconds:.0f} s after kubelet, runtime and container were stopped"


def _outlives(
    api: Api, workloads: Workloads, manifests: Manifests, storage_class: str, claim: str, evidence: Evidence
) -> str:
    """Write with one pod, read with another, by a claim to a class; the name of the volume that was bound."""
    namespace = manifests.namespace
    api.create(volumes.claim(claim, storage_class, namespace))
    created = api.create(_keeper(manifests, f"{claim}-first", claim))
    api.observe_one(
        {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": claim, "namespace": namespace}},
        lambda item: item["status"].get("phase") == "Bound",
        what=f"a claim to class {storage_class} gets a volume for its pod",
        timeout=_BOUND_SECONDS,
    )
    [first] = workloads.await_all([created], is_ready)
    path = first.upload(claim)
    api.delete(first.path)
    api.observe_gone(first.manifest, what=f"pod {first.name} goes", timeout=_GONE_SECONDS)
    second = workloads.run(_keeper(manifests, f"{claim}-second", claim))
    content = volumes.kept(second, path)
    bound = api.get(f"{objects.core(namespace, 'persistentvolumeclaims')}/{claim}")
    volume = str(bound["spec"].get("volumeName", ""))
    evidence[claim] = {
        "storage class": storage_class,
        "volume": volume,
        "written by": f"{first.name} on {first.node}",
        "read by": f"{second.name} on {second.node}",
        "file": path,
    }
    assert content == claim, (
        f"{first.name} wrote {claim!r} to {path}; {second.name}, by the same claim, has {content!r}"
    )
    api.delete(second.path)
    api.observe_gone(second.manifest, what=f"pod {second.name} goes", timeout=_GONE_SECONDS)
    return volume


def _is_removed(api: Api, manifests: Manifests, name: str, storage_class: str, evidence: Evidence) -> None:
    """Delete the claim to a volume that was made for it: the volume goes as well, once its class's policy is Delete."""
    volume = api.get(f"/api/v1/persistentvolumes/{name}")
    evidence["provisioned volumes, once their claims are gone"] = volume["spec"][volumes.POLICY]
    # Nobody else would ever remove it.
    volumes.let_go(api, manifests.namespace, storage_class)
    api.delete(f"{objects.core(manifests.namespace, 'persistentvolumeclaims')}/provisioned")
    wanted = {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name}}
    what = f"volume {name}, made for a claim that is gone, is removed"
    api.observe_gone(wanted, what=what, timeout=_REMOVED_SECONDS)


def _release(api: Api, manifests: Manifests, volume: str) -> None:
    """Delete the claim, and wait until the volume is kept for somebody to look at."""
    api.delete(f"{objects.core(manifests.namespace, 'persistentvolumeclaims')}/kept")
    wanted = {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": volume}}
    api.observe_one(
        wanted,
        lambda item: item["status"].get("phase") == "Released",
        what="a volume whose claim is gone is released, and its data kept",
        timeout=_RELEASED_SECONDS,
    )


def _keeper(manifests: Manifests, name: str, claim: str) -> Object:
    volume = {"name": "data", "persistentVolumeClaim": {"claimName": claim}}
    pod = manifests.pod(name, volumes.keeping(manifests, "data"), volumes=[volume])
    # A file system that was just made belongs to root: the kubelet gives it to this group.
    pod["spec"]["securityContext"]["fsGroup"] = volumes.USER
    return pod


def _restarted(item: Object, before: int) -> bool:
    states = {each["name"]: each for each in item["status"].get("containerStatuses", [])}
    server = states.get("server", {})
    return bool(server.get("restartCount", 0) > before and server.get("ready"))
