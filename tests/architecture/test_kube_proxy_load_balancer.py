"""Services of type LoadBalancer: an address on the nodes' network, for which one node at a time answers."""

from __future__ import annotations

import functools
import ipaddress
import time
from collections.abc import Callable
from typing import Any, TypeVar

import pytest

from kubeproof.settings import metallb
from kubeproof.settings.urls import in_url
from kubeproof.verify.act.disruption import await_recovery, cut_off, undone
from kubeproof.verify.act.pods import Blocked, Manifests, Pod
from kubeproof.verify.act.traffic import Traffic
from kubeproof.verify.engine.evidence import Evidence
from kubeproof.verify.observe import objects, outside
from kubeproof.verify.observe.api import Api, NotObserved
from kubeproof.verify.observe.cluster import Cluster, Node
from kubeproof.verify.observe.hosts import NotObservable, on_hosts
from kubeproof.verify.observe.objects import Object

_STATUSES = "/apis/metallb.io/v1beta1/namespaces/metallb-system/servicel2statuses"
_GIVEN_SECONDS = 20.0
_ANNOUNCED_SECONDS = 20.0
_ANSWERED_SECONDS = 15.0
# A speaker is given up by the others after about five seconds of silence, and then another one announces.
_MOVED_SECONDS = 30.0
# As long as there must be no error any more; and less than it takes until the node is lost to the API.
_CALM_SECONDS = 3.0
_REQUEST_SECONDS = 1.0
_POLL_SECONDS = 0.5
# Which node answers for an address follows from both: of so many addresses one is that of a node that may die.
_TRIES = 12
# A dead host's programs do not run. Its speaker's answers to ARP pass by the rules that cut a host off.
_FREEZE, _THAW = "pkill -STOP -x speaker", "pkill -CONT -x speaker || true"

Found = TypeVar("Found")


@pytest.mark.claim("lb-address")
def test_a_service_gets_an_address_that_answers_on_the_nodes_network(
    cluster: Cluster, api: Api, agents: list[Pod], manifests: Manifests, evidence: Evidence
) -> None:
    ranges = _ranges(cluster)
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
        answering = _poll(
            api,
            _ANNOUNCED_SECONDS,
            functools.partial(_answering, cluster, address),
            lambda found: len(found) == 1 or len(cluster.nodes) == 1,
        )
        evidence[f"answer for {address} by ARP"] = answering
        if len(cluster.nodes) > 1:
            assert answering, f"no host answers for {address} on the nodes' network"
            assert len(answering) == 1, f"several hosts answer for {address}: {', '.join(answering)}"
    for address in (each for each in given if outside.has_way_to(each)):
        url = f"http://{in_url(address)}/hostname"
        answered = _poll(api, _ANSWERED_SECONDS, functools.partial(outside.get, url), lambda body: body in names)
        evidence[url] = answered
        assert answered in names, f"{url}, asked from outside the cluster, answers {answered!r}"
    evidence.headline = f"{', '.join(given)} given, answered for by one node, and reached from outside"


@pytest.mark.claim("lb-failover")
def test_the_address_moves_when_its_node_dies(
    cluster: Cluster, api: Api, agents: list[Pod], manifests: Manifests, evidence: Evidence
) -> None:
    ranges = _ranges(cluster)
    if all(each.first.version == 6 for each in ranges):
        raise NotObservable("metallb_addresses has no IPv4 addresses, and who answers for others is not heard here")
    mortal = [node for node in cluster.workers if node.host.groups == frozenset(["workers"])]
    if not mortal or len(cluster.nodes) < 2:
        raise NotObservable("no node can die without taking API servers, etcd, or all other nodes with it")
    # What dies is the way to the application, not the application.
    home = next(pod for pod in agents if pod.node != mortal[-1].name)
    address, victim = _announced_by(cluster, api, manifests, home, mortal, ranges)
    evidence["address"], evidence["node"] = address, victim.name
    try:
        with Traffic(address, 80, "hostname", timeout=_REQUEST_SECONDS) as traffic:
            if not traffic.await_answer(api.patient(_ANSWERED_SECONDS)):
                raise Blocked("kube-proxy", f"{address} is not answered: {traffic.summary()}")
            with undone(victim.host, _THAW), cut_off(victim.host):
                victim.host.run(_FREEZE)
                cut = time.monotonic()
                moved = traffic.await_answer(api.patient(_MOVED_SECONDS))
                time.sleep(_CALM_SECONDS)
                ended = time.monotonic()
                answering = _answering(cluster, address, without=victim)
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


def _announced_by(
    cluster: Cluster, api: Api, manifests: Manifests, home: Pod, mortal: list[Node], ranges: list[metallb.Range]
) -> tuple[str, Node]:
    """A Service's address that a node answers for that may die, and that node."""
    labels = {"agent": str(home.item["metadata"]["labels"]["agent"])}
    hosts = {node.name: node for node in mortal if node.name != home.node}
    seen: list[str] = []
    for number in range(_TRIES):
        service = api.create(manifests.service(f"balanced-{number}", labels, type="LoadBalancer"))
        address = next((each for each in _addresses(api, service, number > 0) if ":" not in each), "")
        if not address:
            break
        asked = functools.partial(_announcers, api, service)
        nodes = _poll(api, _ANNOUNCED_SECONDS, asked, lambda found: len(found) == 1)
        seen.append(" and ".join(nodes) or "none")
        if len(nodes) == 1 and nodes[0] in hosts:
            return address, hosts[nodes[0]]
    # Services that are not needed any more are deleted with their namespace.
    raise NotObservable(
        f"of {len(seen)} addresses of {', '.join(each.text for each in ranges)} none is answered for by a node that "
        f"may die: {', '.join(seen)}"
    )


def _ranges(cluster: Cluster) -> list[metallb.Range]:
    found = metallb.ranges(cluster.settings)
    if not found:
        raise NotObservable("metallb_addresses is empty: kubeproof gives Services of type LoadBalancer no addresses")
    return found


def _addresses(api: Api, service: Object, may_lack: bool = False) -> list[str]:
    """The addresses that a Service gets."""
    named = objects.name(service)
    manifest = {"apiVersion": "v1", "kind": "Service", "metadata": service["metadata"]}

    def given(item: Object) -> list[str]:
        return [each["ip"] for each in item["status"].get("loadBalancer", {}).get("ingress") or [] if "ip" in each]

    try:
        found = api.observe_one(
            manifest, lambda item: bool(given(item)), what=f"{named} has an address", timeout=_GIVEN_SECONDS
        )
    except NotObserved:
        if may_lack:
            return []
        raise AssertionError(f"the Service {named} has no address after {_GIVEN_SECONDS:.0f} s") from None
    return given(found)


def _announcers(api: Api, service: Object) -> list[str]:
    """The nodes that say that they announce a Service's address."""
    found = [item.get("status") or {} for item in api.items(_STATUSES)]
    wanted = (service["metadata"]["namespace"], objects.name(service))
    return [each["node"] for each in found if (each.get("serviceNamespace"), each.get("serviceName")) == wanted]


def _answering(cluster: Cluster, address: str, without: Node | None = None) -> list[str]:
    """Who answers for an IPv4 address on the nodes' segment, as all other nodes hear it."""
    nodes = [node for node in cluster.nodes if node is not without]
    heard = on_hosts((node.host for node in nodes), lambda host: host.probe({"do": "arp", "address": address})[0])
    owners = {
        hardware: name
        for name, told in on_hosts(
            (node.host for node in nodes), lambda host: host.run("cat /sys/class/net/*/address")
        ).items()
        for hardware in told.split()
        if hardware.strip("0:")
    }
    answers = {each for told in heard.values() for each in told.get("hardware", [])}
    return sorted({owners.get(each, f"the host with {each}") for each in answers})


def _poll(api: Api, seconds: float, ask: Callable[[], Found], until: Callable[[Found], bool]) -> Found:
    """Ask again and again until it is as it should be, or the time is over; the last answer."""
    deadline = time.monotonic() + api.patient(seconds)
    while True:
        found = ask()
        if until(found) or time.monotonic() > deadline:
            return found
        time.sleep(_POLL_SECONDS)
