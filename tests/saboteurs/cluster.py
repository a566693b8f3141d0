"""What makes the claims about the cluster as a whole false."""

from __future__ import annotations

import base64
from collections.abc import Iterator

from tests.saboteurs.framework.mutations import changed_object, etcdctl, meddling
from tests.saboteurs.framework.registry import saboteur

from kubeproof.verify.act.workspace import PREFIX
from kubeproof.verify.observe.cluster import Cluster
from kubeproof.verify.observe.objects import Object


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


@saboteur(
    "pod-way",
    breaks="Someone writes pods into etcd, past the API servers",
    says="was written past them",
)
def pods_written_past_the_api(lab: Cluster) -> Iterator[None]:
    written: set[str] = set()

    def write_again() -> bool:
        for key in lab.etcd.keys(f"/registry/pods/{PREFIX}-"):
            # As it is, once: what matters is who writes, not what.
            if key.endswith("/pod-way") and key not in written and (found := lab.etcd.get(key)):
                value = base64.b64encode(found.value).decode()
                lab.etcd.host.run(f"echo %s | base64 --decode | {etcdctl(lab)} put %s", value, key)
                written.add(key)
        return False

    with meddling(write_again):
        yield
