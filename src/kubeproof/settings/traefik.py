"""Traefik, which routes requests from outside: what is set, and what of it cannot be meant. No Ansible."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from kubeproof.settings import metallb, quantities

# Its namespace, and its Service there; and the class of Ingresses and Gateways that are its own.
NAMESPACE = SERVICE = CLASS = "traefik"
# By the name of a port of its Service, the scheme by which settings name it.
PORTS = {"web": "http", "websecure": "https"}
# Of its health check, in its pods (roles/traefik/templates/traefik.yaml.j2).
PING_PORT = 9000
# kube-apiserver's default of --service-node-port-range.
_NODE_PORTS = "30000-32767"
# RFC 1123, as the API has it of the names of Secrets.
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")

Settings = Mapping[str, Any]


def on(values: Settings) -> bool:
    """Whether Traefik is installed."""
    return bool(values.get("traefik_enabled"))


def service_type(values: Settings) -> str:
    """The type of its Service."""
    asked = str(values.get("traefik_service_type", "auto"))
    if asked != "auto":
        return asked
    return "LoadBalancer" if metallb.on(values) else "NodePort"


def problems(values: Settings) -> Iterator[tuple[str, str]]:
    """Settings that are wrong, each with what is wrong with it."""
    if int(values.get("traefik_replicas", 1)) < 1:
        yield "traefik_replicas", f"{values['traefik_replicas']} is below 1; traefik_enabled: false removes Traefik"
    yield from _providers(values)
    yield from _ports(values)
    yield from _node_ports(values)
    secret = str(values.get("traefik_default_certificate") or "")
    if secret and not _NAME.fullmatch(secret):
        problem = f"{secret!r} is not the name of a Secret; it is one of the namespace {NAMESPACE}, named without it"
        yield "traefik_default_certificate", problem
    for problem in quantities.resources(values.get("traefik_resources") or {}):
        yield "traefik_resources", problem


def _providers(values: Settings) -> Iterator[tuple[str, str]]:
    given = values.get("traefik_providers")
    if given is not None and not given:
        yield "traefik_providers", "is empty: there is nothing that Traefik could route"
    if on(values) and "gateway" in (given or ()) and values.get("gateway_api_enabled") is False:
        problem = "is false, and Traefik would wait for these kinds: leave it out, or gateway out of traefik_providers"
        yield "gateway_api_enabled", problem


def _ports(values: Settings) -> Iterator[tuple[str, str]]:
    http, https = (int(values.get(f"traefik_{scheme}_port", 0)) for scheme in PORTS.values())
    if https and http == https:
        yield "traefik_https_port", f"{https} is traefik_http_port, too"
    for scheme, port in (("http", http), ("https", https)):
        if port == PING_PORT:
            yield f"traefik_{scheme}_port", f"{port} is the port of the health check in Traefik's pods"


def _node_ports(values: Settings) -> Iterator[tuple[str, str]]:
    name, given = "traefik_node_ports", values.get("traefik_node_ports") or {}
    unknown = sorted(str(key) for key in set(given) - set(PORTS.values()))
    if unknown:
        yield name, f"names {', '.join(unknown)}; known are http and https"
    if given and service_type(values) == "ClusterIP":
        yield name, "a Service of type ClusterIP has no ports on nodes"
    text = str((values.get("apiserver_extra_args") or {}).get("service-node-port-range", _NODE_PORTS))
    first, _, last = text.partition("-")
    ports = []
    for scheme in sorted(set(given) & set(PORTS.values())):
        try:
            ports.append(int(given[scheme]))
        except (TypeError, ValueError):
            yield name, f"{scheme}: {given[scheme]!r} is not a port"
            continue
        if first.isdigit() and last.isdigit() and not int(first) <= ports[-1] <= int(last):
            yield name, f"{scheme}: {ports[-1]} is not of the API servers' range for node ports, {text}"
    if len(set(ports)) < len(ports):
        yield name, f"http and https are both {ports[0]}"
