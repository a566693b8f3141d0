"""What makes the claims about DNS false."""

from __future__ import annotations

from collections.abc import Iterator

from kubeproof.verify.cluster import Cluster
from kubeproof.verify.objects import Object
from kubeproof.verify.sabotage import saboteur
from kubeproof.verify.tampering import changed_object


@saboteur("service-dns", breaks="CoreDNS is scaled to zero", says="the DNS at .* does not answer", quick=True)
def no_dns(lab: Cluster) -> Iterator[None]:
    def none(deployment: Object) -> None:
        deployment["spec"]["replicas"] = 0

    with changed_object(lab.api, "/apis/apps/v1/namespaces/kube-system/deployments/coredns", none):
        yield
