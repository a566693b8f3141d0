"""Settings that a cluster keeps, read from what roles install: of hosts whose manifest does not have them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.unit.plugins.modules.test_host_report import Fake
from tests.unit.roles.test_extra_config import rendered

import host_report
from kubeproof.install.request import _merged
from kubeproof.settings import fixed

GIVEN = {
    "cluster_api_port": 16443,
    "cluster_etcd_port": 12379,
    "cluster_name": "our own cluster",
    "cluster_domain": "example.org",
    "cluster_dns_address": "10.97.0.10",
    "cluster_pod_network": "10.245.0.0/16",
    "cluster_pod_network_prefix": 25,
    "cluster_service_network": "10.97.0.0/16",
    "container_runtime": "containerd",
    "containerd_root_directory": "/data/containerd",
    "pod_network_plugin": "bridge",
}
FILES: dict[str, tuple[str, dict[str, Any]]] = {
    "/etc/etcd/etcd.yaml": ("etcd", {"debug": True}),
    "/etc/kubernetes/kubelet/config.yaml": ("kubelet", {"maxPods": 100}),
    "/etc/kubernetes/pod-network/rules.nft": ("pod_network", {}),
    "/etc/cni/net.d/10-kubeproof.conflist": ("pod_network", {}),
    "/etc/containerd/config.toml": ("containerd", {"oom_score": 1}),
    "/etc/systemd/system/kube-apiserver.service": ("apiserver", {}),
    "/etc/systemd/system/kube-controller-manager.service": ("controller-manager", {}),
}
NODE = {
    "cluster_domain": "example.org",
    "cluster_dns_address": "10.97.0.10",
    "cluster_pod_network": "10.245.0.0/16",
    "cluster_service_network": "10.97.0.0/16",
    "container_runtime": "containerd",
    "containerd_root_directory": "/data/containerd",
}
KNOWN: dict[str, Any] = {
    "__pod_network_addresses": {"one": "192.0.2.1", "two": "192.0.2.2"},
    "__pod_network_of": {"/api/v1/nodes/one": "10.245.0.0/25"},
}


def install(fake: Fake, directory: Path, *paths: str, merged: bool = False) -> list[dict[str, Any]]:
    """Write files as roles render them, with settings of the user's own in them or not; returns the manifest."""
    entries: list[dict[str, Any]] = []
    for path in paths:
        role, extra = FILES[path]
        text = rendered(role, path.lstrip("/"), directory, **KNOWN, **GIVEN)
        fake.file(path, _merged(text, extra if merged else None, path))
        unit = path.startswith("/etc/systemd")
        entries.append({"kind": "unit", "name": Path(path).name} if unit else {"kind": "file", "path": path})
    return entries


@pytest.fixture
def fake(tmp_path: Path) -> Fake:
    return Fake(tmp_path / "host")


@pytest.mark.parametrize("merged", [False, True])
def test_all_are_found(fake: Fake, tmp_path: Path, merged: bool) -> None:
    entries = install(fake, tmp_path, *FILES, merged=merged)
    found = host_report.settings_in_files(fake.machine, entries)
    assert found == {name: fixed.recorded(value) for name, value in GIVEN.items()}
    # Hosts that have a second IP family, or a later network, runtime or add-on, have a manifest with their settings.
    later = {
        "cluster_pod_network_prefix_ipv6",
        "calico_encapsulation",
        "cilium_routing",
        "crio_root_directory",
        "docker_root_directory",
        "local_path_directory",
    }
    assert found.keys() == fixed.REASONS.keys() - later


def test_a_worker_has_most_of_them(fake: Fake, tmp_path: Path) -> None:
    nodes = (
        "/etc/kubernetes/kubelet/config.yaml",
        "/etc/kubernetes/pod-network/rules.nft",
        "/etc/containerd/config.toml",
    )
    entries = install(fake, tmp_path, *nodes)
    assert host_report.settings_in_files(fake.machine, entries) == NODE


def test_a_static_pod_has_the_flags_of_the_service(fake: Fake, tmp_path: Path) -> None:
    unit = "/etc/systemd/system/kube-controller-manager.service"
    install(fake, tmp_path, unit)
    service = (fake.root / unit.lstrip("/")).read_text()
    flags = [word for word in service.replace("\\\n", " ").split() if "=" in word and word.lstrip('"').startswith("--")]
    (fake.root / unit.lstrip("/")).unlink()
    path = "/etc/kubernetes/manifests/kube-controller-manager.yaml"
    fake.file(path, json.dumps({"spec": {"containers": [{"command": [flag.strip('"') for flag in flags]}]}}))
    entries = [{"kind": "file", "path": path}, {"kind": "unit", "name": Path(unit).name}]
    assert host_report.settings_in_files(fake.machine, entries) == {
        "cluster_pod_network": "10.245.0.0/16",
        "cluster_pod_network_prefix": "25",
        "cluster_service_network": "10.97.0.0/16",
    }


def test_files_of_others_say_nothing(fake: Fake, tmp_path: Path) -> None:
    install(fake, tmp_path, *FILES)
    assert host_report.settings_in_files(fake.machine, []) == {}
    assert yaml.safe_load((fake.root / "etc/etcd/etcd.yaml").read_text())["initial-cluster-token"] == "our own cluster"
