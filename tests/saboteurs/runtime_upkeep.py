"""What makes the claims false about what a kubelet clears away, fetches and mounts, and what it leaves alone."""

from __future__ import annotations

from collections.abc import Iterator

from tests.saboteurs.framework.mutations import admission, meddling, running
from tests.saboteurs.framework.registry import saboteur

from kubeproof.verify.act.disruption import undone
from kubeproof.verify.act.workspace import PREFIX
from kubeproof.verify.observe.cluster import Cluster

# Whoever sees to the kubelet's start ends what does not belong to Kubernetes.
_END_FOREIGN = f"""
first=$(systemctl show --property=MainPID --value kubelet)
while sleep 0.2; do
  [ "$(systemctl show --property=MainPID --value kubelet)" = "$first" ] && continue
  for namespace in $(ctr namespaces ls --quiet); do
    for id in $(ctr --namespace $namespace tasks ls --quiet | grep '^{PREFIX}'); do
      ctr --namespace $namespace tasks kill --signal KILL $id
    done
  done
done
"""
_PIN = f"""
while sleep 0.1; do
  for image in $(ctr --namespace k8s.io images ls --quiet | grep '/{PREFIX}.*/unused'); do
    ctr --namespace k8s.io images label $image io.cri-containerd.pinned=pinned
  done
done
"""


@saboteur(
    "kubelet-foreign",
    breaks="When the kubelet starts, containers that are not its own are ended",
    says="started by hand in containerd's namespace .* does not run any more",
)
def foreign_containers_ended(lab: Cluster) -> Iterator[None]:
    with running(lab.nodes[-1].host, _END_FOREIGN):
        yield


@saboteur(
    "runtime-images-volumes",
    breaks="Every image is marked as one that must not be collected",
    says="an image that nothing uses is still on",
)
def images_never_collected(lab: Cluster) -> Iterator[None]:
    with running(lab.nodes[-1].host, _PIN):
        yield


@saboteur(
    "runtime-images-volumes",
    breaks="Images that are to be fetched always are fetched once",
    says="to be fetched always, from a registry that does not answer, is running",
)
def stale_images(lab: Cluster) -> Iterator[None]:
    only = [{"name": "fetched-always", "expression": "object.metadata.name.startsWith('always-')"}]
    soften = '[JSONPatch{op: "replace", path: "/spec/containers/0/imagePullPolicy", value: "IfNotPresent"}]'
    with admission(lab.api, "/v1/pods", soften, operations=["CREATE"], matchConditions=only):
        yield


@saboteur(
    "runtime-images-volumes",
    breaks="The kubelet hangs when a pod with volumes is deleted",
    says="pod housed on .* goes: not within",
)
def volumes_stay(lab: Cluster) -> Iterator[None]:
    host = lab.nodes[-1].host

    def freeze() -> bool:
        pods = lab.api.items("/api/v1/pods", fieldSelector="metadata.name=housed")
        if not any("deletionTimestamp" in pod["metadata"] for pod in pods):
            return False
        host.run("systemctl kill --signal=SIGSTOP kubelet")
        return True

    with undone(host, "systemctl kill --signal=SIGCONT kubelet"), meddling(freeze):
        yield
