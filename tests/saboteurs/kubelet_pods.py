"""What makes the claims about pods false: what they may use, and in which order their containers come."""

from __future__ import annotations

from collections.abc import Iterator

from tests.saboteurs.framework.mutations import admission, changed_file, once_ready
from tests.saboteurs.framework.registry import saboteur

from kubeproof.verify.act.disruption import undone
from kubeproof.verify.observe.cluster import Cluster
from kubeproof.verify.observe.objects import Object

_CONFIG = "/etc/kubernetes/kubelet/config.yaml"


@saboteur(
    "kubelet-resources",
    breaks="A kubelet gives no container a quota of CPU",
    says="with a limit of .* cores may use inf",
)
def no_cpu_quota(lab: Cluster) -> Iterator[None]:
    with changed_file(lab.nodes[-1].host, _CONFIG, lambda text: f"{text}\ncpuCFSQuota: false\n", "kubelet"):
        yield


@saboteur(
    "kubelet-resources",
    breaks="The limits that pods are given get lost on their way to the kubelet",
    says="with a limit of .* bytes may have inf",
)
def limits_lost(lab: Cluster) -> Iterator[None]:
    only = [{"name": "limited-ones", "expression": "object.metadata.name in ['greedy', 'limited']"}]
    remove = '[JSONPatch{op: "remove", path: "/spec/containers/0/resources/limits"}]'
    with admission(lab.api, "/v1/pods", remove, operations=["CREATE"], matchConditions=only):
        yield


@saboteur(
    "pod-sidecar",
    breaks="Init containers are started next to the application",
    says="(?s)is not over, and the runtime has.*the application of a pod whose init container failed",
)
def no_init_containers(lab: Cluster) -> Iterator[None]:
    only = [{"name": "ordered-ones", "expression": "has(object.spec.initContainers)"}]
    move = (
        '[JSONPatch{op: "add", path: "/spec/containers/-", value: object.spec.initContainers[0]}, '
        'JSONPatch{op: "remove", path: "/spec/initContainers/0"}]'
    )
    with admission(lab.api, "/v1/pods", move, operations=["CREATE"], matchConditions=only):
        yield


@saboteur(
    "pod-sidecar",
    breaks="The kubelet hangs as soon as sidecar and application run",
    says="a sidecar that has ended is restarted: not within",
)
def sidecar_left_dead(lab: Cluster) -> Iterator[None]:
    host = lab.nodes[-1].host

    def freeze(_: list[Object]) -> None:
        host.run("systemctl kill --signal=SIGSTOP kubelet")

    with undone(host, "systemctl kill --signal=SIGCONT kubelet"), once_ready(lab, ["convoy"], freeze):
        yield
