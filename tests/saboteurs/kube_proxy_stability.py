"""What makes requests fail when a service's pods are replaced."""

from __future__ import annotations

from collections.abc import Iterator

from tests.saboteurs.framework.mutations import admission, meddling, verifications_pods
from tests.saboteurs.framework.registry import saboteur

from kubeproof.verify.act.disruption import undone
from kubeproof.verify.observe import component_control
from kubeproof.verify.observe.cluster import Cluster
from kubeproof.verify.observe.objects import name


@saboteur(
    "service-stable",
    breaks="A node's kube-proxy hangs while a service's pods are replaced",
    says="requests come to .*: not within|failed while pods were replaced",
)
def hanging_proxy(lab: Cluster) -> Iterator[None]:
    host = lab.nodes[0].host
    proxy = component_control.component(host, "kube-proxy")

    def freeze() -> bool:
        if not any(name(pod).startswith("new-") for pod in verifications_pods(lab.api)):
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
def no_farewell(lab: Cluster) -> Iterator[None]:
    only = [{"name": "replaced-ones", "expression": "object.metadata.name.startsWith('old-')"}]
    arguments = '["netexec", "--http-port=8080", "--udp-port=8081"]'
    hasten = (
        f'[JSONPatch{{op: "replace", path: "/spec/containers/0/args", value: {arguments}}}, '
        'JSONPatch{op: "replace", path: "/spec/terminationGracePeriodSeconds", value: 1}]'
    )
    with admission(lab.api, "/v1/pods", hasten, operations=["CREATE"], matchConditions=only):
        yield
