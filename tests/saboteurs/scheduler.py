"""What makes the claims about the scheduler false."""

from __future__ import annotations

from collections.abc import Iterator

from kubeproof.verify.cluster import Cluster
from kubeproof.verify.disruption import stopped_everywhere
from kubeproof.verify.sabotage import saboteur


@saboteur(
    "sched-resources",
    "sched-pending",
    "masters-unscheduled",
    breaks="The scheduler is stopped",
    says="is bound: not within|said to be unschedulable: not within|judges a pod .* not within",
    quick=True,
)
def no_scheduler(lab: Cluster) -> Iterator[None]:
    with stopped_everywhere(lab.control_plane, "kube-scheduler"):
        yield
