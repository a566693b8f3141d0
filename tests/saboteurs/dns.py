"""What makes the claims about DNS false."""

from __future__ import annotations

import time
from collections.abc import Iterator

from tests.saboteurs.framework.mutations import changed_object, everywhere, rules
from tests.saboteurs.framework.registry import saboteur

from kubeproof.verify.observe.cluster import Cluster
from kubeproof.verify.observe.objects import Object, holds

_SYSTEM = "/api/v1/namespaces/kube-system"
_PODS = f"{_SYSTEM}/pods"
_SELECTED = "k8s-app=kube-dns"
_READY_SECONDS = 60.0
# Longer than kubelets take to hear of a changed ConfigMap, of which they would give new pods the old text.
_HEARD_SECONDS = 2.0


@saboteur("service-dns", breaks="CoreDNS is scaled to zero", says="the DNS at .* does not answer", quick=True)
def no_dns(cluster: Cluster) -> Iterator[None]:
    def none(deployment: Object) -> None:
        deployment["spec"]["replicas"] = 0

    with changed_object(cluster.api, "/apis/apps/v1/namespaces/kube-system/deployments/coredns", none):
        yield


@saboteur(
    "dns-outside",
    breaks="The nodes' firewalls drop what CoreDNS asks the resolvers",
    says="names outside the cluster are answered with|does not answer",
)
def questions_dropped(cluster: Cluster) -> Iterator[None]:
    drop = """
    chain arriving { type filter hook input priority raw; udp dport 53 drop; tcp dport 53 drop; }
    """
    with everywhere([node.host for node in cluster.nodes], lambda host: rules(host, drop)):
        yield


@saboteur(
    "dns-outside",
    breaks="CoreDNS asks the resolvers about names of the cluster that it does not know",
    says="are answered with other codes|were sent outside",
)
def inside_sent_outside(cluster: Cluster) -> Iterator[None]:
    def pass_on(configuration: Object) -> None:
        text = configuration["data"]["Corefile"]
        changed = text.replace("fallthrough in-addr.arpa ip6.arpa", "fallthrough")
        if changed == text:
            raise ValueError("the Corefile has no line that lets names of addresses through")
        configuration["data"]["Corefile"] = changed

    try:
        with changed_object(cluster.api, f"{_SYSTEM}/configmaps/coredns", pass_on):
            _restart(cluster)
            yield
    finally:
        _restart(cluster)


def _restart(cluster: Cluster) -> None:
    """Have other pods of CoreDNS, which read its configuration: those that run would do so within a minute."""
    time.sleep(_HEARD_SECONDS)
    old = cluster.api.items(_PODS, labelSelector=_SELECTED)
    gone = {pod["metadata"]["uid"] for pod in old}
    for pod in old:
        cluster.api.delete(f"{_PODS}/{pod['metadata']['name']}")

    def replaced(pods: list[Object]) -> bool:
        new = [pod for pod in pods if pod["metadata"]["uid"] not in gone]
        return len(new) == len(pods) >= len(old) and all(holds(pod, "Ready") for pod in new)

    cluster.api.observe(_PODS, replaced, what="other pods of CoreDNS", timeout=_READY_SECONDS, labelSelector=_SELECTED)
