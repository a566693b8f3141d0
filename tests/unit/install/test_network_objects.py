"""The objects of a network, from what is in the cache."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import yaml
from tests.unit.install.test_network_manifests import MANIFEST, ONE

from kubeproof.components import pins as pinned
from kubeproof.components.cache import Cache
from kubeproof.components.lock import Lock
from kubeproof.core.errors import KubeproofError
from kubeproof.install.network_objects import Wanted, chart, objects

# In place of Helm: shows how it was called, and what with, as an object and a hook.
HELM = """#!/usr/bin/python3
import json, os, sys
values = sys.argv[sys.argv.index("--values") + 1]
if "fail" in open(values).read():
    sys.exit("Error: execution error at (cilium/templates/validate.yaml)")
metadata = {"name": "called", "annotations": {"arguments": json.dumps(sys.argv[1:]), "home": os.environ["HOME"]}}
hook = {"name": "b", "annotations": {"helm.sh/hook": "test"}}
data = {"values": open(values).read()}
print("---\\n" + json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}))
print("---\\n" + json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": hook}))
"""


def test_calico_is_read_from_the_cache(tmp_path: Path) -> None:
    found = pinned.load()
    wanted = Wanted("calico", ONE, "vxlan", {"FELIX_LOGSEVERITYSCREEN": "Warning"})
    assert objects(wanted, found, tmp_path, cache_directory=tmp_path) is None
    with Cache(tmp_path) as cache, cache.work() as directory:
        (directory / "file").write_text(MANIFEST)
        blob = cache.store("0", {"calico": directory / "file"}, {}).blobs["calico"]
        lock = Lock(tmp_path)
        lock.record_download(found.published["calico"].location, blob.sha256, "a test")
        lock.save()
    kinds = [each["kind"] for each in objects(wanted, found, tmp_path, cache_directory=tmp_path) or []]
    assert kinds == ["ConfigMap", "DaemonSet", "ConfigMap"]
    # Another version was not fetched.
    assert objects(wanted, found.with_versions({"calico": "3.32.1"}), tmp_path, cache_directory=tmp_path) is None


def test_helm_makes_manifests_of_a_chart_and_asks_no_cluster(tmp_path: Path) -> None:
    helm, archive = tmp_path / "helm", tmp_path / "0123"
    helm.write_text(HELM)
    helm.chmod(0o755)
    archive.write_bytes(b"")
    [called] = chart(helm, archive, {"k8sServicePort": 7443}, "1.37.2")
    arguments = json.loads(called["metadata"]["annotations"]["arguments"])
    assert arguments[:2] == ["template", "cilium"]
    # Helm takes for a chart what is named like one.
    assert arguments[2].endswith(".tgz")
    assert arguments[arguments.index("--namespace") + 1] == "kube-system"
    assert arguments[arguments.index("--kube-version") + 1] == "v1.37.2"
    assert called["metadata"]["annotations"]["home"] != os.environ.get("HOME")
    assert yaml.safe_load(called["data"]["values"]) == {"k8sServicePort": 7443}


def test_what_helm_says_is_told(tmp_path: Path) -> None:
    helm = tmp_path / "helm"
    helm.write_text(HELM)
    helm.chmod(0o755)
    with pytest.raises(KubeproofError, match=r"ended with 1: Error: execution error") as refused:
        chart(helm, tmp_path / "0123", {"a": "fail"}, "1.37.2")
    assert "cilium_extra_values" in str(refused.value.hint)
    with pytest.raises(KubeproofError, match="helm template"):
        chart(tmp_path / "none", tmp_path / "0123", {}, "1.37.2")
