"""Control planes of several hosts: the leaders, the servers, and requests while one host is down."""

from __future__ import annotations

import dataclasses
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx

from kubeproof.core import waiting
from kubeproof.settings.urls import in_url
from kubeproof.verify.act import disruption
from kubeproof.verify.observe.api import Api, ApiError, NotObserved
from kubeproof.verify.observe.cluster import CA_FILE, Cluster
from kubeproof.verify.observe.hosts import Host, NotObservable, on_hosts
from kubeproof.verify.observe.objects import Object

# Client-go's identity of a candidate: the host's name, and a UUID of the process.
_IDENTITY = re.compile(r"(?P<host>.+)_[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_POLL_SECONDS = 0.2
# Beyond the lease and its period of renewal: starting to act, on a busy machine.
_SLACK_SECONDS = 15.0
# More than a node's components keep open to a server that was never away: one that comes back is given new ones first.
_CONNECTIONS_PER_SERVER = 16


@dataclass(frozen=True)
class Takeover:
    """A lease that passed from one host to another after its holder was killed."""

    before: str
    after: str
    seconds: float
    lease_seconds: int


def several_control_plane_hosts(cluster: Cluster) -> tuple[Host, ...]:
    """The control plane's hosts. Raises NotObservable if there is only one, or one cannot be reached."""
    cluster.hosts.require("control_plane")
    if len(cluster.control_plane) < 2:
        raise NotObservable("it takes a second control-plane host")
    return cluster.control_plane


@contextmanager
def api_without(cluster: Cluster, host: Host) -> Iterator[Api]:
    """The API as another server than this host's serves it."""
    server = next(
        f"https://{in_url(address)}:{port}" for address, port in cluster.api_servers if address != host.address
    )
    with Api(dataclasses.replace(cluster.api.access, server=server)) as api:
        yield api


def address_holders(cluster: Cluster, address: str) -> list[Host]:
    """The control-plane hosts that have an address on an interface."""
    found = on_hosts(cluster.control_plane, lambda host: host.run("ip -oneline -4 address show to %s", address).strip())
    return [host for host in cluster.control_plane if found[host.name]]


def await_answer(cluster: Cluster, server: str, seconds: float) -> float:
    """Wait until an API server that is ready answers at a URL; how long that took.

    Raises AssertionError, with what was seen instead, if none does in time.
    """
    start = time.monotonic()
    with Api(dataclasses.replace(cluster.api.access, server=server)) as api:
        while True:
            try:
                if api.request("GET", "/readyz").ok:
                    return time.monotonic() - start
                said = "is not ready"
            except httpx.HTTPError as error:
                said = f"does not answer ({type(error).__name__})"
            if time.monotonic() > start + seconds:
                raise AssertionError(f"{server} {said} within {seconds:.0f} s")
            time.sleep(_POLL_SECONDS)


def lease(api: Api, component: str) -> Object:
    """A component's lease."""
    found: Object = api.get(f"/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/{component}")
    return found


def holder(cluster: Cluster, found: Object) -> Host | None:
    """The control-plane host whose process holds a lease; None if it is none of them."""
    name = holder_name(found)
    own = on_hosts(cluster.control_plane, lambda host: host.run("uname -n").strip())
    # A candidate calls itself what its host calls itself, whatever the inventory calls it.
    called = [host for host in cluster.control_plane if own[host.name] == name]
    if len(called) > 1:
        raise NotObservable(f"{', '.join(host.name for host in called)} all call themselves {name}, as leases do")
    return called[0] if called else None


def holder_name(found: Object) -> str:
    """What the host calls itself whose process holds a lease; empty if nobody does."""
    identity = found["spec"].get("holderIdentity") or ""
    parsed = _IDENTITY.fullmatch(identity)
    return parsed["host"] if parsed else identity


@contextmanager
def leader_killed(cluster: Cluster, component: str) -> Iterator[Takeover]:
    """Kill a component where it leads, keep it down, and wait until another host has the lease."""
    before = lease(cluster.api, component)
    several_control_plane_hosts(cluster)
    leader = holder(cluster, before)
    if not leader:
        named = holder_name(before) or "nobody"
        raise NotObserved(f"{component}'s lease is held by {named}, which is no control-plane host")
    seconds = int(before["spec"]["leaseDurationSeconds"])
    with disruption.killed(leader, component):
        start = time.monotonic()
        successor = _await_successor(cluster, component, leader, seconds + _SLACK_SECONDS)
        yield Takeover(leader.name, successor.name, round(time.monotonic() - start, 1), seconds)


def _await_successor(cluster: Cluster, component: str, leader: Host, patience: float) -> Host:
    def other() -> Host | None:
        found = holder(cluster, lease(cluster.api, component))
        return None if found is leader else found

    successor = waiting.until(other, patience, pause=_POLL_SECONDS)
    if not successor:
        raise NotObserved(f"{patience:.0f} s after the {component} of {leader} was killed nobody has taken its lease")
    return successor


def servers_reached(
    cluster: Cluster, hosts: tuple[Host, ...], *, without: Host | None = None
) -> dict[str, dict[str, int]]:
    """How many of a number of connections at a time, made through each host's load balancer, go to which API server.

    ``without`` is left out, because that host is down.
    """
    cluster.hosts.require("control_plane")
    servers = [host for host in cluster.control_plane if host is not without]
    digests = {host.name: _digest_of(hosts[0], cluster, host) for host in servers}
    # A server that is stopped shows none.
    certificates = {digest: name for name, digest in digests.items() if digest}
    count = _CONNECTIONS_PER_SERVER * len(cluster.control_plane)
    url = f"https://127.0.0.1:{cluster.settings['cluster_balancer_port']}/version"

    def ask(host: Host) -> dict[str, int]:
        answers = host.probe({"do": "spread", "url": url, "count": count, "ca": CA_FILE})[0]["answers"]
        found: dict[str, int] = {}
        for answer in answers:
            server = certificates.get(answer.get("certificate", ""), answer.get("error", "a stranger"))
            found[server] = found.get(server, 0) + 1
        return found

    return on_hosts(hosts, ask)


def _digest_of(asker: Host, cluster: Cluster, host: Host) -> str:
    port = next(port for address, port in cluster.api_servers if address == host.address)
    url = f"https://{in_url(host.address)}:{port}/version"
    answer = asker.probe({"do": "spread", "url": url, "count": 1, "ca": CA_FILE})[0]["answers"][0]
    return str(answer.get("certificate", ""))


def await_ready(cluster: Cluster, host: Host, patience: float) -> str:
    """Wait until a host's API server is ready; what it says if it is not."""
    port = next(port for address, port in cluster.api_servers if address == host.address)
    deadline = time.monotonic() + patience
    with Api(dataclasses.replace(cluster.api.access, server=f"https://{in_url(host.address)}:{port}")) as api:
        while True:
            try:
                answer = api.request("GET", "/readyz")
                problem = "" if answer.ok else f"{answer.status} {answer.message}"
            except (httpx.HTTPError, ApiError) as error:
                problem = f"{type(error).__name__}: {error}"
            if not problem or time.monotonic() > deadline:
                return problem
            time.sleep(_POLL_SECONDS)
