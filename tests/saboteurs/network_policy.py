"""What makes the claims about network policies false."""

from __future__ import annotations

from collections.abc import Iterator

from tests.saboteurs.framework.mutations import admission, await_health, done, drop_in, everywhere
from tests.saboteurs.framework.registry import saboteur

from kubeproof.verify.act import disruption
from kubeproof.verify.observe.cluster import Cluster, Node

_UNIT = "kube-network-policy"
_POLICIES = "networking.k8s.io/v1/networkpolicies"
_IN_FORCE = "s after its policies were written: from "
_CHAINS = ("KUBE-ROUTER-FORWARD", "KUBE-ROUTER-INPUT", "KUBE-ROUTER-OUTPUT")


@saboteur(
    "policy-ingress",
    breaks="A node's network policy engine hangs, and sees no new policy",
    says=f"{_IN_FORCE}.* passes, and .* forbids it",
    quick=True,
)
def engine_hangs(cluster: Cluster) -> Iterator[None]:
    host = cluster.nodes[0].host
    with disruption.frozen(host, _UNIT):
        yield
    await_health(host, _UNIT)


@saboteur(
    "policy-ingress",
    "policy-egress",
    breaks="Policies lose the exceptions of their networks on the way to the API server",
    says=f"{_IN_FORCE}.* passes, and a policy on a network forbids it",
)
def exceptions_lost(cluster: Cluster) -> Iterator[None]:
    remove = (
        "object.spec.policyTypes[0] == 'Ingress' ? "
        '[JSONPatch{op: "remove", path: "/spec/ingress/0/from/0/ipBlock/except"}] : '
        '[JSONPatch{op: "remove", path: "/spec/egress/0/to/0/ipBlock/except"}]'
    )
    only = [{"name": "by-network", "expression": "object.metadata.name.endsWith('by-cidr')"}]
    with admission(cluster.api, _POLICIES, remove, operations=["CREATE"], matchConditions=only):
        yield


@saboteur(
    "policy-egress",
    breaks="A node has lost the rules of its policies, and nothing writes them again",
    says=f"{_IN_FORCE}.* passes, and .* forbids it",
)
def policies_lost(cluster: Cluster) -> Iterator[None]:
    node = cluster.nodes[-1]
    host = node.host
    stop = f"systemctl stop kube-pod-network {_UNIT}; {_lose_rules(node)}"
    with done(host, stop, f"systemctl start kube-pod-network {_UNIT}"):
        yield
    await_health(host, _UNIT)


@saboteur(
    "policy-new-pods",
    breaks="Network policy engines hang, and see no new pods",
    says=f"{_IN_FORCE}.* passes, and .* forbids it",
)
def engines_hang(cluster: Cluster) -> Iterator[None]:
    hosts = [node.host for node in cluster.nodes]
    with everywhere(hosts, lambda host: disruption.frozen(host, _UNIT)):
        yield
    for host in hosts:
        await_health(host, _UNIT)


@saboteur(
    "policy-restart",
    breaks="An engine takes its rules with it when it is stopped",
    says="while the engine was restarted, .* passes, and a policy on a port forbids it",
)
def rules_go_with_the_engine(cluster: Cluster) -> Iterator[None]:
    node = cluster.nodes[0]
    with drop_in(node.host, _UNIT, "[Service]", f"ExecStopPost=/bin/sh -c '{_lose_rules(node)}'"):
        yield


def _lose_rules(node: Node) -> str:
    """Commands that take the engine's rules of the first IP family away."""
    program = "ip6tables" if node.networks[0].version == 6 else "iptables"
    return "; ".join(f"{program} -F {chain}" for chain in _CHAINS)
