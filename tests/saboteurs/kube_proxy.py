"""What makes the claims about kube-proxy false."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from tests.saboteurs.framework.mutations import (
    admission,
    changed_object,
    demand_own_network,
    done,
    meddling,
    rules,
    stopped,
    verifications_pods,
)
from tests.saboteurs.framework.registry import saboteur

from kubeproof.core import waiting
from kubeproof.settings import metallb
from kubeproof.verify.act.disruption import undone
from kubeproof.verify.observe import component_control
from kubeproof.verify.observe.cluster import Cluster
from kubeproof.verify.observe.hosts import NotObservable
from kubeproof.verify.observe.objects import Object, name

# In whichever mode it writes them; the other's are not there. What leads to its chains goes as well, as it does when
# all rules are flushed: a chain of its own that is empty is not missed.
_DELETE_RULES = """{
nft delete table ip kube-proxy; nft delete table ip6 kube-proxy
for program in iptables ip6tables; do
  for chain in PREROUTING OUTPUT; do
    $program -t nat -D $chain -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
  done
  $program -t nat -F KUBE-SERVICES
done
} 2>/dev/null || true"""

_START_AND_WAIT = """
systemctl start kube-pod-network
for _ in $(seq 150); do
  nft list chain ip kube-proxy nat-prerouting 2>/dev/null | grep -q jump && exit
  iptables -t nat -S KUBE-SERVICES 2>/dev/null | grep -q KUBE-SVC && exit
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
    demand_own_network(cluster)
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


_BALANCER = "/apis/apps/v1/namespaces/metallb-system"
_POOL = "/apis/metallb.io/v1beta1/namespaces/metallb-system/ipaddresspools/kubeproof"
# Addresses for documentation (RFC 5737, RFC 3849), on no segment, by IP version.
_DOCUMENTATION = {4: "203.0.113.0/28", 6: "2001:db8::/124"}
_NOWHERE = {"kubeproof.io/saboteur": "nowhere"}
# The kubelet brings the webhook's certificate to a controller that starts.
_ROLLED_OUT_SECONDS = 90.0


@saboteur(
    "lb-address",
    breaks="What gives addresses to Services is gone",
    says="has no address after",
)
def nobody_gives_addresses(cluster: Cluster) -> Iterator[None]:
    with _workload(cluster, "deployments/controller", lambda item: item["spec"].update(replicas=0)):
        yield


@saboteur(
    "lb-address",
    breaks="Services are given addresses that are none of theirs",
    says="which is not of the addresses",
)
def foreign_range(cluster: Cluster) -> Iterator[None]:
    _demand_addresses(cluster)
    # Of the families that the pool has: a Service that asks for both would have none otherwise.
    versions = {each.first.version for each in metallb.ranges(cluster.settings)}
    foreign = [network for version, network in _DOCUMENTATION.items() if version in versions]
    with changed_object(cluster.api, _POOL, lambda pool: pool["spec"].update(addresses=foreign)):
        yield


@saboteur(
    "lb-address",
    breaks="No node answers for the addresses of Services",
    says="no host answers for",
)
def nobody_announces(cluster: Cluster) -> Iterator[None]:
    _demand_heard(cluster)

    def nowhere(item: Object) -> None:
        item["spec"]["template"]["spec"]["nodeSelector"] = _NOWHERE

    with _workload(cluster, "daemonsets/speaker", nowhere):
        yield


@saboteur(
    "lb-address",
    breaks="Nodes have the addresses of Services themselves",
    says="several hosts answer for",
)
def addresses_taken(cluster: Cluster) -> Iterator[None]:
    _demand_heard(cluster)
    # Two at least, and another one that asks for them: who has an address asks nobody.
    takers = cluster.nodes[1:][-2:]
    if len(takers) < 2:
        raise NotObservable("it takes three nodes: two with the address, and one that hears both")
    # The first ones, which a Service of a verification gets.
    first = next(each.first for each in metallb.ranges(cluster.settings) if each.first.version == 4)
    taken = " ".join(f"{first + number}/32" for number in range(4))
    add = f"for address in {taken}; do ip address add $address dev lo; done"
    remove = f"for address in {taken}; do ip address del $address dev lo 2>/dev/null || true; done"
    with ExitStack() as hosts:
        for node in takers:
            hosts.enter_context(done(node.host, add, remove))
        yield


@saboteur(
    "lb-failover",
    breaks="One node alone can answer for addresses",
    says="is not answered any more",
)
def one_speaker(cluster: Cluster) -> Iterator[None]:
    _demand_heard(cluster)
    mortal = [node for node in cluster.workers if node.expendable]
    if not mortal:
        raise NotObservable("it takes a node that may die")

    def alone(item: Object) -> None:
        item["spec"]["template"]["spec"]["nodeSelector"] = {"kubernetes.io/hostname": mortal[-1].name}

    with _workload(cluster, "daemonsets/speaker", alone):
        yield


@contextmanager
def _workload(cluster: Cluster, path: str, change: Callable[[Object], None]) -> Iterator[None]:
    """MetalLB's Deployment or DaemonSet changed, and put back, with the time to have done so."""
    _demand_addresses(cluster)
    whole = f"{_BALANCER}/{path}"
    with changed_object(cluster.api, whole, change):
        _await_rolled_out(cluster, whole)
        yield
    _await_rolled_out(cluster, whole)


def _demand_addresses(cluster: Cluster) -> None:
    if not metallb.on(cluster.settings):
        raise NotObservable("metallb_addresses is empty: there is no MetalLB")


def _demand_heard(cluster: Cluster) -> None:
    """The verification hears who answers for IPv4 addresses only, and it takes another node to hear a node."""
    _demand_addresses(cluster)
    if all(each.first.version == 6 for each in metallb.ranges(cluster.settings)):
        raise NotObservable("metallb_addresses has no IPv4 addresses, and who answers for others is not heard")
    if len(cluster.nodes) < 2:
        raise NotObservable("it takes a second node, which hears who answers for an address")


def _await_rolled_out(cluster: Cluster, path: str) -> None:
    def settled() -> bool:
        item = cluster.api.get(path)
        status = item["status"]
        wanted = status.get("desiredNumberScheduled", item["spec"].get("replicas", 0))
        there = status.get("numberAvailable", status.get("availableReplicas", 0))
        updated = status.get("updatedNumberScheduled", status.get("updatedReplicas", 0))
        current = status.get("observedGeneration") == item["metadata"]["generation"]
        pods = cluster.api.items("/api/v1/namespaces/metallb-system/pods", labelSelector="app=metallb")
        ending = [pod for pod in pods if pod["metadata"].get("deletionTimestamp")]
        return bool(current and wanted == there == updated and not ending)

    if not waiting.until(settled, cluster.api.patient(_ROLLED_OUT_SECONDS), pause=0.5):
        raise RuntimeError(f"{path} is not as it was asked to be after {_ROLLED_OUT_SECONDS:.0f} s")
