"""Services of type LoadBalancer: an address on the nodes' network, for which one node at a time answers."""

from __future__ import annotations

import functools
import ipaddress
import time
from typing import Any

import pytest

from kubeproof.settings.urls import in_url
from kubeproof.verify.act import announced
from kubeproof.verify.act.disruption import await_recovery
from kubeproof.verify.act.pods import Blocked, Manifests, Pod
from kubeproof.verify.act.traffic import Traffic
from kubeproof.verify.engine.evidence import Evidence
from kubeproof.verify.observe import objects, outside
from kubeproof.verify.observe.api import Api, NotObserved
from kubeproof.verify.observe.cluster import Cluster
from kubeproof.verify.observe.hosts import NotObservable
from kubeproof.verify.observe.objects import Object

_ANSWERED_SECONDS = 15.0
# A speaker is given up by the others after about five seconds of silence, and then another one announces.
_MOVED_SECONDS = 30.0
# As long as there must be no error any more; and less than it takes until the node is lost to the API.
_CALM_SECONDS = 3.0
_REQUEST_SECONDS = 1.0


@pytest.mark.claim("lb-address")
def test_a_service_gets_an_address_that_answers_on_the_nodes_network(
    cluster: Cluster, api: Api, agents: list[Pod], manifests: Manifests, evidence: Evidence
) -> None:
    ranges = announced.ranges(cluster)
    dual = len({each.first.version for each in ranges}) > 1
    # Of two families, Services have the first one if they do not ask.
    more: dict[str, Any] = (
        {"ipFamilyPolicy": "RequireDualStack"} if dual else {"ipFamilies": [f"IPv{ranges[0].first.version}"]}
    )
    service = api.create(manifests.service("balanced", {"app": "agent"}, type="LoadBalancer", **more))
    given = _addresses(api, service)
    evidence["addresses"] = given
    evidence["of"] = [each.text for each in ranges]
    for address in given:
        own = any(ipaddress.ip_address(address) in each for each in ranges)
        assert own, f"the Service got {address}, which is not of the addresses {', '.join(r.text for r in ranges)}"

    names = {pod.name for pod in agents}
    for address in given:
        if ":" in address:
            continue
        answering = announced.poll(
            api,
            announced.ANNOUNCED_SECONDS,
            functools.partial(announced.answering, cluster, address),
            lambda found: len(found) == 1 or len(cluster.nodes) == 1,
        )
        evidence[f"answer for {address} by ARP"] = answering
        if len(cluster.nodes) > 1:
            assert answering, f"no host answers for {address} on the nodes' network"
            assert len(answering) == 1, f"several hosts answer for {address}: {', '.join(answering)}"
    for address in (each for each in given if outside.has_way_to(each)):
        url = f"http://{in_url(address)}/hostname"
        answered = announced.poll(
            api, _ANSWERED_SECONDS, functools.partial(outside.get, url), lambda body: body in names
        )
        evidence[url] = answered
        assert answered in names, f"{url}, asked from outside the cluster, answers {answered!r}"
    evidence.headline = f"{', '.join(given)} given, answered for by one node, and reached from outside"


@pytest.mark.claim("lb-failover")
def test_the_address_moves_when_its_node_dies(
    cluster: Cluster, api: Api, agents: list[Pod], manifests: Manifests, evidence: Evidence
) -> None:
    announced.ranges_heard(cluster)
    mortal = [node for node in cluster.workers if node.expendable]
    if not mortal or len(cluster.nodes) < 2:
        raise NotObservable("no node can die without taking API servers, etcd, or all other nodes with it")
    # What dies is the way to the application, not the application.
    home = next(pod for pod in agents if pod.node != mortal[-1].name)
    labels = {"agent": str(home.item["metadata"]["labels"]["agent"])}

    def service_of(number: int) -> Object:
        # Those that are not needed any more are deleted with their namespace.
        service = api.create(manifests.service(f"balanced-{number}", labels, type="LoadBalancer"))
        if not number:
            _addresses(api, service)
        return service

    among = {node.name: node for node in mortal if node.name != home.node}
    address, victim = announced.announced_by(cluster, service_of, among)
    evidence["address"], evidence["node"] = address, victim.name
    try:
        with Traffic(address, 80, "hostname", timeout=_REQUEST_SECONDS) as traffic:
            if not traffic.await_answer(api.patient(_ANSWERED_SECONDS)):
                raise Blocked("kube-proxy", f"{address} is not answered: {traffic.summary()}")
            with announced.dead(victim.host):
                cut = time.monotonic()
                moved = traffic.await_answer(api.patient(_MOVED_SECONDS))
                time.sleep(_CALM_SECONDS)
                ended = time.monotonic()
                answering = announced.answering(cluster, address, without=victim)
    finally:
        await_recovery(api, f"{victim.name} is ready after it was cut off")
    requests = [each for each in traffic.requests if each.sent >= cut and each.over <= ended]
    failed = [each for each in requests if each.error]
    window = max((each.over for each in failed), default=cut) - cut
    evidence["requests after its death"] = {"sent": len(requests), "failed": len(failed), **traffic.summary()}
    evidence["window of errors, seconds"] = round(window, 1)
    evidence["answer for it then"] = answering
    assert moved, (
        f"{address} is not answered any more {_MOVED_SECONDS:.0f} s after {victim.name} died, which announced it: "
        f"{failed[-1].error if failed else 'nothing was sent'}"
    )
    assert victim.name not in answering, f"{victim.name} is dead and still answers for {address}"
    if not failed:
        raise NotObservable(f"requests from here do not go by way of {victim.name}, which announced {address}")
    evidence.headline = f"{address} moved from {victim.name} to {', '.join(answering)}; errors for {window:.1f} s"


def _addresses(api: Api, service: Object) -> list[str]:
    """The addresses that a Service gets. That it gets one is what the claim is about."""
    try:
        return announced.addresses(api, service)
    except NotObserved:
        name, seconds = objects.name(service), announced.GIVEN_SECONDS
        raise AssertionError(f"the Service {name} has no address after {seconds:.0f} s") from None
