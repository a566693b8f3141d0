"""Addresses of Services on the nodes' network: who answers for them, and a node that dies while it does."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

from kubeproof.settings import metallb
from kubeproof.verify.act.disruption import cut_off, undone
from kubeproof.verify.observe import objects
from kubeproof.verify.observe.api import Api, NotObserved
from kubeproof.verify.observe.cluster import Cluster, Node
from kubeproof.verify.observe.hosts import Host, NotObservable, on_hosts
from kubeproof.verify.observe.objects import Object

GIVEN_SECONDS = 20.0
"""Until a Service has an address."""
ANNOUNCED_SECONDS = 20.0
"""Until a node answers for it."""
_STATUSES = "/apis/metallb.io/v1beta1/namespaces/metallb-system/servicel2statuses"
_POLL_SECONDS = 0.5
# Which node answers for an address follows from both: of so many addresses one is that of a node that may die.
_TRIES = 12
# A dead host's programs do not run. Its speaker's answers to ARP pass by the rules that cut a host off.
_FREEZE, _THAW = "pkill -STOP -x speaker", "pkill -CONT -x speaker || true"

Found = TypeVar("Found")


def ranges(cluster: Cluster) -> list[metallb.Range]:
    """The addresses that Services are given. Raises NotObservable if there are none."""
    found = metallb.ranges(cluster.settings)
    if not found:
        raise NotObservable("metallb_addresses is empty: kubeproof gives Services of type LoadBalancer no addresses")
    return found


def ranges_heard(cluster: Cluster) -> list[metallb.Range]:
    """The same, with IPv4 addresses among them. Raises NotObservable if there are none."""
    found = ranges(cluster)
    if all(each.first.version == 6 for each in found):
        raise NotObservable("metallb_addresses has no IPv4 addresses, and who answers for others is not heard here")
    return found


def addresses(api: Api, service: Object) -> list[str]:
    """The addresses that a Service gets. Raises NotObserved if it has none in time."""
    manifest = {"apiVersion": "v1", "kind": "Service", "metadata": service["metadata"]}
    what = f"{objects.name(service)} has an address"
    return _given(api.observe_one(manifest, lambda item: bool(_given(item)), what=what, timeout=GIVEN_SECONDS))


def announced_by(cluster: Cluster, service_of: Callable[[int], Object], among: Mapping[str, Node]) -> tuple[str, Node]:
    """A Service's IPv4 address that one of these nodes announces, by name, and that node.

    ``service_of``: makes the Service of a number, from 0, or has it already; one after the other until one is found.
    Raises NotObserved if the first of them gets no address, NotObservable if none is announced by these nodes.
    """
    api, seen = cluster.api, list[str]()
    for number in range(_TRIES):
        service = service_of(number)
        try:
            address = next((each for each in addresses(api, service) if ":" not in each), "")
        except NotObserved:
            # Maybe there are no more.
            if not number:
                raise
            address = ""
        if not address:
            break
        asked = functools.partial(_announcers, api, service)
        nodes = poll(api, ANNOUNCED_SECONDS, asked, lambda found: len(found) == 1)
        seen.append(" and ".join(nodes) or "none")
        if len(nodes) == 1 and nodes[0] in among:
            return address, among[nodes[0]]
    pools = ", ".join(each.text for each in ranges(cluster))
    raise NotObservable(
        f"of {len(seen)} addresses of {pools} none is answered for by a node that may die: {', '.join(seen)}"
    )


def answering(cluster: Cluster, address: str, without: Node | None = None) -> list[str]:
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


@contextmanager
def dead(host: Host) -> Iterator[None]:
    """A node as others see one that has died: cut off, and answering for no address any more."""
    with undone(host, _THAW), cut_off(host):
        host.run(_FREEZE)
        yield


def poll(api: Api, seconds: float, ask: Callable[[], Found], until: Callable[[Found], bool]) -> Found:
    """Ask again and again until it is as it should be, or the time is over; the last answer."""
    deadline = time.monotonic() + api.patient(seconds)
    while True:
        found = ask()
        if until(found) or time.monotonic() > deadline:
            return found
        time.sleep(_POLL_SECONDS)


def _given(item: Object) -> list[str]:
    return [each["ip"] for each in item["status"].get("loadBalancer", {}).get("ingress") or [] if "ip" in each]


def _announcers(api: Api, service: Object) -> list[str]:
    """The nodes that say that they announce a Service's address."""
    found = [item.get("status") or {} for item in api.items(_STATUSES)]
    wanted = (service["metadata"]["namespace"], objects.name(service))
    return [each["node"] for each in found if (each.get("serviceNamespace"), each.get("serviceName")) == wanted]
