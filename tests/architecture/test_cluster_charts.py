"""Charts: an application that is installed, upgraded, rolled back and uninstalled by Helm."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from kubeproof.verify.act import charts
from kubeproof.verify.act.charts import Helm
from kubeproof.verify.act.pods import Manifests
from kubeproof.verify.act.workspace import Workspace
from kubeproof.verify.engine.evidence import Evidence
from kubeproof.verify.observe import objects
from kubeproof.verify.observe.api import Api
from kubeproof.verify.observe.cluster import Cluster
from kubeproof.verify.observe.objects import Object

_CHART = Path(__file__).parent / "charts" / "greeter"
_RELEASE = "greeter"
_SECONDS = 90.0
_GONE_SECONDS = 40.0
_PARTS = {"ConfigMap": "v1", "Service": "v1", "Deployment": "apps/v1"}


@pytest.mark.claim("helm-chart")
def test_a_chart_is_installed_upgraded_rolled_back_and_uninstalled(
    cluster: Cluster, api: Api, workspace: Workspace, manifests: Manifests, evidence: Evidence
) -> None:
    limit = api.patient(_SECONDS)
    with charts.helm(cluster.inventory, api.access, workspace.namespace("chart"), limit) as helm:
        evidence["helm"] = helm.run("version", "--short").strip()
        wait = ("--wait", "--timeout", f"{limit:.0f}s")
        image = ("--set", f"image={manifests.image}")
        changed = ("--set", "greeting=second", "--set", "replicas=2")
        seconds: dict[str, float] = {}
        for step, arguments, greeting, replicas in (
            ("install", (_RELEASE, str(_CHART), *image, *wait), "first", 1),
            ("upgrade", (_RELEASE, str(_CHART), *image, *changed, *wait), "second", 2),
            ("rollback", (_RELEASE, "1", *wait), "first", 1),
        ):
            start = time.monotonic()
            helm.run(step, *arguments)
            seconds[step] = round(time.monotonic() - start, 1)
            evidence[step] = _seen(api, helm, step, greeting, replicas)
        history = helm.told("history", _RELEASE)
        evidence["history"] = [f"{each['revision']}: {each['status']}, {each['description']}" for each in history]
        assert [each["status"] for each in history] == ["superseded", "superseded", "deployed"], (
            f"after install, upgrade and rollback the history is {evidence['history']}"
        )
        start = time.monotonic()
        helm.run("uninstall", _RELEASE, *wait)
        _await_gone(api, helm)
        seconds["uninstall"] = round(time.monotonic() - start, 1)
        evidence["seconds"] = seconds
        assert helm.told("list") == [], "a release that was uninstalled is listed"
    evidence.headline = "; ".join(f"{step} {took:.1f} s" for step, took in seconds.items())


def _seen(api: Api, helm: Helm, step: str, greeting: str, replicas: int) -> dict[str, object]:
    """What the API has of the release; helm has waited until it is so."""
    data = api.get(objects.path(_part(helm, "ConfigMap")))["data"]
    deployment = api.get(objects.path(_part(helm, "Deployment")))
    ready = deployment.get("status", {}).get("readyReplicas", 0)
    by = deployment["metadata"].get("labels", {}).get("app.kubernetes.io/managed-by")
    slices = api.items(
        f"/apis/discovery.k8s.io/v1/namespaces/{helm.namespace}/endpointslices",
        labelSelector=f"kubernetes.io/service-name={_RELEASE}",
    )
    assert data["greeting"] == greeting, f"after helm {step} the greeting is {data['greeting']!r}, not {greeting!r}"
    assert deployment["spec"]["replicas"] == replicas, (
        f"after helm {step} the Deployment has {deployment['spec']['replicas']} replicas, not {replicas}"
    )
    assert ready == replicas, f"helm {step} waited, and {ready} of {replicas} pods are ready"
    assert by == "Helm", f"after helm {step} the Deployment is managed by {by}, not by Helm"
    assert slices, f"after helm {step} the Service has no endpoints"
    return {"data": data, "replicas ready": ready}


def _await_gone(api: Api, helm: Helm) -> None:
    for kind in _PARTS:
        what = f"the {kind} of a chart that was uninstalled is gone"
        api.observe_gone(_part(helm, kind), what=what, timeout=_GONE_SECONDS)
    api.observe(
        objects.core(helm.namespace, "pods"),
        lambda items: not items,
        what="the pods of a chart that was uninstalled are gone",
        timeout=_GONE_SECONDS,
    )


def _part(helm: Helm, kind: str) -> Object:
    metadata = {"name": _RELEASE, "namespace": helm.namespace}
    return {"apiVersion": _PARTS[kind], "kind": kind, "metadata": metadata}
