"""What makes the claims about the controller manager false."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager

from tests.saboteurs.framework.mutations import (
    admission,
    everywhere,
    flags,
    followers,
    meddling,
    once_ready,
    verifications_pods,
)
from tests.saboteurs.framework.registry import saboteur

from kubeproof.verify.act.disruption import stopped_everywhere
from kubeproof.verify.observe.cluster import Cluster
from kubeproof.verify.observe.objects import Object, holds, name


def _without_loops(cluster: Cluster, *loops: str) -> AbstractContextManager[None]:
    controllers = ",".join(["*", *(f"-{loop}-controller" for loop in loops)])
    return everywhere(
        cluster.control_plane, lambda host: flags(host, "kube-controller-manager", f"--controllers={controllers}")
    )


@saboteur(
    "ctl-replicaset",
    "ctl-endpoints",
    breaks="The controller manager runs without the loops of ReplicaSets, ReplicationControllers and EndpointSlices",
    says="(?s)pods of a ReplicaSet: not within.*pods of a ReplicationController: not within"
    "|is an endpoint .*: not within",
)
def no_loops_for_replicas(cluster: Cluster) -> Iterator[None]:
    with _without_loops(cluster, "replicaset", "replicationcontroller", "endpointslice"):
        yield


@saboteur(
    "ctl-gc",
    "ctl-namespace",
    breaks="The controller manager runs without the loops that remove things",
    says="goes with its owner: not within|namespace .* gone: not within",
)
def no_loops_that_remove(cluster: Cluster) -> Iterator[None]:
    with _without_loops(cluster, "garbage-collector", "namespace"):
        yield


@saboteur(
    "ctl-serviceaccount",
    breaks="The controller manager runs without the loop of service accounts",
    says="ServiceAccount default in a new namespace: not within",
)
def no_loop_for_accounts(cluster: Cluster) -> Iterator[None]:
    with _without_loops(cluster, "serviceaccount"):
        yield


@saboteur(
    "ctl-serviceaccount",
    breaks="The service account is deleted under its pods",
    says="the token of pod .* is not accepted: .*401",
)
def account_deleted_under_its_pods(cluster: Cluster) -> Iterator[None]:
    def delete_account(pods: list[Object]) -> None:
        namespace = pods[0]["metadata"]["namespace"]
        cluster.api.delete(f"/api/v1/namespaces/{namespace}/serviceaccounts/default")

    with once_ready(cluster, ["agent-"], delete_account):
        yield


@saboteur(
    "ctl-deployment",
    breaks="An admission policy has Deployments end all old pods before there are new ones",
    says="requests failed while the Deployment was rolled",
    quick=True,
)
def deployments_start_from_nothing(cluster: Cluster) -> Iterator[None]:
    recreate = '[JSONPatch{op: "add", path: "/spec/strategy", value: Object.spec.strategy{type: "Recreate"}}]'
    with admission(cluster.api, "apps/v1/deployments", recreate):
        yield


@saboteur(
    "ctl-statefulset",
    breaks="An admission policy has StatefulSets create and delete all pods at once",
    says="do not come and go in order",
)
def statefulsets_without_order(cluster: Cluster) -> Iterator[None]:
    parallel = '[JSONPatch{op: "add", path: "/spec/podManagementPolicy", value: "Parallel"}]'
    with admission(cluster.api, "apps/v1/statefulsets", parallel):
        yield


@saboteur(
    "ctl-statefulset",
    breaks="The controller manager runs without the loop of StatefulSets",
    says="the pods of a StatefulSet come one after the other: not within",
)
def no_loop_for_statefulsets(cluster: Cluster) -> Iterator[None]:
    with _without_loops(cluster, "statefulset"):
        yield


@saboteur(
    "ctl-daemonset",
    "ctl-job",
    breaks="The controller manager runs without the loops of DaemonSets and Jobs",
    says="(?s)one pod of the DaemonSet runs on each of .*: not within|is Complete: not within.*is Failed: not within",
)
def no_loops_for_daemons_and_jobs(cluster: Cluster) -> Iterator[None]:
    with _without_loops(cluster, "daemonset", "job"):
        yield


@saboteur(
    "ctl-job",
    breaks="The controller manager runs without the loop of CronJobs",
    says="a CronJob that is due every minute creates a Job: not within",
)
def no_loop_for_cronjobs(cluster: Cluster) -> Iterator[None]:
    with _without_loops(cluster, "cronjob"):
        yield


@saboteur(
    "ctl-loop",
    breaks="Another client replaces pods while the controller manager is stopped",
    says="appeared though no controller manager runs",
)
def somebody_replaces_pods(cluster: Cluster) -> Iterator[None]:
    complete: set[str] = set()

    def replace() -> bool:
        pods = [
            pod
            for pod in verifications_pods(cluster.api)
            if pod["metadata"].get("labels", {}).get("app") == "unattended"
        ]
        if len(pods) == 2 and all(holds(pod, "Ready") for pod in pods):
            complete.update(name(pod) for pod in pods)
        if len(pods) != 1 or not complete:
            return False
        kept = pods[0]
        metadata = {key: kept["metadata"][key] for key in ("namespace", "labels", "ownerReferences")}
        metadata["name"] = f"{name(kept)}-again"
        spec = {key: value for key, value in kept["spec"].items() if key not in {"nodeName", "volumes"}}
        cluster.api.create({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
        return True

    with meddling(replace):
        yield


@saboteur(
    "ctl-node",
    "node-loss",
    breaks="The controller manager runs without the loop that watches nodes",
    says="is not said to be gone|still fail .* after",
)
def no_loop_for_nodes(cluster: Cluster) -> Iterator[None]:
    with _without_loops(cluster, "node-lifecycle"):
        yield


@saboteur(
    "ctl-node",
    breaks="The controller manager runs without the loop that evicts",
    says="which is dead, are not evicted",
)
def no_loop_that_evicts(cluster: Cluster) -> Iterator[None]:
    with _without_loops(cluster, "taint-eviction"):
        yield


@saboteur(
    "ctl-leader",
    breaks="All controller managers but the one that leads are stopped",
    says="the kube-controller-manager of .* was killed nobody has taken its lease",
)
def controller_managers_that_do_not_stand_in(cluster: Cluster) -> Iterator[None]:
    with stopped_everywhere(followers(cluster, "kube-controller-manager"), "kube-controller-manager"):
        yield
