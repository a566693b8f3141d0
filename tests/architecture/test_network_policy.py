"""Network policies: who may talk to whom, as the pods themselves find out."""

from __future__ import annotations

import ipaddress
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from kubeproof.core import waiting
from kubeproof.settings import families
from kubeproof.settings.urls import in_url
from kubeproof.verify.act import disruption
from kubeproof.verify.act.pods import HTTP_PORT, Blocked, Manifests, Pod, is_ready
from kubeproof.verify.act.repeated import Repeated
from kubeproof.verify.act.workspace import Workspace
from kubeproof.verify.engine.evidence import Evidence
from kubeproof.verify.engine.preparations import Workloads, early, prepared_together
from kubeproof.verify.observe import objects
from kubeproof.verify.observe.api import Api
from kubeproof.verify.observe.cluster import Cluster
from kubeproof.verify.observe.hosts import NotObservable
from kubeproof.verify.observe.objects import Object

_UNIT = "kube-network-policy"
_SECOND_PORT = 8090
_GUARD, _AGENT = "guard", "agent"
# The engine follows within a second; a busy node takes longer.
_IN_FORCE_SECONDS = 15.0
_PAUSE = 0.1
# Of the requests over each way, in each part of a restart. The first may have been sent in the part before.
_REQUESTS = 3
_RESTARTED_SECONDS = 30.0
_ACCOUNT_SECONDS = 30.0
_REWRITTEN_SECONDS = 3.0
_INGRESS, _EGRESS = "Ingress", "Egress"
_BY_NETWORK = "a policy on a network"


@dataclass(frozen=True)
class Way:
    """From a pod to another pod's port, and the policy by which that is open or closed."""

    client: Pod
    server: Pod
    port: int
    open: bool
    policy: str

    def __str__(self) -> str:
        """It in words."""
        where = "on the same node" if self.client.node == self.server.node else f"on {self.server.node}"
        return f"{self.client.name} on {self.client.node} to port {self.port} of {self.server.name} {where}"

    def is_open(self) -> bool:
        """Whether a request passes. What is to be closed is so in each IP family; networks in policies are of one."""
        addresses = self.server.addresses[:1] if self.open else self.server.addresses
        return any(self.client.dial(address, self.port, "serverport").responses for address in addresses)

    def wrong(self) -> str:
        """What a refutation says of it."""
        verdict = "allows" if self.open else "forbids"
        return f"from {self} a request {_told(passes=not self.open)}, and {self.policy} {verdict} it"


@pytest.fixture(scope="session")
def engine(cluster: Cluster) -> str:
    """What enforces policies. Where nothing of ours does, none of this can be seen."""
    network, engine = str(cluster.settings["pod_network_plugin"]), str(cluster.settings["network_policy_engine"])
    if network in ("calico", "cilium"):
        return network
    if engine == "none":
        raise NotObservable("network_policy_engine is none: policies are accepted, and kubeproof enforces none of them")
    return engine


@prepared_together()
def guarded(manifests: Manifests) -> list[Object]:
    """Servers on two ports, one for each policy on what may come in: all on the first node."""
    names = ("closed", "by-label", "by-namespace", "by-cidr")
    return [_server(manifests, f"guarded-{name}", manifests.nodes[0]) for name in names]


@prepared_together()
def senders(manifests: Manifests) -> list[Object]:
    """The same for policies on what may go out: all on the last node."""
    names = ("shut", "by-label", "by-cidr")
    return [_server(manifests, f"sender-{name}", manifests.nodes[-1]) for name in names]


@early
def visiting(workspace: Workspace, workloads: Workloads, manifests: Manifests, api: Api) -> tuple[Workloads, Object]:
    """A pod of another namespace, which starts while other claims are looked at."""
    namespace = workspace.namespace("visitor")
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": namespace}}
    # Without it the API server admits no pod.
    api.observe_one(account, lambda _: True, what="service account of a new namespace", timeout=_ACCOUNT_SECONDS)
    other = Manifests(namespace, manifests.image, manifests.nodes, manifests.patience)
    pod = api.create(_server(other, "visitor", manifests.nodes[-1]))
    workloads.adopt("visiting", [pod])
    return Workloads(api, other), pod


@pytest.fixture(scope="session")
def visitor(visiting: tuple[Workloads, Object]) -> Pod:
    """That pod, once it is ready."""
    made, item = visiting
    return made.await_all([item], is_ready)[0]


@pytest.mark.claim("policy-ingress")
def test_only_what_a_policy_allows_comes_in(
    engine: str,
    cluster: Cluster,
    api: Api,
    manifests: Manifests,
    agents: list[Pod],
    guarded: list[Pod],
    visitor: Pod,
    evidence: Evidence,
) -> None:
    closed, by_label, by_namespace, by_cidr = guarded
    first, last = agents[0], agents[-1]
    _open_without_policies([first, last, visitor], guarded)
    _open_without_policies([first], [by_label], [_SECOND_PORT])
    policies = [
        _policy(manifests, closed.name, _INGRESS, []),
        _policy(manifests, by_label.name, _INGRESS, [{"podSelector": _labels(_AGENT, "0")}], ports=[HTTP_PORT]),
        _policy(manifests, by_namespace.name, _INGRESS, [{"namespaceSelector": _named(visitor)}]),
    ]
    ways = [
        *_each([first, last, visitor], closed, opens=(), policy="a policy that allows nothing"),
        *_each([first, last, visitor], by_label, opens=(first,), policy="a policy on a pod's label"),
        Way(first, by_label, _SECOND_PORT, open=False, policy="a policy on a port"),
        *_each([first, last, visitor], by_namespace, opens=(visitor,), policy="a policy on a namespace"),
    ]
    if _networks_have_pods(engine, evidence):
        policies.append(_policy(manifests, by_cidr.name, _INGRESS, [_around(cluster, first)]))
        ways += _each([first, last], by_cidr, opens=_outside([first, last], first), policy=_BY_NETWORK)
    with _policies(api, *policies):
        _hold(api, evidence, ways)
    evidence.headline = f"{engine}: {evidence.headline}"


@pytest.mark.claim("policy-egress")
def test_only_what_a_policy_allows_goes_out(
    engine: str,
    cluster: Cluster,
    api: Api,
    manifests: Manifests,
    agents: list[Pod],
    senders: list[Pod],
    evidence: Evidence,
) -> None:
    shut, by_label, by_cidr = senders
    first, last = agents[0], agents[-1]
    _open_without_policies(senders, [first, last])
    policies = [
        _policy(manifests, shut.name, _EGRESS, []),
        _policy(manifests, by_label.name, _EGRESS, [{"podSelector": _labels(_AGENT, "0")}], ports=[HTTP_PORT]),
    ]
    ways = [
        *_to_each(shut, [first, last], opens=(), policy="a policy that allows nothing"),
        *_to_each(by_label, [first, last], opens=(first,), policy="a policy on a pod's label"),
    ]
    if _networks_have_pods(engine, evidence):
        policies.append(_policy(manifests, by_cidr.name, _EGRESS, [_around(cluster, last)]))
        ways += _to_each(by_cidr, [first, last], opens=_outside([first, last], last), policy=_BY_NETWORK)
    with _policies(api, *policies):
        _hold(api, evidence, ways)
    evidence.headline = f"{engine}: {evidence.headline}"


@pytest.mark.claim("policy-new-pods")
def test_a_new_pod_is_under_the_policies_that_select_it(
    engine: str,
    cluster: Cluster,
    api: Api,
    manifests: Manifests,
    agents: list[Pod],
    workloads: Workloads,
    evidence: Evidence,
) -> None:
    isolated = cluster.settings["network_policy_new_pods"] == "isolated"
    target, other = agents[0], agents[-1]
    # Its first packet goes where it must not, and it ends with what became of that.
    command = ["connect", "--timeout=1s", f"{in_url(target.address)}:{HTTP_PORT}"]
    hasty = manifests.container("early", command, terminationMessagePolicy="FallbackToLogsOnError")
    by_address = _networks_have_pods(engine, evidence)
    peer = _network(str(ipaddress.ip_network(other.address))) if by_address else {"podSelector": _labelled(other)}
    egress = [peer] if other is not target else []
    place = manifests.on_node(manifests.nodes[-1])
    with _policies(api, _policy(manifests, "new", _EGRESS, egress)):
        sent = api.create(manifests.pod("new-first", [hasty], labels={_GUARD: "new"}, restartPolicy="Never", **place))
        pod = workloads.run(_server(manifests, "new-server", manifests.nodes[-1], guard="new"))
        start = time.monotonic()
        ways = [Way(pod, target, HTTP_PORT, open=False, policy="a policy that was there before it")]
        if egress:
            ways.append(Way(pod, other, HTTP_PORT, open=True, policy="a policy that was there before it"))
        _hold(api, evidence, ways)
        evidence["seconds after it was ready"] = round(time.monotonic() - start, 1)
        [ended] = workloads.await_all([sent], _is_over)
        told = ended.container("early")["state"]["terminated"]
        evidence["a pod that sends before anything else"] = {key: told.get(key) for key in ("exitCode", "message")}
    reached = told["exitCode"] == 0
    assert not (isolated and reached), (
        f"{ended.name} on {ended.node} reaches {target.name} before its node has rules for it"
    )
    gap = "open for a moment" if reached else "closed"
    evidence.headline = f"{engine}: a pod's first packet found it {gap}, and its policy in force once it was ready"


@pytest.mark.claim("policy-restart")
def test_policies_hold_while_the_engine_is_restarted(
    engine: str,
    cluster: Cluster,
    api: Api,
    manifests: Manifests,
    agents: list[Pod],
    guarded: list[Pod],
    evidence: Evidence,
) -> None:
    server, client = guarded[0], agents[-1]
    host = cluster.node(server.node).host
    if host.attempt("systemctl cat %s", f"{_UNIT}.service")[0] != 0:
        raise NotObservable(f"{server.node} has no unit {_UNIT}: its engine is not one of kubeproof's")
    peer = {"podSelector": _labels(_AGENT, str(len(agents) - 1))}
    policy = _policy(manifests, server.name, _INGRESS, [peer], ports=[HTTP_PORT])
    allowed = Way(client, server, HTTP_PORT, open=True, policy="a policy on a pod's label")
    forbidden = Way(client, server, _SECOND_PORT, open=False, policy="a policy on a port")
    with _policies(api, policy), disruption.undone(host, f"systemctl start {_UNIT}"):
        _hold(api, evidence, [allowed, forbidden])
        with _Requests(allowed) as good, _Requests(forbidden) as bad:
            _await_more(api, (good, bad), "before the restart")
            host.run("systemctl stop %s", _UNIT)
            _await_more(api, (good, bad), "while the engine is stopped")
            host.run("systemctl start %s", _UNIT)
            # It replaces all of its rules once it has asked the API.
            time.sleep(api.patient(_REWRITTEN_SECONDS))
            _await_more(api, (good, bad), "after the restart")
    for way, requests in ((allowed, good), (forbidden, bad)):
        evidence[f"from {way}"] = dict(requests.seen)
        wrong = requests.total - requests.seen[_told(passes=way.open)]
        assert not wrong, f"while the engine was restarted, {wrong} of {requests.total} requests: {way.wrong()}"
    evidence.headline = f"{engine} restarted: {good.total} allowed requests passed, {bad.total} forbidden ones did not"


class _Requests(Repeated):
    """Requests over one way, one after the other, and what became of each."""

    def __init__(self, way: Way) -> None:
        """Nothing is sent before the ``with`` block."""
        super().__init__(self._send, pause=_PAUSE)
        self._way = way
        self.seen: Counter[str] = Counter()

    @property
    def total(self) -> int:
        """How many there were."""
        return self.seen.total()

    def _send(self) -> None:
        self.seen[_told(passes=self._way.is_open())] += 1


def _told(*, passes: bool) -> str:
    return "passes" if passes else "does not pass"


def _server(manifests: Manifests, name: str, node: str, guard: str = "") -> Object:
    """A pod that serves two ports, and sends what it is asked to; ``guard``: by which policies select it."""
    containers = [
        manifests.server(each, port, readinessProbe={"tcpSocket": {"port": port}, "periodSeconds": 1})
        for each, port in (("server", HTTP_PORT), ("second", _SECOND_PORT))
    ]
    return manifests.pod(name, containers, labels={_GUARD: guard or name}, **manifests.on_node(node))


def _policy(
    manifests: Manifests,
    guard: str,
    direction: str,
    peers: Sequence[Mapping[str, Any]],
    ports: Sequence[int] = (),
) -> Object:
    """A policy for the pods that are guarded like that: these peers at these ports, and nothing else."""
    rule = {"from" if direction == _INGRESS else "to": list(peers)}
    if ports:
        rule["ports"] = [{"protocol": "TCP", "port": port} for port in ports]
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": guard, "namespace": manifests.namespace},
        "spec": {
            "podSelector": _labels(_GUARD, guard),
            "policyTypes": [direction],
            direction.lower(): [rule] if peers else [],
        },
    }


@contextmanager
def _policies(api: Api, *policies: Object) -> Iterator[None]:
    """Policies that are there for the time of the block."""
    try:
        for policy in policies:
            api.create(policy)
        yield
    finally:
        for policy in policies:
            api.delete(objects.path(policy))


def _labels(key: str, value: str) -> Object:
    return {"matchLabels": {key: value}}


def _named(pod: Pod) -> Object:
    """What selects a pod's namespace: the label that every namespace has."""
    return _labels("kubernetes.io/metadata.name", str(pod.item["metadata"]["namespace"]))


def _labelled(agent: Pod) -> Object:
    """What selects one of the agents."""
    return _labels(_AGENT, str(agent.item["metadata"]["labels"][_AGENT]))


def _networks_have_pods(engine: str, evidence: Evidence) -> bool:
    """Whether pods are in the networks that policies name.

    Cilium knows pods by their labels, and takes networks for what is outside of the cluster:
    https://github.com/cilium/cilium/issues/19601
    """
    if engine != "cilium":
        return True
    evidence["policies on networks"] = "left out: of cilium they are about what is outside of the cluster"
    return False


def _network(cidr: str, *excepted: str) -> Object:
    return {"ipBlock": {"cidr": cidr, **({"except": list(excepted)} if excepted else {})}}


def _around(cluster: Cluster, pod: Pod) -> Object:
    """The network that all nodes' networks are in, without that of a pod's node, as policies name it."""
    address = ipaddress.ip_address(pod.address)
    own = [str(network) for network in cluster.node(pod.node).networks if address in network]
    network = cluster.settings["pod_network_plugin"]
    if network == "calico" or (network == "none" and not own):
        # Calico has blocks of addresses of its own, wherever they are, and a network that others have installed may
        # take them from elsewhere; no other pod here is on this node.
        return _network("::/0" if address.version == 6 else "0.0.0.0/0", str(ipaddress.ip_network(address)))
    assert own, f"{pod.name} has {address}, which is not of the network of {pod.node}"
    return _network(families.of_family(cluster.settings["cluster_pod_network"], address.version), own[0])


def _outside(pods: Sequence[Pod], excepted: Pod) -> tuple[Pod, ...]:
    """Those that are not on the node whose network is excepted."""
    return tuple(pod for pod in pods if pod.node != excepted.node)


def _each(clients: Sequence[Pod], server: Pod, opens: Collection[Pod], policy: str) -> list[Way]:
    return [Way(client, server, HTTP_PORT, client in opens, policy) for client in clients]


def _to_each(client: Pod, servers: Sequence[Pod], opens: Collection[Pod], policy: str) -> list[Way]:
    return [Way(client, server, HTTP_PORT, server in opens, policy) for server in servers]


def _open_without_policies(clients: Sequence[Pod], servers: Sequence[Pod], ports: Sequence[int] = (HTTP_PORT,)) -> None:
    """Raise Blocked where a policy could not be blamed: what is closed without one proves nothing of it."""
    ways = [
        Way(client, server, port, open=True, policy="no policy")
        for client in clients
        for server in servers
        for port in ports
    ]
    if not waiting.until(lambda: not _wrong(ways), clients[0].api.patient(_IN_FORCE_SECONDS), pause=_PAUSE):
        closed = [str(way) for way in _wrong(ways)]
        raise Blocked("pod-network", f"before there is any policy, nothing passes from {', '.join(closed)}")


def _hold(api: Api, evidence: Evidence, ways: Sequence[Way]) -> None:
    """Wait until all ways are as policies have it, all at the same time."""
    start = time.monotonic()
    held = waiting.until(lambda: not _wrong(ways), api.patient(_IN_FORCE_SECONDS), pause=_PAUSE)
    took = time.monotonic() - start
    last = [] if held else _wrong(ways)
    for way in ways:
        evidence[f"from {way}"] = _told(passes=way.open is not (way in last))
    assert not last, f"{took:.0f} s after its policies were written: {last[0].wrong()}"
    opened = sum(way.open for way in ways)
    evidence["seconds until all was so"] = round(took, 1)
    evidence.headline = f"{opened} ways open and {len(ways) - opened} closed by policies after {took:.1f} s"


def _wrong(ways: Sequence[Way]) -> list[Way]:
    """The ways that are not as they should be, all tried at once."""
    with ThreadPoolExecutor(max(len(ways), 1)) as pool:
        return [way for way, passes in zip(ways, pool.map(Way.is_open, ways), strict=True) if passes is not way.open]


def _is_over(item: Object) -> bool:
    return item["status"].get("phase") in {"Succeeded", "Failed"}


def _await_more(api: Api, ways: Collection[_Requests], when: str) -> None:
    """Wait until there were more requests over each way: those that are rejected take longer."""
    before = [requests.total for requests in ways]

    def were_sent() -> bool:
        return all(requests.total >= count + _REQUESTS for requests, count in zip(ways, before, strict=True))

    _await(api, were_sent, f"requests {when}")


def _await(api: Api, condition: Callable[[], bool], what: str) -> None:
    limit = api.patient(_RESTARTED_SECONDS)
    if not waiting.until(condition, limit, pause=_PAUSE):
        raise Blocked("API server", f"{what}: not within {limit:.0f} s")
