"""What makes the claims about DNS false."""

from __future__ import annotations

from collections.abc import Iterator

from tests.saboteurs.framework.mutations import changed_object
from tests.saboteurs.framework.registry import saboteur

from kubeproof.verify.observe.cluster import Cluster
from kubeproof.verify.observe.objects import Object


@saboteur("service-dns", breaks="CoreDNS is scaled to zero", says="the DNS at .* does not answer", quick=True)
def no_dns(cluster: Cluster) -> Iterator[None]:
    def none(deployment: Object) -> None:
        deployment["spec"]["replicas"] = 0

    with changed_object(cluster.api, "/apis/apps/v1/namespaces/kube-system/deployments/coredns", none):
        yield
