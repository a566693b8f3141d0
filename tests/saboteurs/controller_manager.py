"""What makes the claims about the controller manager false."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager

from kubeproof.verify.cluster import Cluster
from kubeproof.verify.objects import Object
from kubeproof.verify.sabotage import saboteur
from kubeproof.verify.tampering import everywhere, flags, once_ready


def _without_loops(lab: Cluster, *loops: str) -> AbstractContextManager[None]:
    controllers = ",".join(["*", *(f"-{loop}-controller" for loop in loops)])
    return everywhere(
        lab.control_plane, lambda host: flags(host, "kube-controller-manager", f"--controllers={controllers}")
    )


@saboteur(
    "ctl-replicaset",
    "ctl-endpoints",
    breaks="The controller manager runs without the loops of ReplicaSets, ReplicationControllers and EndpointSlices",
    says="(?s)pods of a ReplicaSet: not within.*pods of a ReplicationController: not within"
    "|is an endpoint .*: not within",
)
def no_loops_for_replicas(lab: Cluster) -> Iterator[None]:
    with _without_loops(lab, "replicaset", "replicationcontroller", "endpointslice"):
        yield


@saboteur(
    "ctl-gc",
    "ctl-namespace",
    breaks="The controller manager runs without the loops that remove things",
    says="goes with its owner: not within|namespace .* gone: not within",
)
def no_loops_that_remove(lab: Cluster) -> Iterator[None]:
    with _without_loops(lab, "garbage-collector", "namespace"):
        yield


@saboteur(
    "ctl-serviceaccount",
    breaks="The controller manager runs without the loop of service accounts",
    says="ServiceAccount default in a new namespace: not within",
)
def no_loop_for_accounts(lab: Cluster) -> Iterator[None]:
    with _without_loops(lab, "serviceaccount"):
        yield


@saboteur(
    "ctl-serviceaccount",
    breaks="The service account is deleted under its pods",
    says="the token of pod .* is not accepted: .*401",
    quick=True,
)
def account_deleted_under_its_pods(lab: Cluster) -> Iterator[None]:
    def delete_account(pods: list[Object]) -> None:
        namespace = pods[0]["metadata"]["namespace"]
        lab.api.delete(f"/api/v1/namespaces/{namespace}/serviceaccounts/default")

    with once_ready(lab, ["agent-"], delete_account):
        yield
