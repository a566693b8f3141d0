"""What makes the claims about the kubelet false."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from tests.saboteurs.framework.mutations import (
    admission,
    changed_file,
    changed_object,
    everywhere,
    once_ready,
    running,
    stopped,
)
from tests.saboteurs.framework.registry import saboteur

from kubeproof.core import waiting
from kubeproof.settings import local_path
from kubeproof.verify.act.disruption import undone
from kubeproof.verify.observe.cluster import Cluster
from kubeproof.verify.observe.hosts import NotObservable
from kubeproof.verify.observe.objects import Object, holds

_CONFIG = "/etc/kubernetes/kubelet/config.yaml"
_ENCRYPTION = "/etc/kubernetes/apiserver/encryption.yaml"
_MISSED_SECONDS = 90.0
_GONE_SECONDS = 60.0
_PROVISIONERS = "/api/v1/namespaces/local-path-storage/pods"
_PROVISIONED = "app=local-path-provisioner"
_PROVISIONER = "/apis/apps/v1/namespaces/local-path-storage/deployments/local-path-provisioner"
_MAY_PROVISION = "/apis/rbac.authorization.k8s.io/v1/clusterroles/kubeproof:local-path-provisioner"
_EMPTY_VOLUMES = "find /var/lib/kubeproof-verify -type f -delete 2>/dev/null"
# Something to do on a host over and over while nothing listens at an API server, and something to do afterwards.
_WHILE_AWAY = """
while sleep 0.1; do
  if timeout 1 bash -c 'exec 3<>/dev/tcp/{address}/{port}' 2>/dev/null; then
    [ -z "$away" ] || {{ {afterwards}; }}
    away=
  else
    away=yes
    {act}
  fi
done
"""


@saboteur(
    "kubelet-registers",
    "kubectl",
    breaks="A kubelet has been stopped for so long that its node counts as lost",
    says="has given no sign of life for|is not ready|not all nodes are ready",
)
def lost_node(cluster: Cluster) -> Iterator[None]:
    node = cluster.workers[-1]
    with stopped(node.host, "kubelet"):
        cluster.api.observe(
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
def careless_kubelet(cluster: Cluster) -> Iterator[None]:
    def careless(text: str) -> str:
        text = re.sub(r"readOnlyPort: 0", "readOnlyPort: 10255", text)
        text = re.sub(r"(anonymous:\n +enabled:) false", r"\1 true", text)
        text = re.sub(r"mode: Webhook", "mode: AlwaysAllow", text)
        return re.sub(r"staticPodPath:.*\n", "", text)

    with changed_file(cluster.workers[-1].host, _CONFIG, careless, "kubelet"):
        yield


@saboteur(
    "kubelet-healthy",
    breaks="The kubelet hangs as soon as the pods run",
    says="(?s)fails its liveness check is restarted: not within.*process was killed is restarted: not within",
)
def hanging_kubelet(cluster: Cluster) -> Iterator[None]:
    with _kubelet_hangs_after(cluster, "mortal", "victim"):
        yield


@saboteur(
    "config-secret",
    breaks="The kubelet hangs once the pod has its configuration",
    says="follows its source: not within",
)
def configuration_not_followed(cluster: Cluster) -> Iterator[None]:
    with _kubelet_hangs_after(cluster, "configured"):
        yield


@contextmanager
def _kubelet_hangs_after(cluster: Cluster, *pods: str) -> Iterator[None]:
    host = cluster.nodes[-1].host

    def freeze(_: list[Object]) -> None:
        host.run("systemctl kill --signal=SIGSTOP kubelet")

    with undone(host, "systemctl kill --signal=SIGCONT kubelet"), once_ready(cluster, pods, freeze):
        yield


@saboteur(
    "config-secret",
    breaks="Secrets are not encrypted on their way to etcd",
    says="can be read in etcd by whoever gets at a backup",
)
def no_encryption(cluster: Cluster) -> Iterator[None]:
    def plain_first(text: str) -> str:
        text = re.sub(r"\n *- identity: *\{\}", "", text)
        return re.sub(r"\n( *)providers:\n( *)-", r"\n\1providers:\n\2- identity: {}\n\2-", text)

    with everywhere(cluster.control_plane, lambda host: changed_file(host, _ENCRYPTION, plain_first, "kube-apiserver")):
        yield


@saboteur(
    "kubelet-resources",
    breaks="A kubelet gives no container a quota of CPU",
    says="with a limit of .* cores may use inf",
)
def no_cpu_quota(cluster: Cluster) -> Iterator[None]:
    with changed_file(cluster.nodes[-1].host, _CONFIG, lambda text: f"{text}\ncpuCFSQuota: false\n", "kubelet"):
        yield


@saboteur(
    "kubelet-resources",
    breaks="The limits that pods are given get lost on their way to the kubelet",
    says="with a limit of .* bytes may have inf",
)
def limits_lost(cluster: Cluster) -> Iterator[None]:
    only = [{"name": "limited-ones", "expression": "object.metadata.name in ['greedy', 'limited']"}]
    remove = '[JSONPatch{op: "remove", path: "/spec/containers/0/resources/limits"}]'
    with admission(cluster.api, "/v1/pods", remove, operations=["CREATE"], matchConditions=only):
        yield


@saboteur(
    "pod-sidecar",
    breaks="Init containers are started next to the application",
    says="(?s)is not over, and the runtime has.*the application of a pod whose init container failed",
)
def no_init_containers(cluster: Cluster) -> Iterator[None]:
    only = [{"name": "ordered-ones", "expression": "has(object.spec.initContainers)"}]
    # As a new one, of what matters of it: of an object's parts only plain values can be patched in.
    first = ", ".join(f"{part}: object.spec.initContainers[0].{part}" for part in ("name", "image", "args"))
    move = (
        f'[JSONPatch{{op: "add", path: "/spec/containers/-", value: Object.spec.containers{{{first}}}}}, '
        'JSONPatch{op: "remove", path: "/spec/initContainers/0"}]'
    )
    with admission(cluster.api, "/v1/pods", move, operations=["CREATE"], matchConditions=only):
        yield


@saboteur(
    "pod-sidecar",
    breaks="The kubelet hangs as soon as sidecar and application run",
    says="a sidecar that has ended is restarted: not within",
)
def sidecar_left_dead(cluster: Cluster) -> Iterator[None]:
    with _kubelet_hangs_after(cluster, "convoy"):
        yield


def _while_away(cluster: Cluster, act: str, afterwards: str = "true") -> str:
    [(address, port), *_] = cluster.api_servers
    return _WHILE_AWAY.format(address=address, port=port, act=act, afterwards=afterwards)


@saboteur(
    "kubelet-autonomous",
    breaks="A kubelet does nothing as long as it has no API server",
    says="a container on .* whose process was killed is not restarted within",
)
def kubelet_waits_for_the_api(cluster: Cluster) -> Iterator[None]:
    host = cluster.nodes[-1].host
    freeze, thaw = (f"systemctl kill --signal={signal} kubelet" for signal in ("SIGSTOP", "SIGCONT"))
    with undone(host, thaw), running(host, _while_away(cluster, freeze, thaw)):
        yield


@saboteur(
    "kubelet-autonomous",
    breaks="Applications are ended when there is no API server",
    says="(?s)without an API server: .* is answered.*was replaced by the outage",
)
def applications_end_with_the_api(cluster: Cluster) -> Iterator[None]:
    program = _while_away(cluster, "pkill -KILL -f '^/agnhost netexec'")
    with everywhere([node.host for node in cluster.nodes], lambda host: running(host, program)):
        yield


@saboteur(
    "volume-persists",
    "ctl-statefulset",
    breaks="What pods write to volumes on nodes is gone a moment later",
    says=r"has 'nothing \(404\)'",
)
def volumes_emptied(cluster: Cluster) -> Iterator[None]:
    program = f"while sleep 0.1; do {_EMPTY_VOLUMES}; done"
    with everywhere([node.host for node in cluster.nodes], lambda host: running(host, program)):
        yield


def _local_path(cluster: Cluster) -> None:
    if not local_path.on(cluster.settings):
        raise NotObservable("local_path_enabled is false: no provisioner of ours makes volumes")


@saboteur(
    "volume-persists",
    breaks="Nothing makes volumes for claims to the default class: its provisioner is gone",
    says="a claim to class .* gets a volume for its pod: not within",
)
def provisioner_gone(cluster: Cluster) -> Iterator[None]:
    _local_path(cluster)

    def gone(deployment: Object) -> None:
        deployment["spec"]["replicas"] = 0

    with changed_object(cluster.api, _PROVISIONER, gone):
        waiting.until(
            lambda: not cluster.api.items(_PROVISIONERS, labelSelector=_PROVISIONED), _GONE_SECONDS, pause=0.5
        )
        yield


@saboteur(
    "volume-persists",
    breaks="Volumes pile up: the provisioner may not remove those whose claims are gone",
    says="volume .*, made for a claim that is gone, is removed: not within",
)
def volumes_pile_up(cluster: Cluster) -> Iterator[None]:
    _local_path(cluster)

    def without(role: Object) -> None:
        for rule in role["rules"]:
            rule["verbs"] = [verb for verb in rule["verbs"] if verb != "delete"]

    with changed_object(cluster.api, _MAY_PROVISION, without):
        yield


@saboteur(
    "volume-restart",
    breaks="Volumes are emptied on a node whose kubelet is not running",
    says=r"after the restart .* has 'nothing \(404\)'",
)
def volumes_emptied_while_away(cluster: Cluster) -> Iterator[None]:
    program = f"while sleep 0.1; do systemctl is-active --quiet kubelet || {_EMPTY_VOLUMES}; done"
    with everywhere([node.host for node in cluster.nodes], lambda host: running(host, program)):
        yield
