"""The pod network: an address for each pod, the same wherever it is seen from."""

from __future__ import annotations

import ipaddress

import pytest

from kubeproof.verify.cluster import Cluster
from kubeproof.verify.evidence import Evidence
from kubeproof.verify.hosts import each
from kubeproof.verify.objects import Object
from kubeproof.verify.pods import HTTP_PORT, UDP_PORT, Pod, Setting
from kubeproof.verify.workloads import prepared

# Many packets at any MTU, so that one that is too large for the way is found out.
_LARGE = 20_000
_SECOND_PORT = 8090


def _is_settled(item: Object) -> bool:
    """Two of the three serve, and the one that came too late for its port is over."""
    found = item["status"].get("containerStatuses", [])
    return sum(status["ready"] for status in found) == 2 and any("terminated" in status["state"] for status in found)


@prepared(until=_is_settled)
def shared(setting: Setting) -> Object:
    """A pod with a server on a port of its own, and two that want the same one."""

    def server(name: str, port: int) -> Object:
        probe = {"tcpSocket": {"port": port}, "periodSeconds": 1}
        return setting.server(name, port, readinessProbe=probe, terminationMessagePolicy="FallbackToLogsOnError")

    containers = [server("first", HTTP_PORT), server("rival", HTTP_PORT), server("second", _SECOND_PORT)]
    return setting.pod("shared", containers, restartPolicy="Never", **setting.on_node(setting.nodes[-1]))


@pytest.mark.claim("pod-own-ip")
def test_pods_have_addresses_of_their_own_from_their_nodes_network(
    lab: Cluster, agents: list[Pod], evidence: Evidence
) -> None:
    addresses = {pod.name: pod.address for pod in agents}
    evidence["addresses"] = addresses
    assert len(set(addresses.values())) == len(agents), f"pods share addresses: {addresses}"
    for pod in agents:
        node = lab.node(pod.node)
        inside = any(ipaddress.ip_address(pod.address) in network for network in node.networks)
        assert inside, f"{pod.name} has {pod.address}, which is not of the network of {node.name}: {node.networks}"
    evidence.headline = f"{len(agents)} pods with addresses of their nodes' networks"


@pytest.mark.claim("pod-own-ip")
@pytest.mark.parametrize("protocol", ["http", "udp"])
def test_every_pod_reaches_every_pod_under_its_own_address(
    agents: list[Pod], evidence: Evidence, protocol: str
) -> None:
    port = UDP_PORT if protocol == "udp" else HTTP_PORT
    for client in agents:
        for server in agents:
            if client is server:
                continue
            answered = client.dial(server.address, port, "clientip", protocol=protocol)
            way = f"{client.name} on {client.node} to {server.name} on {server.node}"
            evidence[way] = answered.responses or answered.errors
            assert answered.responses, f"from {way} nothing passes: {answered.errors}"
            seen = answered.responses[0].rpartition(":")[0].strip("[]")
            assert seen == client.address, f"from {way}: the server sees {seen}, the client is {client.address}"
    evidence.headline = f"{protocol}: all see each other's own address"


@pytest.mark.claim("pod-own-ip")
def test_large_messages_pass_between_nodes(agents: list[Pod], evidence: Evidence) -> None:
    message = "x" * _LARGE
    for client, server in zip(agents, [*agents[1:], agents[0]], strict=True):
        answered = client.dial(server.address, HTTP_PORT, f"echo?msg={message}")
        way = f"{client.node} to {server.node}"
        evidence[way] = len(answered.responses[0]) if answered.responses else answered.errors
        assert answered.responses == (message,), (
            f"from {way} {_LARGE} bytes do not pass: {answered.errors or 'cut short'}"
        )
    evidence.headline = f"{_LARGE} bytes there and back"


@pytest.mark.claim("pod-own-ip")
def test_every_node_reaches_every_pod_under_its_own_address(
    lab: Cluster, agents: list[Pod], evidence: Evidence
) -> None:
    requests = [{"do": "http", "url": f"http://{pod.address}:{HTTP_PORT}/clientip"} for pod in agents]
    answers = each((node.host for node in lab.nodes), lambda host: host.probe(*requests))
    for host, told in answers.items():
        for pod, answer in zip(agents, told, strict=True):
            evidence[f"{host} to {pod.name}"] = answer
            assert answer.get("status") == 200, f"from node {host}, {pod.name} on {pod.node} is not reached: {answer}"
            seen = answer["body"].rpartition(":")[0].strip("[]")
            assert seen == answer["from"], f"{pod.name} sees {seen}, node {host} has sent from {answer['from']}"
    evidence.headline = f"{len(answers)} nodes reach all pods"


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
