"""Resolvers of the verification's own, with known answers, in the place of those that the cluster's DNS asks."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from kubeproof.settings.urls import in_url
from kubeproof.verify.act.disruption import undone
from kubeproof.verify.observe import corefile, runtime
from kubeproof.verify.observe.api import ApiError
from kubeproof.verify.observe.cluster import Cluster
from kubeproof.verify.observe.hosts import IN_PATH, Host, NotObservable, packed
from kubeproof.verify.observe.objects import Object, holds, name

ZONE = "outside.kubeproof.test"
"""It is no one's: names that end in ``.test`` are for tests (RFC 6761)."""
# For documentation (RFC 5737), so that no real server has it.
ANSWER = "192.0.2.53"
_SYSTEM = "/api/v1/namespaces/kube-system"
_PROGRAM = Path(__file__).parent / "dns_responder.py"
_START_SECONDS = 20
_ADVICE = (
    f"to have the claim observed, let the cluster's DNS ask a free port of a host about the zone of its test: "
    f"dns_stub_domains: {{{ZONE}: [ADDRESS:PORT]}}"
)


@dataclass(frozen=True)
class Server:
    """A server that the cluster's DNS asks, and the host of the cluster whose address that is."""

    host: Host
    address: str
    port: int

    def __str__(self) -> str:
        return f"{in_url(self.address)}:{self.port}"


@dataclass(frozen=True)
class Resolvers:
    """Those that answer now, about names in ``zone``, which is this verification's alone."""

    zone: str
    servers: Mapping[Server, str]

    def questions(self) -> list[tuple[str, str]]:
        """All that they were asked: protocol and name."""
        lines = [
            line
            for server, unit in self.servers.items()
            for line in server.host.run("cat %s", f"/run/{unit}/questions").splitlines()
        ]
        return [(protocol, asked) for protocol, _, asked in (line.partition(" ") for line in lines)]


def pods(cluster: Cluster) -> list[Object]:
    """The pods of the cluster's DNS that are ready."""
    found = cluster.api.items(f"{_SYSTEM}/pods", labelSelector="k8s-app=kube-dns")
    ready = [pod for pod in found if holds(pod, "Ready") and "deletionTimestamp" not in pod["metadata"]]
    if not ready:
        raise NotObservable("no pod of the cluster's DNS is ready")
    return ready


def asked(cluster: Cluster) -> list[str]:
    """The servers that CoreDNS asks about names in ``ZONE``, all pods together; none if it asks none."""
    try:
        text = str(cluster.api.get(f"{_SYSTEM}/configmaps/coredns")["data"]["Corefile"])
    except (ApiError, KeyError):
        raise NotObservable("the cluster's DNS is no CoreDNS with its configuration in kube-system/coredns") from None
    found: dict[str, None] = {}
    for each in corefile.forwarders(text, ZONE):
        servers = [server for pod in pods(cluster) for server in _in_file(cluster, pod, each)]
        found |= dict.fromkeys(servers if each.startswith("/") else [each])
    return list(found)


def _in_file(cluster: Cluster, pod: Object, path: str) -> tuple[str, ...]:
    """The servers in a file of a pod, as the kubelet has made it."""
    if not path.startswith("/"):
        return ()
    host = cluster.node(pod["spec"]["nodeName"]).host
    pid = runtime.process(host, pod["metadata"]["uid"], "coredns")
    return corefile.nameservers(host.run("cat %s", f"/proc/{pid}/root{path}"))


def _places(cluster: Cluster, servers: Sequence[str]) -> list[Server]:
    """Where the servers have to be. Raises NotObservable if one is not on a host of the cluster."""
    hosts = {host.address: host for host in cluster.hosts.all} | {node.address: node.host for node in cluster.nodes}
    found = []
    for each in servers:
        try:
            address, port = corefile.endpoint(each)
        except ValueError:
            address, port = each, 0
        if address not in hosts:
            raise NotObservable(f"the cluster's DNS asks {each}, whose answers are not known here; {_ADVICE}")
        found.append(Server(hosts[address], address, port))
    return found


@contextmanager
def answering(cluster: Cluster, servers: Sequence[str]) -> Iterator[Resolvers]:
    """Resolvers at these addresses, for the time of the block. Raises NotObservable where that cannot be."""
    zone = f"{secrets.token_hex(4)}.{ZONE}"
    with ExitStack() as undo:
        units = {place: undo.enter_context(_started(place, zone)) for place in _places(cluster, servers)}
        yield Resolvers(zone, units)


@contextmanager
def _started(server: Server, zone: str) -> Iterator[str]:
    host, program = server.host, packed(_PROGRAM)
    status, _, error = host.attempt("python3 -c %s %s %s", program, server.address, str(server.port))
    if status != 0:
        why = error.strip().splitlines()[-1:] or ["no reason given"]
        raise NotObservable(f"{server} on {host.name} is not free for a resolver of the test ({why[0]}); {_ADVICE}")
    unit = f"kubeproof-verify-resolver-{secrets.token_hex(4)}"
    properties = f"-p Type=notify -p TimeoutStartSec={_START_SECONDS} -p RuntimeDirectory={unit}"
    with undone(host, f"systemctl stop {unit} 2>/dev/null || true"):
        host.run(
            f"systemd-run --quiet --collect --unit={unit} {properties} {IN_PATH} python3 -c %s %s %s %s %s",
            program,
            server.address,
            str(server.port),
            zone,
            ANSWER,
        )
        yield unit


def names(found: Sequence[Object]) -> list[str]:
    """The pods' names, for the report."""
    return [f"{name(pod)} on {pod['spec']['nodeName']}" for pod in found]
