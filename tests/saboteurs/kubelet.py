"""What makes the claims about the kubelet false."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from tests.saboteurs.framework.mutations import changed_file, everywhere, once_ready, stopped
from tests.saboteurs.framework.registry import saboteur

from kubeproof.verify.act.disruption import undone
from kubeproof.verify.observe.cluster import Cluster
from kubeproof.verify.observe.objects import Object, holds

_CONFIG = "/etc/kubernetes/kubelet/config.yaml"
_ENCRYPTION = "/etc/kubernetes/apiserver/encryption.yaml"
_MISSED_SECONDS = 90.0


@saboteur(
    "kubelet-registers",
    "kubectl",
    breaks="A kubelet has been stopped for so long that its node counts as lost",
    says="has given no sign of life for|is not ready|not all nodes are ready",
)
def lost_node(lab: Cluster) -> Iterator[None]:
    node = lab.workers[-1]
    with stopped(node.host, "kubelet"):
        lab.api.observe(
            "/api/v1/nodes",
            lambda nodes: not any(holds(each, "Ready") for each in nodes),
            what=f"node {node.name} is missed",
            timeout=_MISSED_SECONDS,
            fieldSelector=f"metadata.name={node.name}",
        )
        yield


@saboteur(
    "kubelet-private",
    "kubelet-podspecs",
    breaks="A kubelet lets everybody in, has its read-only port open, and takes no manifest files",
    says="answers 200 to nothing for /pods|takes no manifest files",
    quick=True,
)
def careless_kubelet(lab: Cluster) -> Iterator[None]:
    def careless(text: str) -> str:
        text = re.sub(r"readOnlyPort: 0", "readOnlyPort: 10255", text)
        text = re.sub(r"(anonymous:\n +enabled:) false", r"\1 true", text)
        text = re.sub(r"mode: Webhook", "mode: AlwaysAllow", text)
        return re.sub(r"staticPodPath:.*\n", "", text)

    with changed_file(lab.workers[-1].host, _CONFIG, careless, "kubelet"):
        yield


@saboteur(
    "kubelet-healthy",
    breaks="The kubelet hangs as soon as the pods run",
    says="(?s)fails its liveness check is restarted: not within.*process was killed is restarted: not within",
)
def hanging_kubelet(lab: Cluster) -> Iterator[None]:
    with _kubelet_hangs_after(lab, "mortal", "victim"):
        yield


@saboteur(
    "config-secret",
    breaks="The kubelet hangs once the pod has its configuration",
    says="follows its source: not within",
)
def configuration_not_followed(lab: Cluster) -> Iterator[None]:
    with _kubelet_hangs_after(lab, "configured"):
        yield


@contextmanager
def _kubelet_hangs_after(lab: Cluster, *pods: str) -> Iterator[None]:
    host = lab.nodes[-1].host

    def freeze(_: list[Object]) -> None:
        host.run("systemctl kill --signal=SIGSTOP kubelet")

    with undone(host, "systemctl kill --signal=SIGCONT kubelet"), once_ready(lab, pods, freeze):
        yield


@saboteur(
    "config-secret",
    breaks="Secrets are not encrypted on their way to etcd",
    says="can be read in etcd by whoever gets at a backup",
)
def no_encryption(lab: Cluster) -> Iterator[None]:
    def plain_first(text: str) -> str:
        text = re.sub(r"\n *- identity: *\{\}", "", text)
        return re.sub(r"\n( *)providers:\n( *)-", r"\n\1providers:\n\2- identity: {}\n\2-", text)

    with everywhere(lab.control_plane, lambda host: changed_file(host, _ENCRYPTION, plain_first, "kube-apiserver")):
        yield
