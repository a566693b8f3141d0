"""The pod network: an address for each pod, the same wherever it is seen from."""

from __future__ import annotations

import ipaddress
import itertools
import json
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from kubeproof.settings.urls import in_url
from kubeproof.verify.act import disruption
from kubeproof.verify.act.pods import HTTP_PORT, UDP_PORT, Manifests, Pod, is_ready
from kubeproof.verify.engine.evidence import Evidence
from kubeproof.verify.engine.preparations import prepared
from kubeproof.verify.observe import policies, runtime
from kubeproof.verify.observe.api import Api
from kubeproof.verify.observe.cluster import Cluster, Node
from kubeproof.verify.observe.hosts import Host, NotObservable, on_hosts
from kubeproof.verify.observe.objects import Object, core

# Many packets at any MTU, so that one that is too large for the way is found out.
_LARGE = 20_000
# Of how many other nodes' pods each node asks one, so that it does not take longer in a large cluster.
_ASKED = 3
_ANSWER_SECONDS = 5.0
_SECOND_PORT = 8090
CNI_CONFIG = "/etc/cni/net.d/10-kubeproof.conflist"
UNIT = "kube-pod-network"
# What the node's own program promises is a few seconds; kube-proxy and the policy engine have to restart.
_HEALED_SECONDS = 15.0
# What a node has that could be taken from it, a line each; of kube-proxy's the first rule, whose place has no number.
_OWN = """
ip -o route show | grep -E ' proto 86 | dev flannel'
nft list table ip kubeproof
nft list chain ip kube-proxy nat-prerouting 2>/dev/null
nft --stateless list chain ip nat PREROUTING 2>/dev/null | grep KUBE-SERVICES
iptables -S FORWARD 2>/dev/null | grep KUBE-ROUTER-FORWARD
iptables -S KUBE-ROUTER-FORWARD 2>/dev/null | grep KUBE-NWPLCY-TAIL
true"""
_TAKE_AWAY = """
ip route flush proto 86
for device in $(cd /sys/class/net; ls -d flannel.* 2>/dev/null); do ip route flush dev "$device"; done
nft delete table ip kubeproof
nft delete table ip kube-proxy 2>/dev/null ||
  eval "iptables -t nat $(iptables -t nat -S PREROUTING | grep -- '-j KUBE-SERVICES' | sed s/^-A/-D/)"
iptables -S FORWARD | grep -q KUBE-ROUTER-FORWARD && iptables -F KUBE-ROUTER-FORWARD
true
"""
# The same of IPv6.
_OWN_IPV6 = """
ip -6 -o route show | grep -E ' proto 86 | dev flannel-v6' | grep -v ' proto kernel '
nft list table ip6 kubeproof
nft list chain ip6 kube-proxy nat-prerouting 2>/dev/null
nft --stateless list chain ip6 nat PREROUTING 2>/dev/null | grep KUBE-SERVICES
ip6tables -S FORWARD 2>/dev/null | grep KUBE-ROUTER-FORWARD
ip6tables -S KUBE-ROUTER-FORWARD 2>/dev/null | grep KUBE-NWPLCY-TAIL
true"""
_TAKE_AWAY_IPV6 = """
ip -6 route flush proto 86
for device in $(cd /sys/class/net; ls -d flannel-v6.* 2>/dev/null); do ip -6 route flush dev "$device" proto boot; done
nft delete table ip6 kubeproof
nft delete table ip6 kube-proxy 2>/dev/null ||
  eval "ip6tables -t nat $(ip6tables -t nat -S PREROUTING | grep -- '-j KUBE-SERVICES' | sed s/^-A/-D/)"
ip6tables -S FORWARD | grep -q KUBE-ROUTER-FORWARD && ip6tables -F KUBE-ROUTER-FORWARD
true
"""


def _is_settled(item: Object) -> bool:
    """Two of the three serve, and the one that came too late for its port is over."""
    found = item["status"].get("containerStatuses", [])
    return sum(status["ready"] for status in found) == 2 and any("terminated" in status["state"] for status in found)


@prepared(until=_is_settled)
def shared(manifests: Manifests) -> Object:
    """A pod with a server on a port of its own, and two that want the same one."""

    def server(name: str, port: int) -> Object:
        probe = {"tcpSocket": {"port": port}, "periodSeconds": 1}
        return manifests.server(name, port, readinessProbe=probe, terminationMessagePolicy="FallbackToLogsOnError")

    containers = [server("first", HTTP_PORT), server("rival", HTTP_PORT), server("second", _SECOND_PORT)]
    return manifests.pod("shared", containers, restartPolicy="Never", **manifests.on_node(manifests.nodes[-1]))


@prepared()
def neighbour(manifests: Manifests) -> Object:
    """A pod beside an agent: what two pods of a node send each other goes another way than what leaves the node."""
    probe = {"httpGet": {"path": "/readyz", "port": HTTP_PORT}, "periodSeconds": 1}
    containers = [manifests.server("server", readinessProbe=probe)]
    return manifests.pod("neighbour", containers, **manifests.on_node(manifests.nodes[0]))


@pytest.mark.claim("pod-own-ip")
def test_pods_have_addresses_of_their_own_from_their_nodes_network(
    cluster: Cluster, agents: list[Pod], neighbour: Pod, evidence: Evidence
) -> None:
    pods = [*agents, neighbour]
    addresses = {pod.name: pod.addresses for pod in pods}
    evidence["addresses"] = addresses
    everybodys = [address for own in addresses.values() for address in own]
    assert len(set(everybodys)) == len(everybodys), f"pods share addresses: {addresses}"
    # Calico, and a network that others have installed, may have networks of their own for nodes.
    for pod in pods if cluster.settings["pod_network_plugin"] not in ("calico", "none") else ():
        node = cluster.node(pod.node)
        for address in pod.addresses:
            inside = any(ipaddress.ip_address(address) in network for network in node.networks)
            assert inside, f"{pod.name} has {address}, which is not of the network of {node.name}: {node.networks}"
    evidence.headline = f"{len(pods)} pods with addresses of their nodes' networks"


@pytest.mark.claim("pod-own-ip")
@pytest.mark.parametrize("protocol", ["http", "udp"])
def test_every_pod_reaches_every_pod_under_its_own_address(
    agents: list[Pod], neighbour: Pod, evidence: Evidence, protocol: str
) -> None:
    port = UDP_PORT if protocol == "udp" else HTTP_PORT
    pairs = list(itertools.permutations([*agents, neighbour], 2))
    beside = sum(client.node == server.node for client, server in pairs)
    assert beside, "no two of the pods are on the same node"
    for client, server, address in [(one, other, each) for one, other in pairs for each in other.addresses]:
        answered = client.dial(address, port, "clientip", protocol=protocol)
        way = f"{client.name} on {client.node} to {server.name} on {server.node} at {address}"
        evidence[way] = answered.responses or answered.errors
        assert answered.responses, f"from {way} nothing passes: {answered.errors}"
        seen, own = answered.responses[0].rpartition(":")[0].strip("[]"), client.address_like(address)
        assert seen == own, f"from {way}: the server sees {seen}, the client is {own}"
    apart = len(pairs) - beside
    evidence.headline = f"{protocol}: all see each other's own address, {apart} times between nodes, {beside} on one"


@pytest.mark.claim("pod-own-ip")
def test_large_messages_pass_between_nodes(agents: list[Pod], neighbour: Pod, evidence: Evidence) -> None:
    message, pods = "x" * _LARGE, [*agents, neighbour]
    # The last way is that between the two on one node.
    pairs = list(zip(pods, [*pods[1:], pods[0]], strict=True))
    for client, server, address in [(one, other, each) for one, other in pairs for each in other.addresses]:
        answered = client.dial(address, HTTP_PORT, f"echo?msg={message}")
        way = f"{client.name} on {client.node} to {server.name} on {server.node} at {address}"
        evidence[way] = len(answered.responses[0]) if answered.responses else answered.errors
        assert answered.responses == (message,), (
            f"from {way} {_LARGE} bytes do not pass: {answered.errors or 'cut short'}"
        )
    evidence.headline = f"{_LARGE} bytes there and back"


@pytest.mark.claim("pod-own-ip")
def test_every_node_reaches_every_pod_under_its_own_address(
    cluster: Cluster, agents: list[Pod], evidence: Evidence
) -> None:
    asked = [(pod, address) for pod in agents for address in pod.addresses]
    requests = [{"do": "http", "url": f"http://{in_url(address)}:{HTTP_PORT}/clientip"} for _, address in asked]
    answers = on_hosts((node.host for node in cluster.nodes), lambda host: host.probe(*requests))
    for host, told in answers.items():
        for (pod, address), answer in zip(asked, told, strict=True):
            evidence[f"{host} to {pod.name} at {address}"] = answer
            assert answer.get("status") == 200, f"from node {host}, {pod.name} on {pod.node} is not reached: {answer}"
            seen = answer["body"].rpartition(":")[0].strip("[]")
            assert seen == answer["from"], f"{pod.name} sees {seen}, node {host} has sent from {answer['from']}"
    evidence.headline = f"{len(answers)} nodes reach all pods"


@pytest.mark.claim("pod-routes")
def test_every_node_has_a_route_to_every_other_nodes_pods(cluster: Cluster, evidence: Evidence) -> None:
    network = cluster.settings["pod_network_plugin"]
    if network == "none":
        raise NotObservable("the pod network was not installed by kubeproof, and may know other ways than routes")
    if network in ("calico", "cilium"):
        raise NotObservable(f"{network} routes blocks of addresses, or by programs in eBPF, and not nodes' networks")
    answers = on_hosts((node.host for node in cluster.nodes), lambda host: _ways(cluster, host))
    for node in cluster.nodes:
        ways = answers[node.host.name]
        evidence[node.name] = {str(network): f"{way.matched} via {way.gateway}" for network, way in ways.items()}
        for other in cluster.nodes:
            for network in () if other is node else other.networks:
                way = ways[network]
                assert way.leads_to(network), (
                    f"{node.name} has no route to the pods of {other.name}, {network}: {way.matched or 'none at all'}"
                )
                # Of networks that make a tunnel of it the next hop is no node.
                wrong = next((each.name for each in cluster.nodes if way.gateway in each.addresses), other.name)
                assert wrong == other.name, f"{node.name} sends what is for pods of {other.name}, {network}, to {wrong}"
    evidence.headline = f"{len(cluster.nodes)} nodes have a route to each other's pods"


@pytest.mark.claim("pod-routes")
def test_every_node_translates_what_its_pods_send_outside(cluster: Cluster, evidence: Evidence) -> None:
    answers = on_hosts((node.host for node in cluster.nodes), _translated)
    for node in cluster.nodes:
        networks = answers[node.host.name]
        evidence[node.name] = sorted(map(str, networks))
        for network in node.networks:
            covered = any(network.version == each.version and network.subnet_of(each) for each in networks)  # type: ignore[arg-type]
            if not covered and node.host.attempt("test -e %s", CNI_CONFIG)[0] != 0:
                raise NotObservable(f"{node.name} has another pod network than kubeproof's, and ways of its own")
            assert covered, f"{node.name} has no rule that translates what its pods, {network}, send outside"
    evidence.headline = f"{len(cluster.nodes)} nodes give their address to what pods send outside"


@pytest.mark.claim("pod-crosses-nodes")
def test_pods_that_run_are_reached_from_other_nodes_and_their_pods(
    cluster: Cluster, api: Api, evidence: Evidence
) -> None:
    there = policies.found(api)
    if there.everywhere:
        raise NotObservable(f"policies of all namespaces may keep pods apart: {', '.join(there.everywhere)}")
    pods = [pod for pod in api.items("/api/v1/pods") if _has_own_network(pod) and is_ready(pod)]
    open_to_all = [pod for pod in pods if not there.rule(pod, "Ingress")]
    servers = [server for node in cluster.nodes for server in [_Server.on(node.name, open_to_all)] if server]
    asked = {node.host.name: _others(servers, at, node) for at, node in enumerate(cluster.nodes)}
    if not any(asked.values()):
        raise NotObservable("no pod with an HTTP readiness probe is ready on another node than the one that asks")
    free = [pod for pod in pods if not there.rule(pod, "Egress")]
    clients = {node.host.name: _oldest(node, free) for node in cluster.nodes}

    def ask(host: Host) -> dict[str, list[dict[str, Any]]]:
        timeout = api.patient(_ANSWER_SECONDS)
        requests = [{"do": "http", "url": server.url, "timeout": timeout} for server in asked[host.name]]
        told, client = {f"node {host.name}": host.probe(*requests)}, clients[host.name]
        containers = runtime.containers(host, client["metadata"]["uid"]) if client else []
        pid = next((each.pid for each in containers if each.sandbox and each.pid), None)
        if client and pid:
            told[f"pod {client['metadata']['name']} on {host.name}"] = host.probe(*requests, inside=pid)
        return told

    ways = 0
    for name, told in on_hosts((node.host for node in cluster.nodes if asked[node.host.name]), ask).items():
        for client, answers in told.items():
            for server, answer in zip(asked[name], answers, strict=True):
                evidence[f"{client} to {server.name} on {server.node}"] = answer.get("status") or answer.get("error")
                reached = "status" in answer or not server.still_there(api)
                assert reached, f"{client} does not reach {server.name} on {server.node}: {answer.get('error')}"
                ways += 1
    evidence.headline = f"{ways} ways between nodes and pods of other nodes pass"


@pytest.mark.claim("pod-network-heals")
def test_routes_and_rules_that_are_taken_away_come_back(cluster: Cluster, evidence: Evidence) -> None:
    node = cluster.workers[-1]
    if node.host.attempt("test -e %s", f"/etc/systemd/system/{UNIT}.service")[0] != 0:
        raise NotObservable(f"{node.name} has no unit {UNIT}: its pod network is not one of kubeproof's")
    versions = {network.version for network in node.networks}
    own = "".join(script for version, script in ((6, _OWN_IPV6), (4, _OWN)) if version in versions)
    take_away = "".join(script for version, script in ((6, _TAKE_AWAY_IPV6), (4, _TAKE_AWAY)) if version in versions)
    before = node.host.run(own)
    assert re.search(r"table ip6? kubeproof", before), f"{node.name} has no rules that could be taken away: {before!r}"
    # If nothing heals: what is started again has not seen flannel's routes, which only flannel's start brings back.
    undo = f"systemctl restart {UNIT}; systemctl try-restart kube-flannel 2>/dev/null || true"
    with disruption.undone(node.host, undo):
        start = time.monotonic()
        node.host.run(take_away)
        request = {"do": "poll", "command": ["sh", "-c", own], "pattern": re.escape(before), "present": True}
        [answer] = node.host.probe({**request, "timeout": _HEALED_SECONDS})
        took = time.monotonic() - start
    evidence["before"] = before.splitlines()
    evidence["after"] = answer["output"].splitlines()
    evidence["seconds"] = round(took, 1)
    missing = sorted(set(before.splitlines()) - set(answer["output"].splitlines()))
    assert answer["met"], (
        f"{_HEALED_SECONDS:.0f} s after they were taken away {node.name} does not have again: {missing}"
    )
    evidence.headline = f"{node.name} had its routes and rules again after {took:.1f} s"


@dataclass(frozen=True)
class _Server:
    """A pod that answers HTTP requests: where its readiness probe sends them."""

    name: str
    node: str
    url: str
    path: str

    @classmethod
    def on(cls, node: str, pods: Sequence[Object]) -> _Server | None:
        """One of a node's, if it has any."""
        for pod in pods:
            for container in pod["spec"]["containers"] if pod["spec"]["nodeName"] == node else ():
                probe = container.get("readinessProbe", {}).get("httpGet")
                if not probe or probe.get("scheme", "HTTP") != "HTTP" or probe.get("host"):
                    continue
                numbers = {port["name"]: port["containerPort"] for port in container.get("ports", ()) if "name" in port}
                port, address = numbers.get(probe["port"], probe["port"]), ipaddress.ip_address(pod["status"]["podIP"])
                host, metadata = f"[{address}]" if address.version == 6 else str(address), pod["metadata"]
                url = f"http://{host}:{port}{probe.get('path', '/')}"
                return cls(metadata["name"], node, url, f"{core(metadata['namespace'], 'pods')}/{metadata['name']}")
        return None

    def still_there(self, api: Api) -> bool:
        """Whether the pod is still ready: others' pods come and go while they are asked."""
        response = api.request("GET", self.path)
        return response.status != 404 and is_ready(response.required())


def _has_own_network(pod: Object) -> bool:
    """Whether a pod that stays has an address of its own."""
    placed = bool(pod["status"].get("podIP")) and bool(pod["spec"].get("nodeName"))
    return placed and not pod["spec"].get("hostNetwork") and "deletionTimestamp" not in pod["metadata"]


def _oldest(node: Node, pods: Sequence[Object]) -> Object | None:
    """The pod of a node that is least likely to go while it is used."""
    own = [pod for pod in pods if pod["spec"]["nodeName"] == node.name]
    return min(own, key=lambda pod: str(pod["metadata"]["creationTimestamp"]), default=None)


def _others(servers: Sequence[_Server], at: int, node: Node) -> list[_Server]:
    """Those that a node asks: of a few other nodes, which are not the same for all."""
    others = [server for server in servers if server.node != node.name]
    return [others[(at + step) % len(others)] for step in range(min(_ASKED, len(others)))]


@dataclass(frozen=True)
class _Way:
    """The route by which a node would send a packet: the network that it is for, as the kernel has it, and next hop."""

    matched: str = ""
    gateway: str = ""

    def leads_to(self, network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> bool:
        """Whether it is there for this network, and not for whatever there is no other route to."""
        if self.matched in {"", "default"}:
            return False
        matched = ipaddress.ip_network(self.matched)
        return matched.version == network.version and matched.prefixlen > 0 and network.subnet_of(matched)  # type: ignore[arg-type]


def _ways(cluster: Cluster, host: Host) -> dict[ipaddress.IPv4Network | ipaddress.IPv6Network, _Way]:
    """How a host would send packets to each node's pods: the kernel's own decision."""
    networks = [network for node in cluster.nodes for network in node.networks]
    asked = "; ".join(f"ip -json route get fibmatch {network[1]} 2>/dev/null || echo '[{{}}]'" for network in networks)
    answers = [json.loads(line) for line in host.run(asked).splitlines() if line.strip()]
    found = [answer[0] if answer else {} for answer in answers]
    return {
        network: _Way(str(way.get("dst", "")), str(way.get("gateway", "")))
        for network, way in zip(networks, found, strict=True)
    }


def _translated(host: Host) -> set[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    """The networks whose senders a host gives its own address."""
    listed = host.run("{ nft list ruleset; iptables-legacy-save -t nat; } 2>/dev/null | grep -i masquerade || true")
    rows = re.findall(r"(?:saddr|-s) ([0-9a-f.:]+/[0-9]+)", listed)
    return {ipaddress.ip_network(row) for row in rows}


@pytest.mark.claim("pod-shared-net")
def test_containers_of_a_pod_share_address_and_ports(shared: Pod, evidence: Evidence) -> None:
    # Ports 8080 and 8090 of one address, and one server asks the other at localhost.
    told = {port: shared.http("serverport", port=port) for port in (HTTP_PORT, _SECOND_PORT)}
    assert told == {port: str(port) for port in told}, f"the two servers are not at one address: {told}"
    neighbour = shared.dial("127.0.0.1", HTTP_PORT, "serverport", through=_SECOND_PORT)
    evidence["servers"] = told
    evidence["first, asked by the second at localhost"] = neighbour.responses or neighbour.errors
    assert neighbour.responses == (str(HTTP_PORT),), f"a container does not reach its neighbour: {neighbour.errors}"

    [ended] = [
        status["state"]["terminated"]
        for status in shared.item["status"]["containerStatuses"]
        if "terminated" in status["state"]
    ]
    evidence["third, which wants the same port as the first"] = ended
    assert ended["exitCode"] != 0, "a container got a port that another one of its pod has"
    assert "address already in use" in ended["message"], f"the third container ended for another reason: {ended}"
    evidence.headline = f"two servers at {shared.address}, neighbours at localhost; a port that is taken is refused"
