"""What makes the claims about the container runtime false."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tests.saboteurs.framework.mutations import admission, changed_file, meddling, once_ready, running
from tests.saboteurs.framework.registry import saboteur

from kubeproof.settings import runtimes
from kubeproof.settings.runtimes import Handler
from kubeproof.verify.act.disruption import undone
from kubeproof.verify.act.workspace import PREFIX
from kubeproof.verify.observe import runtime
from kubeproof.verify.observe.cluster import Cluster
from kubeproof.verify.observe.hosts import NotObservable
from kubeproof.verify.observe.objects import Object

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
    "runtime-cri",
    breaks="A container's process is gone, and the kubelet hangs, so that the API shows it as running",
    says="has 0 running containers in the runtime|but its process .* is gone",
)
def container_gone_unnoticed(cluster: Cluster) -> Iterator[None]:
    node = cluster.nodes[-1]

    def kill(pods: list[Object]) -> None:
        [pod] = [each for each in pods if each["spec"]["nodeName"] == node.name]
        process = runtime.process(node.host, pod["metadata"]["uid"], "server")
        node.host.run("systemctl kill --signal=SIGSTOP kubelet")
        node.host.run(f"kill -KILL {process}")

    with undone(node.host, "systemctl kill --signal=SIGCONT kubelet"), once_ready(cluster, ["agent-"], kill):
        yield


@saboteur(
    "runtime-cri",
    breaks="The runtime is stopped while pods run",
    says="the kubelet of .* is not connected to",
    quick=True,
)
def runtime_stopped(cluster: Cluster) -> Iterator[None]:
    host = cluster.nodes[-1].host

    def stop(_: list[Object]) -> None:
        host.run("systemctl stop containerd")

    with undone(host, "systemctl start containerd"), once_ready(cluster, ["agent-"], stop):
        yield


@saboteur(
    "kubelet-foreign",
    breaks="When the kubelet starts, containers that are not its own are ended",
    says="started manually in containerd's namespace .* does not run any more",
)
def foreign_containers_ended(cluster: Cluster) -> Iterator[None]:
    with running(cluster.nodes[-1].host, _END_FOREIGN):
        yield


@saboteur(
    "runtime-images-volumes",
    breaks="Every image is marked as one that must not be collected",
    says="an image that nothing uses is still on",
)
def images_never_collected(cluster: Cluster) -> Iterator[None]:
    with running(cluster.nodes[-1].host, _PIN):
        yield


@saboteur(
    "runtime-images-volumes",
    breaks="Images that are to be fetched always are fetched once",
    says="to be fetched always, from a registry that does not answer, is running",
)
def stale_images(cluster: Cluster) -> Iterator[None]:
    only = [{"name": "fetched-always", "expression": "object.metadata.name.startsWith('always-')"}]
    soften = '[JSONPatch{op: "replace", path: "/spec/containers/0/imagePullPolicy", value: "IfNotPresent"}]'
    with admission(cluster.api, "/v1/pods", soften, operations=["CREATE"], matchConditions=only):
        yield


@saboteur(
    "runtime-images-volumes",
    breaks="The kubelet hangs when a pod with volumes is deleted",
    says="pod housed on .* goes: not within",
)
def volumes_stay(cluster: Cluster) -> Iterator[None]:
    host = cluster.nodes[-1].host

    def freeze() -> bool:
        pods = cluster.api.items("/api/v1/pods", fieldSelector="metadata.name=housed")
        if not any("deletionTimestamp" in pod["metadata"] for pod in pods):
            return False
        host.run("systemctl kill --signal=SIGSTOP kubelet")
        return True

    with undone(host, "systemctl kill --signal=SIGCONT kubelet"), meddling(freeze):
        yield


_RUNTIMES = "/etc/containerd/config.toml"
_CLASSES = "/apis/node.k8s.io/v1/runtimeclasses"


@saboteur(
    "runtime-handlers",
    breaks="A node's runtime does not have a handler that others have",
    says="does not run on .*no runtime for",
)
def handler_missing_on_a_node(cluster: Cluster) -> Iterator[None]:
    name = _handler(cluster).name

    def renamed(text: str) -> str:
        return re.sub(rf"""(\bruntimes\.["']?){name}(?=["']?[.\]])""", rf"\g<1>{name}-gone", text)

    with changed_file(cluster.nodes[-1].host, _RUNTIMES, renamed, "containerd"):
        yield


@saboteur(
    "runtime-handlers",
    breaks="A RuntimeClass names another handler than its own",
    says="with the kernel|with the handler",
)
def class_of_another_handler(cluster: Cluster) -> Iterator[None]:
    name = _handler(cluster).name
    path = f"{_CLASSES}/{name}"
    found = cluster.api.get(path)
    labels = found["metadata"].get("labels", {})
    item = {"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": name, "labels": labels}}

    def replace(handler: str) -> None:
        # A handler cannot be changed. As the field manager that applied it, or the next run would find a difference.
        cluster.api.delete(path)
        manager, kind = {"fieldManager": "kubeproof", "force": "true"}, "application/apply-patch+yaml"
        cluster.api.request("PATCH", path, {**item, "handler": handler}, params=manager, content_type=kind).required()

    try:
        replace(runtimes.DEFAULT)
        yield
    finally:
        replace(found["handler"])


@saboteur(
    "runtime-choice",
    breaks="An admission policy takes away the RuntimeClass that pods ask for",
    says="runs on .* with the handler",
)
def class_forgotten(cluster: Cluster) -> Iterator[None]:
    if not runtimes.others(cluster.settings):
        raise NotObservable(f"{runtimes.SETTING} names no other program than runc")
    only = [{"name": "those-of-another-runtime", "expression": "object.metadata.name.startsWith('chosen-')"}]
    remove = '[JSONPatch{op: "remove", path: "/spec/runtimeClassName"}]'
    with admission(cluster.api, "/v1/pods", remove, operations=["CREATE"], matchConditions=only):
        yield


def _handler(cluster: Cluster) -> Handler:
    """One of the cluster's that is not containerd's own."""
    found = [each for each in runtimes.handlers(cluster.settings) if each.name != runtimes.DEFAULT]
    if not found:
        raise NotObservable(f"{runtimes.SETTING} is empty: there is no runtime handler besides containerd's own")
    return found[0]
