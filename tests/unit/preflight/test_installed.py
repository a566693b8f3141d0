"""Settings that an installed cluster keeps."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.unit.preflight.builders import VALUES, host

from kubeproof.preflight import Variables
from kubeproof.preflight.findings import Finding
from kubeproof.preflight.installed import check_installed
from kubeproof.preflight.model import reads
from kubeproof.settings import fixed

ROLES = Path(__file__).parents[3] / "roles"


def findings(before: dict[str, str], **values: Any) -> list[Finding]:
    entry = host(1, installed={"settings": before})
    return list(check_installed([Variables(entry, {}, {**VALUES, **values}, {})]))


def test_the_same_as_before() -> None:
    before = {
        "cluster_name": "mine",
        "cluster_pod_network_prefix": "24",
        "containerd_root_directory": "/data/containerd",
    }
    same = {"cluster_name": "mine", "cluster_pod_network_prefix": 24, "containerd_root_directory": "/data/containerd/"}
    assert findings(before, **same) == []


def test_another_than_before() -> None:
    (finding,) = findings({"cluster_pod_network": "10.244.0.0/16"}, cluster_pod_network="10.245.0.0/16")
    assert (finding.id, finding.subject, finding.host) == ("installed-setting", "cluster_pod_network", "host1")
    assert finding.severity == "error"
    assert finding.problem.startswith(
        "`cluster_pod_network` is 10.245.0.0/16, and it was installed with 10.244.0.0/16: "
    )
    assert finding.remediation.startswith("Set it back to 10.244.0.0/16.")


def test_a_second_ip_family_is_neither_added_nor_taken_away() -> None:
    one, two = "10.244.0.0/16", ["10.244.0.0/16", "fd00:10:244::/56"]
    (added,) = findings({"cluster_pod_network": one}, cluster_pod_network=two)
    (removed,) = findings({"cluster_pod_network": "10.244.0.0/16,fd00:10:244::/56"}, cluster_pod_network=one)
    assert added.subject == removed.subject == "cluster_pod_network"
    assert "installed with 10.244.0.0/16: " in added.problem
    assert findings({"cluster_pod_network": "10.244.0.0/16,fd00:10:244::/56"}, cluster_pod_network=two) == []


def test_the_runtime_of_a_node_stays() -> None:
    for before, now in (("containerd", "crio"), ("crio", "docker"), ("docker", "containerd")):
        (finding,) = findings({"container_runtime": before}, container_runtime=now)
        assert (finding.id, finding.subject) == ("installed-setting", "container_runtime")
        assert "containers of the former one would continue unmanaged" in finding.problem
        assert findings({"container_runtime": before}, container_runtime=before) == []


def test_the_directory_of_claimed_volumes_stays() -> None:
    before = {"local_path_directory": "/data/volumes"}
    (finding,) = findings(before, local_path_enabled=True, local_path_directory="/data/others")
    assert (finding.id, finding.subject) == ("installed-setting", "local_path_directory")
    assert findings(before, local_path_enabled=True, local_path_directory="/data/volumes/") == []
    assert findings(before, local_path_enabled=False, local_path_directory="/var/lib/local-path-provisioner") == []


def test_the_network_of_a_cluster_stays() -> None:
    (finding,) = findings({"pod_network_plugin": "bridge"}, pod_network_plugin="flannel")
    assert (finding.id, finding.subject) == ("installed-setting", "pod_network_plugin")
    assert findings({"pod_network_plugin": "flannel"}, pod_network_plugin="flannel") == []


def test_what_a_file_has_is_compared_like_what_is_recorded() -> None:
    assert (
        findings({"containerd_root_directory": "/data/containerd/"}, containerd_root_directory="/data/containerd") == []
    )


def test_what_a_host_does_not_remember_is_not_compared() -> None:
    assert findings({}, cluster_name="other") == []
    assert findings({"cluster_favourite_colour": "blue"}, cluster_favourite_colour="red") == []


def test_a_host_that_can_not_be_reached_is_told_of_elsewhere() -> None:
    away = host(1).__class__("host1", frozenset(["etcd"]), "", None, "away", True)
    assert list(check_installed([Variables(away, {}, VALUES, {})])) == []


def recorded_in(path: Path) -> dict[str, str]:
    """Settings that tasks have hosts remember, and the values that they give."""
    tasks = yaml.safe_load(path.read_text()) or []
    given = [(task.get("install_component") or {}).get("settings") or {} for task in tasks]
    return {name: value for each in given for name, value in each.items()}


def recorded_by_roles() -> dict[str, list[str]]:
    """The same of all roles."""
    found: dict[str, list[str]] = {}
    for path in ROLES.glob("*/tasks/*.yml"):
        for name, value in recorded_in(path).items():
            found.setdefault(name, []).append(value)
    return found


@pytest.mark.parametrize("name", sorted(fixed.REASONS))
def test_each_is_remembered_by_a_role_and_read_by_the_preflight(name: str) -> None:
    # Directly, or by the lookup of another role's settings.
    assert {re.sub(r"[{} ]|lookup\('setting', '|'\)", "", value) for value in recorded_by_roles()[name]} == {name}
    assert reads(name)


@pytest.mark.parametrize("host_groups", ["control_plane", "workers"])
def test_a_node_alone_remembers_its_networks_and_names(host_groups: str) -> None:
    """``--limit`` may leave out all other hosts."""
    plays = yaml.safe_load((ROLES.parent / "playbooks" / "parts" / "cluster.yml").read_text())
    tasks = (task for play in plays if host_groups in play["hosts"].split(":") for task in play["tasks"])
    imported = (task["ansible.builtin.import_role"] for task in tasks if "ansible.builtin.import_role" in task)
    # Of a role that is imported in part, such as etcd's second one, the tasks of that part only.
    roles = {role["name"] for role in imported if "tasks_from" not in role}
    names = {name for role in roles for path in (ROLES / role / "tasks").glob("*.yml") for name in recorded_in(path)}
    assert {"cluster_name", "cluster_domain", "cluster_pod_network", "cluster_service_network"} <= names
