"""Two IP families: what has an address has one of each."""

from __future__ import annotations

import ipaddress

import pytest

from kubeproof.settings import families
from kubeproof.verify.act.pods import Manifests, Pod
from kubeproof.verify.engine.evidence import Evidence
from kubeproof.verify.observe.api import Api
from kubeproof.verify.observe.cluster import Cluster
from kubeproof.verify.observe.hosts import NotObservable
from kubeproof.verify.observe.objects import core

_BOTH = {4, 6}


@pytest.mark.claim("net-dual-stack")
def test_nodes_and_pods_have_an_address_of_each_family(cluster: Cluster, agents: list[Pod], evidence: Evidence) -> None:
    _require_two(cluster)
    for node in cluster.nodes:
        evidence[node.name] = {"addresses": node.addresses, "networks": [str(each) for each in node.networks]}
        assert {each.version for each in node.networks} == _BOTH, f"{node.name} has no network of each: {node.networks}"
        assert _versions(node.addresses) == _BOTH, f"{node.name} has no address of each family: {node.addresses}"
    for pod in agents:
        evidence[pod.name] = pod.addresses
        assert _versions(pod.addresses) == _BOTH, (
            f"{pod.name} on {pod.node} has no address of each family: {', '.join(pod.addresses)}"
        )
    evidence.headline = f"{len(cluster.nodes)} nodes and {len(agents)} pods have an IPv4 and an IPv6 address"


@pytest.mark.claim("net-dual-stack")
@pytest.mark.usefixtures("settled")
def test_a_service_that_wants_both_has_both_and_answers_at_both(
    cluster: Cluster, agents: list[Pod], manifests: Manifests, evidence: Evidence
) -> None:
    _require_two(cluster)
    addresses = cluster.service_addresses(manifests.namespace, "agents")
    evidence["service"] = addresses
    assert _versions(addresses) == _BOTH, f"a service that wants an address of each family has {addresses}"
    names = {pod.name for pod in agents}
    for pod, address in ((pod, address) for pod in agents for address in addresses):
        answered = pod.dial(address, 80, "hostname")
        evidence[f"from pod {pod.name} on {pod.node} at {address}"] = answered.responses or answered.errors
        assert answered.responses, f"from pod {pod.name} on {pod.node} nobody answers at {address}: {answered.errors}"
        assert set(answered.responses) <= names, f"another server answers at {address}: {answered.responses}"
    evidence.headline = f"a service answers at {' and '.join(addresses)}"


@pytest.mark.claim("net-dual-stack")
def test_a_service_that_says_nothing_has_the_first_family(
    cluster: Cluster, api: Api, agents: list[Pod], manifests: Manifests, evidence: Evidence
) -> None:
    _require_two(cluster)
    spec = api.get(f"{core(manifests.namespace, 'services')}/agent-alone")["spec"]
    evidence["addresses"], evidence["families"] = spec["clusterIPs"], spec["ipFamilies"]
    first = ipaddress.ip_address(agents[0].address).version
    assert [ipaddress.ip_address(each).version for each in spec["clusterIPs"]] == [first], (
        f"a service that asks for nothing has {spec['clusterIPs']}, and pods are first known by IPv{first}"
    )
    evidence.headline = f"a service that asks for nothing has an IPv{first} address"


def _require_two(cluster: Cluster) -> None:
    if len(families.listed(cluster.settings["cluster_pod_network"])) < len(_BOTH):
        raise NotObservable("the cluster has networks of one IP family")


def _versions(addresses: tuple[str, ...]) -> set[int]:
    return {ipaddress.ip_address(each).version for each in addresses}
