"""What makes the claims about the container runtime false."""

from __future__ import annotations

from collections.abc import Iterator

from tests.saboteurs.framework.mutations import once_ready
from tests.saboteurs.framework.registry import saboteur

from kubeproof.verify.act.disruption import undone
from kubeproof.verify.observe import runtime
from kubeproof.verify.observe.cluster import Cluster
from kubeproof.verify.observe.objects import Object


@saboteur(
    "runtime-cri",
    breaks="A container's process is gone, and the kubelet hangs, so that the API shows it as running",
    says="has 0 running containers in the runtime|but its process .* is gone",
)
def container_gone_unnoticed(lab: Cluster) -> Iterator[None]:
    node = lab.nodes[-1]

    def kill(pods: list[Object]) -> None:
        [pod] = [each for each in pods if each["spec"]["nodeName"] == node.name]
        process = runtime.process(node.host, pod["metadata"]["uid"], "server")
        node.host.run("systemctl kill --signal=SIGSTOP kubelet")
        node.host.run(f"kill -KILL {process}")

    with undone(node.host, "systemctl kill --signal=SIGCONT kubelet"), once_ready(lab, ["agent-"], kill):
        yield


@saboteur(
    "runtime-cri",
    breaks="The runtime is stopped while pods run",
    says="the kubelet of .* is not connected to",
    quick=True,
)
def runtime_stopped(lab: Cluster) -> Iterator[None]:
    host = lab.nodes[-1].host

    def stop(_: list[Object]) -> None:
        host.run("systemctl stop containerd")

    with undone(host, "systemctl start containerd"), once_ready(lab, ["agent-"], stop):
        yield
