"""MetalLB's objects: what may do what, and what depends on settings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.unit.roles.test_metrics_server import rendered

RANGE = ["192.0.2.64/28", "192.0.2.90-192.0.2.99"]


def objects(directory: Path, **settings: Any) -> dict[str, Any]:
    addons = {each["name"]: each for each in rendered(directory, "{{ __addons_of_roles }}", **settings)}
    assert addons["metallb"]["component"] == ("metallb" if addons["metallb"]["objects"] else "")
    return {f"{each['kind']} {each['metadata']['name']}": each for each in addons["metallb"]["objects"]}


def pod(workload: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    spec = workload["spec"]["template"]["spec"]
    [container] = spec["containers"]
    return spec, container


def test_without_addresses_there_is_none(tmp_path: Path) -> None:
    assert objects(tmp_path) == {}
    assert "metallb" not in rendered(tmp_path, "{{ __components_addons }}")
    assert "metallb" in rendered(tmp_path, "{{ __components_addons }}", metallb_addresses=RANGE)


def test_the_addresses_are_given_and_announced(tmp_path: Path) -> None:
    found = objects(tmp_path, metallb_addresses=RANGE)
    pool = found["IPAddressPool kubeproof"]
    assert pool["spec"] == {"addresses": RANGE}
    assert found["L2Advertisement kubeproof"]["spec"]["ipAddressPools"] == [pool["metadata"]["name"]]
    everywhere = {each["metadata"].get("namespace", "metallb-system") for each in found.values()}
    assert everywhere == {"metallb-system"}


def test_a_speaker_has_raw_sockets_and_nothing_else(tmp_path: Path) -> None:
    found = objects(tmp_path, metallb_addresses=RANGE, metallb_health_port="7473", metallb_memberlist_port="7947")
    spec, container = pod(found["DaemonSet speaker"])
    assert container["image"] == "ms"
    assert spec["hostNetwork"] is True
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"], "add": ["NET_RAW"]}
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert "--port=7473" in container["args"]
    assert container["readinessProbe"]["httpGet"] == {"path": "/metrics", "host": "127.0.0.1", "port": 7473}
    environment = {each["name"]: each.get("value") for each in container["env"]}
    assert environment["METALLB_ML_BIND_PORT"] == "7947"
    assert environment["METALLB_HOST"] == "127.0.0.1"
    # By these labels a speaker finds the others.
    labels = found["DaemonSet speaker"]["spec"]["template"]["metadata"]["labels"]
    assert environment["METALLB_ML_LABELS"] == ",".join(f"{name}={value}" for name, value in labels.items())


def test_the_controller_is_nobody(tmp_path: Path) -> None:
    found = objects(tmp_path, metallb_addresses=RANGE)
    spec, container = pod(found["Deployment controller"])
    assert container["image"] == "mc"
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
    }  # fmt: skip
    # What it changes of others' it changes by name, but for Services' status.
    for rule in found["ClusterRole metallb-system:controller"]["rules"]:
        writes = {"update", "delete", "patch", "*"} & set(rule["verbs"])
        assert not writes or rule.get("resourceNames") or rule["resources"] in (["services/status"], ["events"])


def test_the_webhooks_way_is_that_of_the_controller(tmp_path: Path) -> None:
    found = objects(tmp_path, metallb_addresses=RANGE)
    service = found["Service metallb-webhook-service"]
    [port] = service["spec"]["ports"]
    _, container = pod(found["Deployment controller"])
    assert {each["name"]: each["containerPort"] for each in container["ports"]}[port["targetPort"]] == 9443
    assert service["spec"]["selector"] == found["Deployment controller"]["spec"]["template"]["metadata"]["labels"]
    hooks = found["ValidatingWebhookConfiguration metallb-webhook-configuration"]["webhooks"]
    assert len(hooks) == 6
    ways = [hook["clientConfig"] for hook in hooks]
    ways.append(found["CustomResourceDefinition bgppeers.metallb.io"]["spec"]["conversion"]["webhook"]["clientConfig"])
    for way in ways:
        assert way["service"]["name"] == "metallb-webhook-service"
        # The controller adds it: what is applied must not take it away.
        assert "caBundle" not in way
    assert "data" not in found["Secret metallb-webhook-cert"]
    json.dumps(found)
