"""What makes the claims about the scheduler false."""

from __future__ import annotations

from collections.abc import Iterator

from kubeproof.verify.cluster import Cluster
from kubeproof.verify.objects import name
from kubeproof.verify.sabotage import saboteur
from kubeproof.verify.tampering import changed_file, everywhere, meddling, stopped, verifications_pods

_CONFIG = "/etc/kubernetes/scheduler/config.yaml"
_WITHOUT_FIT = """
profiles:
  - plugins:
      multiPoint:
        disabled:
          - name: NodeResourcesFit
"""


@saboteur(
    "sched-resources",
    "sched-pending",
    "masters-unscheduled",
    breaks="The scheduler is stopped",
    says="is bound: not within|said to be unschedulable: not within|judges a pod .* not within",
)
def no_scheduler(lab: Cluster) -> Iterator[None]:
    with everywhere(lab.control_plane, lambda host: stopped(host, "kube-scheduler")):
        yield


@saboteur(
    "sched-binding",
    "pod-way",
    breaks="The administrator binds pods, and the scheduler is stopped",
    says="was bound by .*admin.*, not by (the scheduler|system:kube-scheduler)",
    quick=True,
)
def somebody_else_binds(lab: Cluster) -> Iterator[None]:
    node = lab.workers[0].name

    def bind() -> bool:
        for pod in verifications_pods(lab.api):
            if "nodeName" not in pod["spec"]:
                metadata = {"name": name(pod), "namespace": pod["metadata"]["namespace"]}
                path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}/binding"
                target = {"apiVersion": "v1", "kind": "Node", "name": node}
                binding = {"apiVersion": "v1", "kind": "Binding", "metadata": metadata, "target": target}
                lab.api.request("POST", path, binding)
        return False

    with everywhere(lab.control_plane, lambda host: stopped(host, "kube-scheduler")), meddling(bind):
        yield


@saboteur(
    "sched-resources",
    "sched-pending",
    breaks="The scheduler does not look at what is left on nodes",
    says="was put on",
)
def scheduler_without_fit(lab: Cluster) -> Iterator[None]:
    with everywhere(
        lab.control_plane, lambda host: changed_file(host, _CONFIG, lambda text: text + _WITHOUT_FIT, "kube-scheduler")
    ):
        yield
