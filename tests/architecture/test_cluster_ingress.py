"""Requests from outside, routed by host and path: as Ingresses say, and as routes of the Gateway API do."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from kubeproof.core import waiting
from kubeproof.settings import traefik
from kubeproof.verify.act.application_operator import gate
from kubeproof.verify.act.pods import HTTP_PORT, Manifests, Pod
from kubeproof.verify.engine.evidence import Evidence
from kubeproof.verify.engine.preparations import prepared_together
from kubeproof.verify.observe import outside
from kubeproof.verify.observe.api import Api
from kubeproof.verify.observe.cluster import Cluster
from kubeproof.verify.observe.hosts import NotObservable
from kubeproof.verify.observe.objects import Object
from kubeproof.verify.observe.outside import Response

_SERVICE = f"/api/v1/namespaces/{traefik.NAMESPACE}/services/{traefik.SERVICE}"
_PODS = f"/api/v1/namespaces/{traefik.NAMESPACE}/pods"
# Traefik puts new routes into effect at most every two seconds.
_ROUTED_SECONDS = 30.0
_POLL_SECONDS = 0.5
_SITES = ("site-a", "site-b")
# Two paths at which the test image tells which pod it is.
_EXACT, _OTHER = "/hostname", "/hostName"
_NOT_FOUND = 404


@prepared_together()
def sites(manifests: Manifests) -> list[Object]:
    """Two applications, each with a Service."""
    probe = {"httpGet": {"path": "/readyz", "port": HTTP_PORT}, "periodSeconds": 1}
    pods = [
        manifests.pod(name, [manifests.server("server", readinessProbe=probe)], labels={"site": name})
        for name in _SITES
    ]
    return [*pods, *(manifests.service(name, {"site": name}) for name in _SITES)]


@dataclass(frozen=True)
class Door:
    """Where requests get in: an address, and its ports for HTTP and HTTPS."""

    address: str
    http: int
    https: int


@dataclass(frozen=True)
class Hosts:
    """Names of hosts, which are in no DNS and of this verification alone: two that have routes, and one without."""

    first: str
    second: str
    unknown: str

    @classmethod
    def of(cls, kind: str, manifests: Manifests) -> Hosts:
        """Those for routes of one kind."""
        return cls(*(f"{name}.{kind}.{manifests.namespace}.test" for name in ("first", "second", "unknown")))

    def routes(self) -> list[tuple[str, str, str, str]]:
        """Host, kind of match, path, and the Service: a host with two, and another one with one path of its own."""
        return [
            (self.first, "Exact", _EXACT, "site-a"),
            (self.first, "Prefix", "/", "site-b"),
            (self.second, "Exact", _EXACT, "site-b"),
        ]


@pytest.mark.claim("ingress-routes")
def test_an_ingress_routes_by_host_and_path_with_tls(
    cluster: Cluster, api: Api, sites: list[Pod], manifests: Manifests, evidence: Evidence
) -> None:
    _demand(cluster, "ingress")
    hosts = Hosts.of("ingress", manifests)
    certificate = gate.issue(hosts.first)
    api.create(_secret(manifests, "site-ingress", certificate))
    api.create(_ingress(cluster, manifests, hosts))
    _look(api, _doors(cluster, api), hosts, certificate.ca, evidence)


@pytest.mark.claim("ingress-routes")
def test_routes_of_a_gateway_do_the_same(
    cluster: Cluster, api: Api, sites: list[Pod], manifests: Manifests, evidence: Evidence
) -> None:
    _demand(cluster, "gateway")
    hosts = Hosts.of("gateway", manifests)
    certificate = gate.issue(hosts.first)
    api.create(_secret(manifests, "site-gateway", certificate))
    api.create(_gateway(cluster, manifests))
    for host in (hosts.first, hosts.second):
        api.create(_http_route(manifests, hosts, host))
    _look(api, _doors(cluster, api), hosts, certificate.ca, evidence)


def _demand(cluster: Cluster, provider: str) -> None:
    if not traefik.on(cluster.settings):
        raise NotObservable("traefik_enabled is false: kubeproof installs nothing that routes by host and path")
    if provider not in cluster.settings["traefik_providers"]:
        raise NotObservable(f"traefik_providers does not have {provider}")


def _look(api: Api, doors: Sequence[Door], hosts: Hosts, ca: str, evidence: Evidence) -> None:
    """Ask what is routed at each door, and what is not at one of them."""
    for door in doors:
        _demand_site(api, evidence, door, hosts.first, _EXACT, "site-a")
    door = doors[0]
    _demand_site(api, evidence, door, hosts.first, _OTHER, "site-b")
    _demand_site(api, evidence, door, hosts.second, _EXACT, "site-b")
    _demand_site(api, evidence, door, hosts.first, _EXACT, "site-a", ca)
    _demand_site(api, evidence, door, hosts.first, _OTHER, "site-b", ca)
    for host, path in ((hosts.second, _OTHER), (hosts.unknown, _EXACT)):
        told = _asked(api, door, host, path, lambda answer: answer.status == _NOT_FOUND)
        evidence[f"http://{host}{path}"] = str(told)
        assert told.status == _NOT_FOUND, f"{host}{path}, which has no route, is answered {told}"
    evidence.headline = f"two hosts and three routes at {', '.join(door.address for door in doors)}, with TLS"


def _demand_site(api: Api, evidence: Evidence, door: Door, host: str, path: str, site: str, ca: str = "") -> None:
    """One request, which must be answered by a site."""
    told = _asked(api, door, host, path, lambda answer: (answer.status, answer.body) == (200, site), ca)
    scheme, port = ("https", door.https) if ca else ("http", door.http)
    evidence[f"{scheme}://{host}{path} at {door.address}:{port}"] = str(told)
    over = " over TLS" if ca else ""
    assert (told.status, told.body) == (200, site), (
        f"{host}{path}, asked{over} at {door.address}:{port}, is not answered by {site}: {told}"
    )


def _asked(api: Api, door: Door, host: str, path: str, wanted: Any, ca: str = "") -> Response:
    """The answer that is wanted, or the last one."""
    last = Response(0, "not asked")

    def look() -> bool:
        nonlocal last
        last = outside.ask(door.address, door.https if ca else door.http, host, path, ca=ca)
        return bool(wanted(last))

    waiting.until(look, api.patient(_ROUTED_SECONDS), pause=_POLL_SECONDS)
    return last


def _doors(cluster: Cluster, api: Api) -> list[Door]:
    """The addresses of Traefik's Service; or those of nodes, with its ports there."""
    service = api.get(_SERVICE)
    if service["spec"]["type"] == "ClusterIP":
        raise NotObservable("Traefik's Service is of type ClusterIP: something else brings requests to it")
    ports = {each["name"]: each for each in service["spec"]["ports"]}
    given = [each["ip"] for each in service["status"].get("loadBalancer", {}).get("ingress") or [] if "ip" in each]
    if given:
        return [Door(address, *(ports[name]["port"] for name in traefik.PORTS)) for address in _reached(given)]
    nodes = {node.name: node.addresses for node in cluster.nodes}
    if service["spec"]["externalTrafficPolicy"] == "Local":
        # Others have no pod to pass it to.
        there = {pod["spec"].get("nodeName") for pod in api.items(_PODS, labelSelector=f"app={traefik.SERVICE}")}
        nodes = {name: addresses for name, addresses in nodes.items() if name in there}
    found = [address for addresses in nodes.values() for address in _reached(addresses)]
    assert found, "no node has a pod of Traefik"
    return [Door(address, *(ports[name]["nodePort"] for name in traefik.PORTS)) for address in found]


def _reached(addresses: Sequence[str]) -> list[str]:
    return [address for address in addresses if outside.has_way_to(address)]


def _secret(manifests: Manifests, name: str, certificate: gate.Issued) -> Object:
    data = {"tls.crt": certificate.certificate, "tls.key": certificate.key}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": manifests.namespace},
        "type": "kubernetes.io/tls",
        "data": {key: base64.b64encode(text.encode()).decode() for key, text in data.items()},
    }


def _ingress(cluster: Cluster, manifests: Manifests, hosts: Hosts) -> Object:
    """Of no class by name, if those are Traefik's."""
    of_class = {} if cluster.settings["traefik_default_ingress_class"] else {"ingressClassName": traefik.CLASS}
    rules = []
    for host in (hosts.first, hosts.second):
        paths = [
            {"path": path, "pathType": match, "backend": {"service": {"name": site, "port": {"number": 80}}}}
            for each, match, path, site in hosts.routes()
            if each == host
        ]
        rules.append({"host": host, "http": {"paths": paths}})
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {"name": "sites", "namespace": manifests.namespace},
        "spec": {**of_class, "tls": [{"hosts": [hosts.first], "secretName": "site-ingress"}], "rules": rules},
    }


def _gateway(cluster: Cluster, manifests: Manifests) -> Object:
    ports = {scheme: int(cluster.settings[f"traefik_{scheme}_port"]) for scheme in traefik.PORTS.values()}
    tls = {"mode": "Terminate", "certificateRefs": [{"kind": "Secret", "name": "site-gateway"}]}
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "metadata": {"name": "sites", "namespace": manifests.namespace},
        "spec": {
            "gatewayClassName": traefik.CLASS,
            "listeners": [
                {"name": "http", "protocol": "HTTP", "port": ports["http"]},
                {"name": "https", "protocol": "HTTPS", "port": ports["https"], "tls": tls},
            ],
        },
    }


def _http_route(manifests: Manifests, hosts: Hosts, host: str) -> Object:
    kinds = {"Exact": "Exact", "Prefix": "PathPrefix"}
    rules = [
        {
            "matches": [{"path": {"type": kinds[match], "value": path}}],
            "backendRefs": [{"name": site, "port": 80}],
        }
        for each, match, path, site in hosts.routes()
        if each == host
    ]
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": host.partition(".")[0], "namespace": manifests.namespace},
        "spec": {"parentRefs": [{"name": "sites"}], "hostnames": [host], "rules": rules},
    }
