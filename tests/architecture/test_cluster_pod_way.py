"""The start of a pod through all components, from kubectl to a running container."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest

from kubeproof.api import kubectl
from kubeproof.core import process
from kubeproof.core.errors import KubeproofError
from kubeproof.verify.act.pods import Manifests
from kubeproof.verify.engine.evidence import Evidence
from kubeproof.verify.observe import audit
from kubeproof.verify.observe.cluster import Cluster
from kubeproof.verify.observe.hosts import NotObservable, on_hosts
from kubeproof.verify.pod_startup import records, trace

_COMMAND_SECONDS = 60.0


@pytest.mark.claim("pod-way")
def test_each_component_does_its_part_in_order(
    cluster: Cluster, kubeconfig_path: Path, manifests: Manifests, report_sections: dict[str, Any], evidence: Evidence
) -> None:
    _require_records(cluster)
    manifest = manifests.pod("pod-way", [manifests.container("pause", ["pause"])])
    with tempfile.TemporaryDirectory() as directory:
        # Under its own name, which it tells the API server.
        program = Path(directory) / "kubectl"
        program.symlink_to(_kubectl(cluster))
        command = [str(program), "--kubeconfig", str(kubeconfig_path), "--server", cluster.api.access.server]
        command += ["create", "--filename=-"]
        env = kubectl.environment(kubeconfig_path)
        recording = records.record(
            cluster,
            manifest,
            lambda: process.run(command, stdin=json.dumps(manifest), env=env, timeout=_COMMAND_SECONDS),
        )
    way = trace.trace(recording)
    shown = way.document()
    report_sections["pod_way"] = shown
    evidence["steps"] = [
        f"{step['number']} +{step['at_ms']:.1f} ms ±{step['uncertainty_ms']:.1f}, {step['by']}: {step['record']}"
        for step in shown["steps"]
    ]
    evidence["records"] = recording.document()
    assert not way.problems, "; ".join(way.problems)
    at = {step["number"]: step["at_ms"] for step in shown["steps"]}
    evidence.headline = (
        f"{len(at)} steps in order: bound after {at[5]:.0f} ms, given to the runtime of {way.node} after {at[9]:.0f}, "
        f"running after {at[11]:.0f}"
    )


def _require_records(cluster: Cluster) -> None:
    cluster.hosts.require("control_plane")
    if not all(on_hosts(cluster.control_plane, lambda host: host.attempt("test -s %s", audit.LOG)[0] == 0).values()):
        raise NotObservable(f"the API servers write no audit log to {audit.LOG}")
    for node in cluster.workers:
        version = node.item["status"]["nodeInfo"]["containerRuntimeVersion"]
        if not version.startswith("containerd://"):
            raise NotObservable(f"{node.name} has {version}, whose log is not read here")


def _kubectl(cluster: Cluster) -> Path:
    try:
        return kubectl.binary(cluster.inventory.state)
    except KubeproofError as error:
        raise NotObservable(str(error)) from None
