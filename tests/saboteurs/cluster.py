"""What makes the claims about the cluster as a whole false."""

from __future__ import annotations

from collections.abc import Iterator

from kubeproof.verify.cluster import Cluster
from kubeproof.verify.objects import Object
from kubeproof.verify.sabotage import saboteur
from kubeproof.verify.tampering import changed_object


@saboteur(
    "masters-unscheduled",
    breaks="A control-plane node's taint is removed",
    says="is of the control plane and not of the workers, but a workload is placed there",
    quick=True,
)
def control_plane_open_to_workloads(lab: Cluster) -> Iterator[None]:
    def untainted(node: Object) -> None:
        node["spec"].pop("taints", None)

    host = next(node for node in lab.nodes if node.control_plane)
    with changed_object(lab.api, f"/api/v1/nodes/{host.name}", untainted):
        yield
