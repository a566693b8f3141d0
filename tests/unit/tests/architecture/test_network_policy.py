"""Which policies are written, and what is expected of them, with each engine."""

from __future__ import annotations

import dataclasses
import ipaddress
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tests.architecture import test_network_policy
from tests.architecture.test_network_policy import Way
from tests.unit.tests.architecture import made

from kubeproof.verify.act.pods import Manifests, Pod
from kubeproof.verify.engine.evidence import Evidence
from kubeproof.verify.engine.preparations import Workloads
from kubeproof.verify.observe.api import Api
from kubeproof.verify.observe.cluster import Cluster
from kubeproof.verify.observe.objects import Object

_API = cast(Api, None)
_LEFT_OUT = "policies on networks"


class _Seen:
    """The policies that a test writes, and the ways that it then looks at."""

    def __init__(self) -> None:
        self.policies: dict[str, Object] = {}
        self.ways: list[Way] = []

    @contextmanager
    def write(self, _api: Api, *policies: Object) -> Iterator[None]:
        self.policies = {policy["metadata"]["name"]: policy["spec"] for policy in policies}
        yield

    def hold(self, _api: Api, evidence: Evidence, ways: Sequence[Way]) -> None:
        self.ways = list(ways)
        evidence.headline = "held"

    def open_to(self, server: str) -> list[str]:
        return [way.client.name for way in self.ways if way.server.name == server and way.open]


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> _Seen:
    found = _Seen()
    monkeypatch.setattr(test_network_policy, "_policies", found.write)
    monkeypatch.setattr(test_network_policy, "_hold", found.hold)
    monkeypatch.setattr(test_network_policy, "_open_without_policies", lambda *_: None)
    return found


@pytest.fixture
def cluster() -> Cluster:
    nodes = tuple(
        dataclasses.replace(
            made.node(made.host(f"n{number}", "10.1.0.1")), networks=(ipaddress.ip_network(f"10.0.{number}.0/24"),)
        )
        for number in range(2)
    )
    found = made.cluster(
        nodes=nodes,
        pod_network_plugin="bridge",
        cluster_pod_network="10.0.0.0/16",
        network_policy_new_pods="open-until-known",
    )
    found.node = lambda wanted: next(node for node in nodes if node.name == wanted)  # type: ignore[method-assign]
    return found


def _pod(name: str, node: str, address: str, **labels: str) -> Pod:
    metadata = {"name": name, "namespace": "ours", "labels": labels}
    return Pod(_API, {"metadata": metadata, "spec": {"nodeName": node}, "status": {"podIP": address}})


_AGENTS = [_pod(f"agent-{number}", f"n{number}", f"10.0.{number}.2", agent=str(number)) for number in range(2)]
_MANIFESTS = Manifests("ours", "image", ("n0", "n1"))


def _ingress(engine: str, cluster: Cluster) -> Evidence:
    evidence = Evidence()
    guarded = [
        _pod(f"guarded-{name}", "n0", f"10.0.0.{number}")
        for number, name in enumerate(("closed", "by-label", "by-namespace", "by-cidr"), 3)
    ]
    visitor = _pod("visitor", "n1", "10.0.1.9")
    test_network_policy.test_only_what_a_policy_allows_comes_in(
        engine, cluster, _API, _MANIFESTS, _AGENTS, guarded, visitor, evidence
    )
    return evidence


def _egress(engine: str, cluster: Cluster) -> Evidence:
    evidence = Evidence()
    senders = [
        _pod(f"sender-{name}", "n1", f"10.0.1.{number}")
        for number, name in enumerate(("shut", "by-label", "by-cidr"), 3)
    ]
    test_network_policy.test_only_what_a_policy_allows_goes_out(
        engine, cluster, _API, _MANIFESTS, _AGENTS, senders, evidence
    )
    return evidence


def test_a_network_lets_pods_in_that_are_of_it(seen: _Seen, cluster: Cluster) -> None:
    assert _LEFT_OUT not in _ingress("kube-router", cluster)
    [rule] = seen.policies["guarded-by-cidr"]["ingress"]
    assert rule == {"from": [{"ipBlock": {"cidr": "10.0.0.0/16", "except": ["10.0.0.0/24"]}}]}
    assert seen.open_to("guarded-by-cidr") == ["agent-1"]
    assert len(seen.ways) == 12


def test_a_network_lets_pods_out_to_those_that_are_of_it(seen: _Seen, cluster: Cluster) -> None:
    assert _LEFT_OUT not in _egress("kube-router", cluster)
    [rule] = seen.policies["sender-by-cidr"]["egress"]
    assert rule == {"to": [{"ipBlock": {"cidr": "10.0.0.0/16", "except": ["10.0.1.0/24"]}}]}
    assert len(seen.ways) == 6


@pytest.mark.parametrize(("judge", "ways"), [(_ingress, 10), (_egress, 4)])
def test_cilium_is_not_asked_for_pods_by_their_networks(seen: _Seen, cluster: Cluster, judge: Any, ways: int) -> None:
    evidence = judge("cilium", cluster)
    assert "outside of the cluster" in evidence[_LEFT_OUT]
    assert evidence.headline == "cilium: held"
    assert not [name for name, spec in seen.policies.items() if "ipBlock" in str(spec)]
    assert len(seen.ways) == ways
    assert any(way.open for way in seen.ways)


class _Workloads:
    """Pods that run at once, and one that reaches nobody."""

    def run(self, manifest: Object) -> Pod:
        return _pod(manifest["metadata"]["name"], "n1", "10.0.1.8")

    def await_all(self, sent: Sequence[Object], _until: Any) -> list[Pod]:
        [manifest] = sent
        statuses = [{"name": "early", "state": {"terminated": {"exitCode": 1, "message": "TIMEOUT"}}}]
        return [Pod(_API, {**manifest, "status": {"containerStatuses": statuses}})]


@pytest.mark.parametrize(
    ("engine", "peer"),
    [
        ("kube-router", {"ipBlock": {"cidr": "10.0.1.2/32"}}),
        ("cilium", {"podSelector": {"matchLabels": {"agent": "1"}}}),
    ],
)
def test_a_new_pod_may_reach_what_its_engine_knows_it_by(
    seen: _Seen, cluster: Cluster, engine: str, peer: Object
) -> None:
    api, evidence = cast(Api, SimpleNamespace(create=lambda manifest: manifest)), Evidence()
    test_network_policy.test_a_new_pod_is_under_the_policies_that_select_it(
        engine, cluster, api, _MANIFESTS, _AGENTS, cast(Workloads, _Workloads()), evidence
    )
    assert seen.policies["new"]["egress"] == [{"to": [peer]}]
    assert [(way.server.name, way.open) for way in seen.ways] == [("agent-0", False), ("agent-1", True)]
    assert (_LEFT_OUT in evidence) == (engine == "cilium")
