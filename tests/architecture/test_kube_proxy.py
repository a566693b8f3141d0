"""Kube-proxy: one address for many pods, the same on every node."""

from __future__ import annotations

import math
import re
import time
from collections import Counter

import httpx
import pytest

from kubeproof.settings.urls import in_url
from kubeproof.verify.act.pods import Manifests, Pod
from kubeproof.verify.engine.evidence import Evidence
from kubeproof.verify.observe import objects, outside, proxy_rules
from kubeproof.verify.observe.api import Api
from kubeproof.verify.observe.cluster import CA_FILE, Cluster
from kubeproof.verify.observe.hosts import Host, NotObservable, on_hosts

_RULES_SECONDS = 15.0
_REQUESTS_PER_POD = 60
# How many standard deviations a pod's share may be off: by chance, once in millions of verifications.
_DEVIATIONS = 5.0


@pytest.mark.claim("proxy-every-node")
def test_every_node_reaches_the_api_through_its_service(cluster: Cluster, evidence: Evidence) -> None:
    address = cluster.service_address("default", "kubernetes")
    # That the certificate is the API server's shows who has answered.
    answers = on_hosts(
        (node.host for node in cluster.nodes),
        lambda host: host.http(f"https://{in_url(address)}:443/livez", ca=CA_FILE),
    )
    for node in cluster.nodes:
        answer = answers[node.host.name]
        evidence[node.name] = answer
        assert answer.get("status") == 200, (
            f"from {node.name} the API cannot be reached at its service {address}: {answer}"
        )
        if cluster.settings["kube_proxy_form"] == "none":
            continue
        url = f"http://{in_url(node.address)}:{cluster.settings['kube_proxy_health_port']}/healthz"
        health = _status(url)
        evidence[f"{node.name} health"] = health
        assert health == 200, f"kube-proxy of {node.name} answers {health} at {url}"
    evidence.headline = f"service {address} answers on {len(cluster.nodes)} of {len(cluster.nodes)} nodes"


@pytest.mark.claim("proxy-every-node")
def test_every_node_has_the_rules_of_the_apis_service(cluster: Cluster, evidence: Evidence) -> None:
    if cluster.settings["kube_proxy_form"] == "none":
        # The claim rests on the answers, then: what else serves Services has rules of its own, or programs.
        evidence.headline = "rules: not applicable, kube_proxy_form is none"
        return
    # A connection that was there before its rules went is passed on still.
    address = cluster.service_address("default", "kubernetes")
    listing = proxy_rules.LIST[":" in address]
    answers = on_hosts((node.host for node in cluster.nodes), lambda host: host.run("sh -c %s", listing))
    for node in cluster.nodes:
        found = proxy_rules.of_service(answers[node.host.name], address, 443)
        evidence[node.name] = found
        assert found, f"{node.name} has no rule for service {address}, the API's"
    evidence.headline = f"{len(cluster.nodes)} nodes have rules for {address}"


@pytest.mark.claim("proxy-rules")
def test_a_service_gets_its_rules_on_every_node_and_loses_them(
    cluster: Cluster, api: Api, agents: list[Pod], manifests: Manifests, evidence: Evidence
) -> None:
    _require_kube_proxy(cluster)
    hosts = [node.host for node in cluster.nodes]
    manifest = manifests.service("ruled", {"app": "agent"}, port=8123)
    service = api.create(manifest)
    address, port = service["spec"]["clusterIP"], 8123
    ipv6 = ":" in address
    start = time.monotonic()
    appeared = _await_rules(hosts, proxy_rules.leading(address, port), start, present=True, ipv6=ipv6)
    for name, (seconds, output) in appeared.items():
        assert seconds is not None, (
            f"{name} has no rule for service {address}:{port} that leads to its endpoints: {output[-300:]}"
        )
    targets = {pod.address for pod in agents}
    for name, (_, output) in appeared.items():
        rules = "\n".join(proxy_rules.of_service(output, address, port))
        missing = {target for target in targets if not re.search(rf"\b{re.escape(target)}\b", rules)}
        assert not missing, f"the rules of {name} do not lead to {missing}, which are ready endpoints"

    api.delete(objects.path(manifest))
    start = time.monotonic()
    vanished = _await_rules(hosts, proxy_rules.mentioned(address, port), start, present=False, ipv6=ipv6)
    for name, (seconds, output) in vanished.items():
        assert seconds is not None, f"{name} still has rules for a service that is gone: {output[-300:]}"
    evidence["service"] = f"{address}:{port}"
    evidence["rules"] = [
        {"node": name, "appeared_ms": _milliseconds(appeared[name][0]), "gone_ms": _milliseconds(vanished[name][0])}
        for name in appeared
    ]
    slowest = max(seconds or 0 for seconds, _ in (*appeared.values(), *vanished.values()))
    evidence.headline = f"rules on {len(hosts)} nodes, and gone from them, within {slowest:.1f} s"


@pytest.mark.claim("proxy-balances")
@pytest.mark.usefixtures("settled")
def test_requests_are_spread_evenly(
    cluster: Cluster, agents: list[Pod], manifests: Manifests, evidence: Evidence
) -> None:
    address = cluster.service_address(manifests.namespace, "agents")
    tries = _REQUESTS_PER_POD * len(agents)
    answered = agents[0].dial(address, 80, "hostname", tries=tries)
    shares = Counter(answered.responses)
    evidence["requests"] = tries
    evidence["shares"] = dict(shares)
    assert not answered.errors, f"{len(answered.errors)} of {tries} requests failed: {answered.errors[0]}"
    assert shares.keys() == {pod.name for pod in agents}, f"of {len(agents)} pods only {sorted(shares)} got requests"
    fair = 1 / len(agents)
    slack = _DEVIATIONS * math.sqrt(tries * fair * (1 - fair))
    low, high = tries * fair - slack, tries * fair + slack
    evidence["bounds"] = [round(low, 1), round(high, 1)]
    for name, share in shares.items():
        assert low <= share <= high, (
            f"{name} got {share} of {tries} requests; by chance it would be {low:.0f} to {high:.0f}"
        )
    evidence.headline = f"{tries} requests: {', '.join(str(share) for _, share in sorted(shares.items()))}"


@pytest.mark.claim("proxy-external")
@pytest.mark.usefixtures("settled")
def test_a_node_port_answers_outside_at_every_node(
    cluster: Cluster, api: Api, agents: list[Pod], manifests: Manifests, evidence: Evidence
) -> None:
    service = api.get(f"{objects.core(manifests.namespace, 'services')}/agents-outside")
    port = service["spec"]["ports"][0]["nodePort"]
    names = {pod.name for pod in agents}
    # Whoever looks may be where there is no IPv6.
    families = len([address for address in cluster.nodes[0].addresses if outside.has_way_to(address)])
    for address in (address for node in cluster.nodes for address in node.addresses[:families]):
        url = f"http://{in_url(address)}:{port}/hostname"
        answered = outside.get(url)
        evidence[url] = answered
        assert answered in names, f"{url}, asked from outside the cluster, answers {answered!r}"
    evidence.headline = f"port {port} answered from outside at {len(cluster.nodes)} of {len(cluster.nodes)} nodes"


@pytest.mark.claim("proxy-inside")
@pytest.mark.usefixtures("settled")
def test_a_service_is_reached_from_pods_and_nodes(
    cluster: Cluster, agents: list[Pod], manifests: Manifests, evidence: Evidence
) -> None:
    addresses = cluster.service_addresses(manifests.namespace, "agents")
    names = {pod.name for pod in agents}
    for pod, address in ((pod, address) for pod in agents for address in addresses):
        answered = pod.dial(address, 80, "hostname")
        evidence[f"from pod {pod.name} on {pod.node} at {address}"] = answered.responses or answered.errors
        assert set(answered.responses) <= names, f"another server answers at {address}: {answered.responses}"
        assert answered.responses, (
            f"from pod {pod.name} on {pod.node} service {address} is not reached: {answered.errors}"
        )
    requests = [{"do": "http", "url": f"http://{in_url(address)}/hostname"} for address in addresses]
    answers = on_hosts((node.host for node in cluster.nodes), lambda host: host.probe(*requests))
    for host, told in answers.items():
        for address, answer in zip(addresses, told, strict=True):
            evidence[f"from node {host} at {address}"] = answer
            assert answer.get("body") in names, f"from node {host} service {address} is not reached: {answer}"
    evidence.headline = f"from {len(agents)} pods and {len(answers)} nodes, at {len(addresses)} addresses"


@pytest.mark.claim("proxy-inside")
@pytest.mark.usefixtures("settled")
def test_a_pod_reaches_itself_through_its_service(
    cluster: Cluster, agents: list[Pod], manifests: Manifests, evidence: Evidence
) -> None:
    # The only pod behind this service.
    pod, address = agents[0], cluster.service_address(manifests.namespace, "agent-alone")
    answered = pod.dial(address, 80, "hostname", tries=5)
    evidence["answers"] = answered.responses or answered.errors
    assert set(answered.responses) == {pod.name}, (
        f"pod {pod.name} does not reach itself at {address}: {answered.errors}"
    )
    evidence.headline = "and its own pod (hairpin)"


def _require_kube_proxy(cluster: Cluster) -> None:
    """Raises NotObservable where a pod network serves Services, with means of its own."""
    if cluster.settings["kube_proxy_form"] == "none":
        raise NotObservable("not applicable: kube_proxy_form is none")


def _await_rules(
    hosts: list[Host], pattern: str, start: float, *, present: bool, ipv6: bool
) -> dict[str, tuple[float | None, str]]:
    """Of each host, after how many seconds its rules were as they should be, if they were, and the rules."""

    def poll(host: Host) -> tuple[float | None, str]:
        request = {
            "do": "poll",
            "command": ["sh", "-c", proxy_rules.LIST[ipv6]],
            "pattern": pattern,
            "present": present,
            "timeout": _RULES_SECONDS,
        }
        [answer] = host.probe(request)
        return (round(time.monotonic() - start, 2) if answer["met"] else None), answer["output"]

    return on_hosts(hosts, poll)


def _milliseconds(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * 1000)


def _status(url: str) -> int | str:
    try:
        return httpx.get(url, trust_env=False, timeout=5).status_code
    except httpx.TransportError as error:
        return f"{type(error).__name__}: {error}"
