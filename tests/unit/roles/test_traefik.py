"""Traefik's objects: what may do what, and what depends on settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.unit.roles.test_metrics_server import rendered

from kubeproof.settings import traefik

ON = {"traefik_enabled": True}
RANGE = ["192.0.2.64/28"]


def addons(directory: Path, **settings: Any) -> dict[str, dict[str, Any]]:
    return {each["name"]: each for each in rendered(directory, "{{ __addons_of_roles }}", **settings)}


def objects(directory: Path, **settings: Any) -> dict[str, Any]:
    found = addons(directory, **{**ON, **settings})["traefik"]["objects"]
    assert all(found)
    return {f"{each['kind']} {each['metadata']['name']}": each for each in found}


def container(found: dict[str, Any]) -> dict[str, Any]:
    [only] = found["Deployment traefik"]["spec"]["template"]["spec"]["containers"]
    return dict(only)


@pytest.mark.parametrize("off", [False, "false", "no"])
def test_switched_off_there_is_nothing_of_it(tmp_path: Path, off: Any) -> None:
    found = addons(tmp_path, traefik_enabled=off)
    assert found["traefik"]["objects"] == []
    assert found["gateway-api"] == {"name": "gateway-api", "component": "", "objects": []}
    known = rendered(tmp_path, "{{ __components_addons }}", traefik_enabled=off)
    assert not {"traefik", "gateway_api"} & set(known)


@pytest.mark.parametrize(
    ("settings", "there"),
    [
        (ON, True),
        ({**ON, "traefik_providers": ["ingress"]}, False),
        ({**ON, "traefik_providers": ["ingress"], "gateway_api_enabled": True}, True),
        ({"gateway_api_enabled": True}, True),
        ({**ON, "gateway_api_enabled": "no"}, False),
    ],
)
def test_the_kinds_of_the_gateway_api_come_with_traefik_or_alone(
    tmp_path: Path, settings: dict[str, Any], there: bool
) -> None:
    assert addons(tmp_path, **settings)["gateway-api"]["component"] == ("gateway-api" if there else "")
    known = rendered(tmp_path, "{{ __components_addons }}", **settings)
    assert ("gateway_api" in known) is there
    assert ("traefik" in known) is bool(settings.get("traefik_enabled"))


def test_it_is_nobody_and_may_do_nothing_on_its_node(tmp_path: Path) -> None:
    found = objects(tmp_path)
    spec, only = found["Deployment traefik"]["spec"]["template"]["spec"], container(found)
    assert only["image"] == "t"
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert only["securityContext"] == {
        "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
    }  # fmt: skip
    assert found["Namespace traefik"]["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert "hostNetwork" not in spec


def test_it_tells_nobody_and_shows_nothing_of_itself(tmp_path: Path) -> None:
    arguments = container(objects(tmp_path))["args"]
    assert {"--global.checkNewVersion=false", "--global.sendAnonymousUsage=false"} <= set(arguments)
    assert not [each for each in arguments if each.startswith(("--api", "--metrics", "--tracing"))]


@pytest.mark.parametrize("providers", [["ingress"], ["gateway"], ["ingress", "gateway"]])
def test_it_reads_what_its_providers_read_and_changes_statuses_alone(tmp_path: Path, providers: list[str]) -> None:
    found = objects(tmp_path, traefik_providers=providers)
    rules = found["ClusterRole traefik:routes"]["rules"]
    for rule in rules:
        for resource in rule["resources"]:
            assert rule["verbs"] == (["update"] if resource.endswith("/status") else ["list", "watch"])
    read = {resource for rule in rules for resource in rule["resources"]}
    assert ({"ingresses", "nodes"} <= read) is ("ingress" in providers)
    assert ({"httproutes", "configmaps"} <= read) is ("gateway" in providers)
    assert ("IngressClass traefik" in found) is ("ingress" in providers)
    assert ("GatewayClass traefik" in found) is ("gateway" in providers)
    served = {each.split(".")[1] for each in container(found)["args"] if each.startswith("--providers.")}
    assert {each.removesuffix("=true") for each in served} == {f"kubernetes{each.capitalize()}" for each in providers}


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"metallb_addresses": RANGE},
        {"metallb_addresses": RANGE, "traefik_service_type": "NodePort"},
        {"traefik_service_type": "LoadBalancer"},
        {"traefik_service_type": "ClusterIP"},
    ],
)
def test_the_services_type_is_what_the_verifier_takes_it_for(tmp_path: Path, settings: dict[str, Any]) -> None:
    spec = objects(tmp_path, **settings)["Service traefik"]["spec"]
    assert spec["type"] == traefik.service_type(settings)
    assert ("externalTrafficPolicy" in spec) is (spec["type"] != "ClusterIP")


def test_ports_of_the_service_are_those_of_listeners_and_of_the_container(tmp_path: Path) -> None:
    settings = {"traefik_http_port": "8000", "traefik_https_port": 8443, "traefik_node_ports": {"https": "30443"}}
    found = objects(tmp_path, **settings)
    by_name = {each["name"]: each for each in found["Service traefik"]["spec"]["ports"]}
    assert set(by_name) == set(traefik.PORTS)
    assert (by_name["web"]["port"], by_name["websecure"]["port"]) == (8000, 8443)
    assert "nodePort" not in by_name["web"]
    assert by_name["websecure"]["nodePort"] == 30443
    inside = {each["name"]: each["containerPort"] for each in container(found)["ports"]}
    assert inside == {"web": 8000, "websecure": 8443, "ping": traefik.PING_PORT}
    arguments = container(found)["args"]
    assert {"--entryPoints.web.address=:8000", "--entryPoints.websecure.address=:8443"} <= set(arguments)
    assert f"--entryPoints.traefik.address=:{traefik.PING_PORT}" in arguments


@pytest.mark.parametrize(("replicas", "budget"), [(1, False), ("2", True)])
def test_a_budget_only_where_there_are_several_pods(tmp_path: Path, replicas: Any, budget: bool) -> None:
    found = objects(tmp_path, traefik_replicas=replicas)
    assert found["Deployment traefik"]["spec"]["replicas"] == int(replicas)
    assert ("PodDisruptionBudget traefik" in found) is budget


def test_the_default_certificate_is_of_a_secret_that_may_come_later(tmp_path: Path) -> None:
    found = objects(tmp_path, traefik_default_certificate="own")
    [volume] = found["Deployment traefik"]["spec"]["template"]["spec"]["volumes"]
    assert volume["projected"]["sources"][1] == {"secret": {"name": "own", "optional": True}}
    [mount] = container(found)["volumeMounts"]
    assert f"--providers.file.directory={mount['mountPath']}" in container(found)["args"]
    [text] = found["ConfigMap default-certificate"]["data"].values()
    assert f"{mount['mountPath']}/tls.crt" in text
    assert "volumes" not in objects(tmp_path)["Deployment traefik"]["spec"]["template"]["spec"]


@pytest.mark.parametrize("default", [True, False])
def test_ingresses_without_a_class_are_its_own_if_asked_for(tmp_path: Path, default: bool) -> None:
    metadata = objects(tmp_path, traefik_default_ingress_class=default)["IngressClass traefik"]["metadata"]
    annotations = {"ingressclass.kubernetes.io/is-default-class": "true"} if default else None
    assert metadata.get("annotations") == annotations
