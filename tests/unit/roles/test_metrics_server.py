"""metrics-server's objects: what verifies what, and what depends on settings."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from tests.unit.roles.test_texts import variables

from kubeproof.settings import resolve, specs

CERTIFICATE = "-----BEGIN CERTIFICATE-----\nof the cluster's CA\n-----END CERTIFICATE-----\n"


def rendered(directory: Path, expression: str, **settings: Any) -> Any:
    known = {**variables(directory, texts=False), "cluster_state_directory": str(directory), **settings}
    return Templar(loader=DataLoader(), variables=known).template(trust_as_template(expression))


def objects(directory: Path, **settings: Any) -> dict[str, Any]:
    addons = rendered(directory, "{{ __addons_of_roles }}", **settings)
    [addon] = [each for each in addons if each["name"] == "metrics-server"]
    return {f"{each['kind']} {each['metadata']['name']}": each for each in addon["objects"]}


def test_certificates_are_verified_on_both_sides(tmp_path: Path) -> None:
    (tmp_path / "pki").mkdir()
    (tmp_path / "pki" / "kubernetes.crt").write_text(CERTIFICATE)
    found = objects(tmp_path)
    service = found["APIService v1beta1.metrics.k8s.io"]["spec"]
    assert base64.b64decode(service["caBundle"]).decode() == CERTIFICATE
    arguments = found["Deployment metrics-server"]["spec"]["template"]["spec"]["containers"][0]["args"]
    assert "--kubelet-certificate-authority=/var/run/secrets/kubernetes.io/serviceaccount/ca.crt" in arguments
    assert "insecure" not in str(found).lower()
    # The API servers ask for it by this name.
    assert "metrics-server.kube-system.svc" in rendered(tmp_path, "{{ __metrics_server_names }}")


def test_a_plan_before_the_first_run_has_no_ca_yet(tmp_path: Path) -> None:
    assert objects(tmp_path)["APIService v1beta1.metrics.k8s.io"]["spec"]["caBundle"] == ""


def test_the_pods_user_is_the_keys_owner_and_may_do_nothing_else(tmp_path: Path) -> None:
    pod = objects(tmp_path)["Deployment metrics-server"]["spec"]["template"]["spec"]
    [certificate] = rendered(tmp_path, "{{ __metrics_server_certificates }}")
    assert str(pod["securityContext"]["runAsUser"]) == certificate["owner"]
    [volume] = pod["volumes"]
    assert volume["hostPath"]["path"] == str(Path(certificate["path"]).parent)
    [container] = pod["containers"]
    assert container["image"] == "m"
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
    }  # fmt: skip


@pytest.mark.parametrize(("replicas", "budget"), [(1, False), (2, True), ("3", True)])
def test_a_budget_only_where_there_are_several_pods(tmp_path: Path, replicas: Any, budget: bool) -> None:
    found = objects(tmp_path, metrics_server_replicas=replicas)
    assert found["Deployment metrics-server"]["spec"]["replicas"] == int(replicas)
    assert ("PodDisruptionBudget metrics-server" in found) is budget


@pytest.mark.parametrize("off", [False, "false", "no"])
def test_switched_off_it_has_no_objects_no_image_and_no_key(tmp_path: Path, off: Any) -> None:
    assert objects(tmp_path, metrics_server_enabled=off) == {}
    assert rendered(tmp_path, "{{ __components_addons }}", metrics_server_enabled=off) == []
    assert rendered(tmp_path, "{{ __metrics_server_on }}", metrics_server_enabled=off) is False
    assert rendered(tmp_path, "{{ __components_addons }}") == ["metrics_server"]


def test_switched_off_the_files_of_its_certificate_are_removed(tmp_path: Path) -> None:
    [task] = yaml.safe_load((specs.ROLES / "metrics_server" / "tasks" / "main.yml").read_text())
    [certificate] = rendered(tmp_path, "{{ __metrics_server_certificates }}")
    absent = task["install_component"]["absent"]
    # Files alone are removed.
    both = [certificate["path"] + suffix for suffix in (".key", ".crt")]
    assert rendered(tmp_path, absent, metrics_server_enabled=False) == both
    assert rendered(tmp_path, absent) == []


@pytest.mark.parametrize(
    ("looked", "failed", "fails", "seconds"),
    [
        ({}, True, True, 180),
        ({}, False, False, 180),
        # Nodes were looked at in vain, since others bring the network; and not at all.
        ({"__nodes_looked": {"msg": "not ready"}}, True, False, 0),
        ({"__nodes_looked": {"skipped": True}}, True, True, 180),
    ],
)
def test_without_a_pod_network_what_does_not_start_is_no_failure(
    tmp_path: Path, looked: dict[str, Any], failed: bool, fails: bool, seconds: int
) -> None:
    task = yaml.safe_load((specs.ROLES / "addons" / "tasks" / "wait.yml").read_text())[1]
    given = {"__addons_waited": {"failed": failed, "msg": "x"}, "__cluster_patience": 1.0, **looked}
    assert bool(rendered(tmp_path, "{{ %s }}" % task["failed_when"], **given)) is fails  # noqa: UP031
    assert int(rendered(tmp_path, task["kube_wait"]["timeout"], **given)) == seconds


def test_defaults_are_those_of_the_role() -> None:
    assert resolve.defaults()["metrics_server_enabled"] is True
