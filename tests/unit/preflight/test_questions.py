"""What hosts are asked to report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from kubeproof.preflight.questions import questions

ROOT = Path(__file__).resolve().parents[3]
SETTINGS: dict[str, Any] = {
    "backup_directory": "/srv/backups",
    "cluster_bin_directory": "/opt/bin",
    "containerd_root_directory": "/srv/containerd",
    "containerd_runtimes": [
        {"name": "crun", "options": {"BinaryName": "/usr/bin/crun"}},
        {"name": "own", "options": {}},
        {"name": "kata"},
    ],
    "crio_root_directory": "/srv/crio",
    "docker_root_directory": "/srv/docker",
    "etcd_data_directory": "/srv/etcd",
    "host_sysctls": {"vm.swappiness": 1},
}


def test_a_hosts_own_settings_are_asked_about() -> None:
    asked = questions(["etcd", "workers"], SETTINGS.__getitem__)
    assert asked["programs"] == ["/usr/bin/crun"]
    assert asked["sysctls"] == ["vm.swappiness"]
    assert asked["etcd_disk"]
    assert asked["backup_directory"] == "/srv/backups"
    assert asked["etcd_data_directory"] == "/srv/etcd"
    for directory in ("/", "/var/lib/kubelet", "/opt/bin", "/srv/etcd", "/srv/containerd", "/srv/crio", "/srv/docker"):
        assert directory in asked["paths"]


def test_only_members_disks_are_measured() -> None:
    assert not questions(["workers"], SETTINGS.__getitem__)["etcd_disk"]


@pytest.mark.parametrize("groups", [[], ["all", "ungrouped"], ["load_balancer"]])
def test_a_host_that_has_left_needs_no_settings(groups: list[str]) -> None:
    assert questions(groups, lambda name: pytest.fail(f"{name} was asked for")) == {"etcd_disk": False}


def test_every_question_is_an_option_of_the_module() -> None:
    module = (ROOT / "plugins" / "modules" / "host_report.py").read_text()
    options = yaml.safe_load(module.split('DOCUMENTATION = r"""')[1].split('"""')[0])["options"]
    assert set(questions(["etcd"], SETTINGS.__getitem__)) == set(options) - {"trusted", "again"}
