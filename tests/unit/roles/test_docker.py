"""Docker's and cri-dockerd's configuration and units, and what other roles have of them: no host has run these."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.unit.preflight.builders import report
from tests.unit.roles.test_extra_config import rendered

from kubeproof.install.pod_network import attachments
from kubeproof.install.request import _merged
from kubeproof.settings import specs

CONFIGURATION = "etc/docker/daemon.json"
ENGINE, BRIDGE = "etc/systemd/system/docker.service", "etc/systemd/system/cri-docker.service"
VERSION_1: dict[str, Any] = {"cgroup": {"version": 1, "controllers": ["memory", "pids"]}}
COMPONENTS = {"images": {"pause": "registry.example.org/pause:1"}}
# The first one leaves the others out with another runtime.
TASKS = yaml.safe_load((specs.ROLES / "docker/tasks/main.yml").read_text())[1:]


def configuration(directory: Path, facts: dict[str, Any] | None = None, **given: object) -> dict[str, Any]:
    host = {"kubeproof_host": report(**(facts or {})), "kubeproof_components": COMPONENTS}
    found: dict[str, Any] = json.loads(rendered("docker", CONFIGURATION, directory, ansible_facts=host, **given))
    return found


def command(directory: Path, **given: object) -> list[str]:
    """cri-dockerd's, as systemd reads it."""
    facts = {"kubeproof_host": report(), "kubeproof_components": COMPONENTS}
    text = rendered("docker", BRIDGE, directory, ansible_facts=facts, **given)
    [found] = re.findall(r"^ExecStart=(.*?[^\\])$", text, re.MULTILINE | re.DOTALL)
    return shlex.split(found.replace("\\\n", " "))


def test_networks_are_left_to_the_cluster(tmp_path: Path) -> None:
    found = configuration(tmp_path)
    assert found["bridge"] == "none"
    names = ("iptables", "ip6tables", "ip-forward", "ip-masq", "userland-proxy")
    assert {found[name] for name in names} == {False}
    assert "--network-plugin=cni" in command(tmp_path)
    # The one that Docker finds.
    assert "storage-driver" not in found


def test_containers_outlive_the_engine_and_logs_have_an_end(tmp_path: Path) -> None:
    found = configuration(tmp_path, docker_log_max_files=3)
    assert found["live-restore"] is True
    # The kubelet links to files of this driver; Docker takes nothing but texts for its options.
    assert (found["log-driver"], found["log-opts"]) == ("json-file", {"max-size": "10m", "max-file": "3"})


@pytest.mark.parametrize(("facts", "driver"), [({}, "systemd"), (VERSION_1, "cgroupfs")])
def test_its_cgroup_driver_is_the_kubelets(facts: dict[str, Any], driver: str, tmp_path: Path) -> None:
    assert configuration(tmp_path, facts)["exec-opts"] == [f"native.cgroupdriver={driver}"]
    host = {"kubeproof_host": report(**facts)}
    path = "etc/kubernetes/kubelet/config.yaml"
    kubelet = yaml.safe_load(rendered("kubelet", path, tmp_path, ansible_facts=host, container_runtime="docker"))
    assert kubelet["cgroupDriver"] == driver


def test_mirrors_are_those_of_its_registry(tmp_path: Path) -> None:
    assert configuration(tmp_path)["registry-mirrors"] == []
    given = {"docker.io": ["https://mirror.example.org"]}
    assert configuration(tmp_path, containerd_registry_mirrors=given)["registry-mirrors"] == given["docker.io"]


def test_users_settings_are_merged(tmp_path: Path) -> None:
    given = {"log-opts": {"compress": "true"}, "log-level": "debug"}
    text = rendered("docker", CONFIGURATION, tmp_path)
    merged = json.loads(_merged(text, given, CONFIGURATION))
    assert merged["log-opts"] == {"max-size": "10m", "max-file": "5", "compress": "true"}
    assert (merged["log-level"], merged["bridge"]) == ("debug", "none")


def test_kubelet_crictl_and_cri_dockerd_ask_the_sockets_on_which_the_next_listens(tmp_path: Path) -> None:
    [engine] = configuration(tmp_path)["hosts"]
    arguments = dict(each.split("=", 1) for each in command(tmp_path)[1:])
    assert arguments["--docker-endpoint"] == engine == "unix:///run/docker.sock"
    listens = arguments["--container-runtime-endpoint"]
    crictl = yaml.safe_load(rendered("docker", "etc/crictl.yaml", tmp_path))
    assert (crictl["runtime-endpoint"], crictl["image-endpoint"]) == (listens, listens)
    path = "etc/kubernetes/kubelet/config.yaml"
    kubelet = yaml.safe_load(rendered("kubelet", path, tmp_path, container_runtime="docker"))
    assert kubelet["containerRuntimeEndpoint"] == listens == "unix:///run/cri-dockerd.sock"
    assert TASKS[1]["component_service"]["health"]["command"][1:3] == ["--host", "unix://{{ __docker_socket }}"]


def test_what_cri_dockerd_is_told(tmp_path: Path) -> None:
    program, *arguments = command(tmp_path, cluster_bin_directory="/opt/bin")
    assert program == "/opt/bin/cri-dockerd"
    assert {
        "--pod-infra-container-image=registry.example.org/pause:1",
        "--cni-bin-dir=/opt/cni/bin",
        "--cni-conf-dir=/etc/cni/net.d",
        # By default whoever reaches the host may use what the kubelet opens for exec and attach.
        "--streaming-bind-addr=127.0.0.1",
    } <= set(arguments)
    assert "--ipv6-dual-stack" not in arguments
    two = "10.244.0.0/16,fd00:10:244::/56"
    both = command(tmp_path, cluster_pod_network=two, cluster_service_network="10.96.0.0/16,fd00:10:96::/112")
    assert "--ipv6-dual-stack" in both


def test_the_units_leave_containers_alone_and_start_one_after_another(tmp_path: Path) -> None:
    lines = rendered("docker", ENGINE, tmp_path, cluster_bin_directory="/opt/bin").splitlines()
    assert "ExecStart=/opt/bin/dockerd --config-file /etc/docker/daemon.json" in lines
    assert {"Type=notify", "KillMode=process", "Delegate=yes", "EnvironmentFile=-/etc/docker/proxy.env"} <= set(lines)
    # By their names, it starts the containerd and the runc that came with it.
    assert any(line.startswith("Environment=PATH=/opt/bin:") for line in lines)
    facts = {"kubeproof_host": report(), "kubeproof_components": COMPONENTS}
    bridge = rendered("docker", BRIDGE, tmp_path, ansible_facts=facts).splitlines()
    assert {"Type=notify", "After=docker.service", "Wants=docker.service"} <= set(bridge)
    assert "ExecStopPost=-/bin/rm -f /run/cri-dockerd.sock" in bridge
    unit = "etc/systemd/system/kubelet.service"
    kubelet = rendered("kubelet", unit, tmp_path, container_runtime="docker").splitlines()
    assert "After=network-online.target cri-docker.service kube-balancer.service" in kubelet


def test_its_configuration_is_validated_by_the_program_that_reads_it() -> None:
    known = yaml.safe_load((specs.ROLES / "docker/vars/main.yml").read_text())
    [daemon] = [each for each in known["__docker_files"] if each["template"] == f"{CONFIGURATION}.j2"]
    assert daemon["validate"] == "{{ cluster_bin_directory }}/dockerd --validate --config-file %s"


def test_all_that_it_keeps_is_where_a_reset_finds_it(tmp_path: Path) -> None:
    assert configuration(tmp_path, docker_root_directory="/data/docker")["data-root"] == "/data/docker"
    declared = {each["path"]: each for each in TASKS[0]["install_component"]["directories"]}
    assert {path for path, each in declared.items() if each.get("data")} == {
        "{{ docker_root_directory }}",
        "/run/docker",
    }
    arguments = dict(each.split("=", 1) for each in command(tmp_path)[1:])
    results = f"{arguments['--cni-cache-dir']}/results"
    assert results == str(attachments.RESULTS), "where the pod network's program looks for pods"
    assert {arguments["--cri-dockerd-root-directory"], results} <= declared.keys()
