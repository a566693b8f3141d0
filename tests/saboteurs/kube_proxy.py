"""What makes the claims about kube-proxy false."""

from __future__ import annotations

from collections.abc import Iterator

from tests.saboteurs.framework.mutations import admission, done, meddling, rules, stopped, verifications_pods
from tests.saboteurs.framework.registry import saboteur

from kubeproof.verify.act.disruption import undone
from kubeproof.verify.observe import component_control
from kubeproof.verify.observe.cluster import Cluster
from kubeproof.verify.observe.objects import name

_DELETE_RULES = "nft delete table ip kube-proxy; nft delete table ip6 kube-proxy 2>/dev/null || true"

_START_AND_WAIT = """
systemctl start kube-pod-network
for _ in $(seq 150); do
  nft list chain ip kube-proxy nat-prerouting 2>/dev/null | grep -q jump && exit
  sleep 0.2
done
echo "kube-proxy has not written its rules again" >&2
exit 1
"""


@saboteur(
    "proxy-every-node",
    "proxy-rules",
    "proxy-inside",
    breaks="A node has no kube-proxy and none of its rules",
    says="the API cannot be reached at its service|has no rule for service|service .* is not reached",
    quick=True,
)
def node_without_proxy(cluster: Cluster) -> Iterator[None]:
    host = cluster.workers[-1].host
    with stopped(host, "kube-proxy"):
        host.run(_DELETE_RULES)
        yield


@saboteur(
    "proxy-every-node",
    breaks="A node's kube-proxy runs, has lost its rules, and nothing makes it write them again",
    says="has no rule for service",
)
def rules_lost(cluster: Cluster) -> Iterator[None]:
    # kube-proxy is started anew by the unit that is stopped here, as soon as that runs again.
    with done(cluster.workers[-1].host, f"systemctl stop kube-pod-network; {_DELETE_RULES}", _START_AND_WAIT):
        yield


@saboteur(
    "proxy-balances",
    breaks="A service sends each client to the same pod always",
    says="of .* pods only .* got requests",
)
def clients_stick_to_a_pod(cluster: Cluster) -> Iterator[None]:
    config = "Object.spec.sessionAffinityConfig"
    sticky = (
        'Object{spec: Object.spec{sessionAffinity: "ClientIP", '
        f"sessionAffinityConfig: {config}{{clientIP: {config}.clientIP{{timeoutSeconds: 600}}}}}}}}"
    )
    only = [{"name": "the-balanced-one", "expression": "object.metadata.name == 'agents'"}]
    with admission(cluster.api, "/v1/services", sticky, operations=["CREATE"], matchConditions=only):
        yield


@saboteur(
    "proxy-external",
    breaks="A node drops what comes for NodePorts",
    says="asked from outside the cluster, answers",
)
def node_ports_dropped(cluster: Cluster) -> Iterator[None]:
    drop = "chain arriving { type filter hook prerouting priority raw; tcp dport 30000-32767 drop; }"
    with rules(cluster.workers[-1].host, drop):
        yield


@saboteur(
    "proxy-inside",
    breaks="A node forwards nothing that would go back to where it came from",
    says="does not reach itself at",
)
def no_hairpin(cluster: Cluster) -> Iterator[None]:
    drop = 'chain forwarded { type filter hook forward priority raw; iifname "cni0" oifname "cni0" drop; }'
    with rules(cluster.nodes[0].host, drop):
        yield


@saboteur(
    "service-stable",
    breaks="A node's kube-proxy hangs while a service's pods are replaced",
    says="requests come to .*: not within|failed while pods were replaced",
)
def hanging_proxy(cluster: Cluster) -> Iterator[None]:
    host = cluster.nodes[0].host
    proxy = component_control.component(host, "kube-proxy")

    def freeze() -> bool:
        if not any(name(pod).startswith("new-") for pod in verifications_pods(cluster.api)):
            return False
        host.run("sh -c %s", proxy.signal("STOP"))
        return True

    with undone(host, proxy.signal("CONT")), meddling(freeze):
        yield


@saboteur(
    "service-stable",
    breaks="Pods end at once, before nodes can know that they will",
    says="failed while pods were replaced",
)
def no_farewell(cluster: Cluster) -> Iterator[None]:
    only = [{"name": "replaced-ones", "expression": "object.metadata.name.startsWith('old-')"}]
    arguments = '["netexec", "--http-port=8080", "--udp-port=8081"]'
    hasten = (
        f'[JSONPatch{{op: "replace", path: "/spec/containers/0/args", value: {arguments}}}, '
        'JSONPatch{op: "replace", path: "/spec/terminationGracePeriodSeconds", value: 1}]'
    )
    with admission(cluster.api, "/v1/pods", hasten, operations=["CREATE"], matchConditions=only):
        yield
