"""CRI-O's configuration and unit, and what other roles have of it: no host has run these."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.unit.preflight.builders import report
from tests.unit.roles.test_extra_config import rendered

from kubeproof.install.request import _merged

CONFIGURATION = "etc/crio/crio.toml"
UNIT = "etc/systemd/system/crio.service"
VERSION_1: dict[str, Any] = {"cgroup": {"version": 1, "controllers": ["memory", "pids"]}}


def configuration(directory: Path, facts: dict[str, Any] | None = None, **given: object) -> dict[str, Any]:
    host = {"kubeproof_host": report(**(facts or {})), "kubeproof_components": {"images": {"pause": "pause:1"}}}
    text = rendered("crio", CONFIGURATION, directory, ansible_facts=host, **given)
    found: dict[str, Any] = tomllib.loads(text)["crio"]
    return found


def test_programs_are_those_that_the_cluster_was_given(tmp_path: Path) -> None:
    found = configuration(tmp_path, cluster_bin_directory="/opt/bin")
    runtime = found["runtime"]
    assert runtime["pinns_path"] == "/opt/bin/pinns"
    assert runtime["default_runtime"] == "runc"
    assert list(runtime["runtimes"]) == ["runc"]
    runc = runtime["runtimes"]["runc"]
    assert (runc["runtime_path"], runc["monitor_path"]) == ("/opt/bin/runc", "/opt/bin/conmon")
    assert found["image"]["pause_image"] == "pause:1"
    assert found["network"] == {"network_dir": "/etc/cni/net.d", "plugin_dirs": ["/opt/cni/bin"]}


@pytest.mark.parametrize(("facts", "driver"), [({}, "systemd"), (VERSION_1, "cgroupfs")])
def test_its_cgroup_driver_is_the_kubelets(facts: dict[str, Any], driver: str, tmp_path: Path) -> None:
    runtime = configuration(tmp_path, facts)["runtime"]
    assert runtime["cgroup_manager"] == driver
    host = {"kubeproof_host": report(**facts)}
    kubelet = yaml.safe_load(
        rendered(
            "kubelet", "etc/kubernetes/kubelet/config.yaml", tmp_path, ansible_facts=host, container_runtime="crio"
        )
    )
    assert kubelet["cgroupDriver"] == driver
    # CRI-O starts with no other value where the driver is cgroupfs.
    assert runtime["runtimes"]["runc"]["monitor_cgroup"] == "pod"


def test_all_that_it_keeps_is_where_a_reset_finds_it(tmp_path: Path) -> None:
    found = configuration(tmp_path, crio_root_directory="/data/crio")
    kept = [found[name] for name in ("root", "version_file_persist", "clean_shutdown_file")]
    running = [found["runroot"], found["version_file"], found["runtime"]["namespaces_dir"], found["api"]["listen"]]
    assert all(path.startswith("/data/crio/") for path in kept)
    assert all(path.startswith("/run/crio/") for path in running)


def test_users_settings_are_merged(tmp_path: Path) -> None:
    text = rendered("crio", CONFIGURATION, tmp_path)
    merged = tomllib.loads(_merged(text, {"crio": {"runtime": {"log_level": "debug"}}}, CONFIGURATION))["crio"]
    assert merged["runtime"]["log_level"] == "debug"
    assert merged["runtime"]["default_runtime"] == "runc"


def test_kubelet_and_crictl_ask_the_socket_on_which_it_listens(tmp_path: Path) -> None:
    listens = configuration(tmp_path)["api"]["listen"]
    crictl = yaml.safe_load(rendered("crio", "etc/crictl.yaml", tmp_path))
    assert (crictl["runtime-endpoint"], crictl["image-endpoint"]) == (f"unix://{listens}", f"unix://{listens}")
    path = "etc/kubernetes/kubelet/config.yaml"
    kubelet = yaml.safe_load(rendered("kubelet", path, tmp_path, container_runtime="crio"))
    assert kubelet["containerRuntimeEndpoint"] == f"unix://{listens}"


@pytest.mark.parametrize(("runtime", "unit"), [("containerd", "containerd.service"), ("crio", "crio.service")])
def test_the_kubelet_starts_after_its_runtime(runtime: str, unit: str, tmp_path: Path) -> None:
    lines = rendered("kubelet", "etc/systemd/system/kubelet.service", tmp_path, container_runtime=runtime).splitlines()
    assert f"After=network-online.target {unit} kube-balancer.service" in lines
    assert f"Wants=network-online.target {unit}" in lines


def test_the_unit_leaves_containers_alone(tmp_path: Path) -> None:
    lines = rendered("crio", UNIT, tmp_path, cluster_bin_directory="/opt/bin").splitlines()
    assert "ExecStart=/opt/bin/crio --config /etc/crio/crio.toml" in lines
    assert {"Type=notify", "KillMode=process", "Delegate=yes", "EnvironmentFile=-/etc/crio/proxy.env"} <= set(lines)


def test_images_are_taken_without_signatures_as_containerd_takes_them(tmp_path: Path) -> None:
    policy = json.loads(rendered("crio", "etc/crio/policy.json", tmp_path))
    assert policy == {"default": [{"type": "insecureAcceptAnything"}]}
    assert configuration(tmp_path)["image"]["signature_policy"] == "/etc/crio/policy.json"
