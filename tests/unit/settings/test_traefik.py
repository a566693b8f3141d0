"""Settings of Traefik that cannot be meant."""

from __future__ import annotations

from typing import Any

import pytest

from kubeproof.settings import resolve, traefik

ON: dict[str, Any] = {
    "traefik_enabled": True,
    "traefik_providers": ["ingress", "gateway"],
    "traefik_http_port": 80,
    "traefik_https_port": 443,
}


def problems(**settings: Any) -> list[tuple[str, str]]:
    return list(traefik.problems({**ON, **settings}))


def test_defaults_are_sound_and_off() -> None:
    known = {name: value for name, value in resolve.defaults().items() if name.startswith("traefik_")}
    assert list(traefik.problems(known)) == []
    assert not traefik.on(known)
    assert traefik.on(ON)
    assert list(traefik.problems({})) == []


@pytest.mark.parametrize(
    ("settings", "name", "said"),
    [
        ({"traefik_replicas": 0}, "traefik_replicas", "0 is below 1"),
        ({"traefik_providers": []}, "traefik_providers", "is empty"),
        ({"gateway_api_enabled": False}, "gateway_api_enabled", "would wait for these kinds"),
        ({"traefik_http_port": 443}, "traefik_https_port", "443 is traefik_http_port, too"),
        ({"traefik_http_port": 9000}, "traefik_http_port", "9000 is the port of the health check"),
        ({"traefik_node_ports": {"web": 30080}}, "traefik_node_ports", "names web; known are http and https"),
        ({"traefik_node_ports": {"http": 80}}, "traefik_node_ports", "http: 80 is not of the API servers' range"),
        ({"traefik_node_ports": {"http": "x"}}, "traefik_node_ports", "http: 'x' is not a port"),
        ({"traefik_node_ports": {"http": 30080, "https": "30080"}}, "traefik_node_ports", "are both 30080"),
        (
            {"traefik_node_ports": {"http": 30080}, "traefik_service_type": "ClusterIP"},
            "traefik_node_ports",
            "has no ports on nodes",
        ),
        ({"traefik_default_certificate": "ns/own"}, "traefik_default_certificate", "'ns/own' is not the name"),
        ({"traefik_resources": {"cpu": "1"}}, "traefik_resources", "something else than requests and limits"),
        ({"traefik_resources": "requests=100m"}, "traefik_resources", "is not a dictionary of requests and limits"),
        ({"traefik_resources": {"requests": "100m"}}, "traefik_resources", "requests: '100m' is not a dictionary"),
        ({"traefik_resources": {"limits": {"memory": "1 GB"}}}, "traefik_resources", "'1 GB' is not a quantity"),
        (
            {"traefik_resources": {"requests": {"cpu": 2}, "limits": {"cpu": "500m"}}},
            "traefik_resources",
            "requests cpu: 2 is more than the limit, 500m",
        ),
    ],
)
def test_what_cannot_be_meant_is_named(settings: dict[str, Any], name: str, said: str) -> None:
    [(named, problem)] = problems(**settings)
    assert named == name
    assert said in problem


def test_the_range_is_that_of_the_api_servers() -> None:
    own = {"apiserver_extra_args": {"service-node-port-range": "80-32767"}}
    assert problems(traefik_node_ports={"http": 80, "https": 443}, **own) == []


def test_without_traefik_the_gateway_api_is_for_others_to_serve() -> None:
    assert problems(traefik_enabled=False, gateway_api_enabled=False) == []
    assert problems(traefik_providers=["ingress"], gateway_api_enabled=False) == []
