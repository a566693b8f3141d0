"""What makes a component run in another form than was asked for."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from tests.saboteurs.framework.mutations import await_health, running, stopped
from tests.saboteurs.framework.registry import saboteur

from kubeproof.verify.observe import component_control
from kubeproof.verify.observe.cluster import Cluster

_SCHEDULER = "kube-scheduler"


@saboteur(
    "controlplane-forms",
    breaks="The scheduler of a host was started manually",
    says="kube-scheduler on .* runs as service kubeproof-saboteur-.*, not as",
)
def scheduler_by_hand(lab: Cluster) -> Iterator[None]:
    host = lab.control_plane[0]
    pid = component_control.processes(host, _SCHEDULER)[0]
    flags = host.run("tr '\\0' '\\n' < %s", f"/proc/{pid}/cmdline").splitlines()[1:]
    with stopped(host, _SCHEDULER), running(host, f"exec {_SCHEDULER} {shlex.join(flags)}"):
        await_health(host, _SCHEDULER)
        yield
