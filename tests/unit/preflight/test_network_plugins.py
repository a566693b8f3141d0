"""Settings of networks that are applied into the cluster."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.preflight.builders import VALUES

import host_report
from kubeproof.preflight.findings import Finding
from kubeproof.preflight.model import Rules
from kubeproof.preflight.network_plugins import check_plugin
from kubeproof.preflight.networks import check_policies

GOOD: dict[str, Any] = {
    "calico_encapsulation": "vxlan",
    "cilium_routing": "tunnel",
    "cluster_pod_network": "10.244.0.0/16",
    "cluster_service_network": "10.96.0.0/16",
    "component_source": "release",
    "network_policy_engine": "none",
}
TWO: dict[str, Any] = {
    "cluster_pod_network": "10.244.0.0/16,fd00:10:244::/56",
    "cluster_service_network": "10.96.0.0/16,fd00::/112",
}


def check(plugin: str, *, ports: tuple[int, ...] = (7443, 7443), **values: Any) -> list[Finding]:
    return list(check_plugin({**GOOD, "pod_network_plugin": plugin, **values}, values, ports))


@pytest.mark.parametrize("plugin", ["calico", "cilium"])
def test_nothing_is_found_in_good_settings(plugin: str) -> None:
    assert check(plugin) == []
    assert check(plugin, **TWO) == []
    assert check(plugin, component_source="mirror") == []
    assert check(plugin, component_source="auto") == []


@pytest.mark.parametrize(("plugin", "why"), [("calico", "without versions"), ("cilium", "clang")])
def test_they_are_not_built(plugin: str, why: str) -> None:
    (finding,) = check(plugin, component_source="go")
    assert (finding.id, finding.subject, finding.severity) == ("network-source", "pod_network_plugin", "error")
    assert why in finding.problem
    assert "component_source to release" in finding.remediation
    assert check("bridge", component_source="go") == []


@pytest.mark.parametrize(
    ("plugin", "wrong"),
    [
        ("calico", {"pod_network_extra_plugins": [{"type": "tuning"}]}),
        ("cilium", {"pod_network_manifest_sha256": "0123"}),
        ("calico", {"calico_extra_environment": {"not a name": "x"}}),
        ("calico", {"calico_extra_environment": {"FELIX_A": ["x"]}}),
        ("calico", {"calico_extra_environment": {"CALICO_IPV4POOL_CIDR": "10.0.0.0/8"}}),
        ("cilium", {"cilium_extra_values": {"kubeProxyReplacement": True}}),
    ],
)
def test_what_does_not_go_with_them_is_refused(plugin: str, wrong: dict[str, Any]) -> None:
    (finding,) = check(plugin, **wrong)
    assert (finding.id, finding.subject, finding.severity) == ("network-plugin", next(iter(wrong)), "error")
    assert finding.remediation
    assert check("bridge", **wrong) == []


def test_ipip_carries_no_ipv6() -> None:
    (finding,) = check("calico", calico_encapsulation="ipip", **TWO)
    assert finding.subject == "calico_encapsulation"
    assert check("calico", calico_encapsulation="ipip") == []


def test_one_configuration_has_one_port_of_balancers() -> None:
    (finding,) = check("cilium", ports=(7443, 7444))
    assert finding.subject == "cluster_balancer_port"


@pytest.mark.parametrize("plugin", ["calico", "cilium"])
def test_policies_are_theirs(plugin: str) -> None:
    values = {**GOOD, "pod_network_plugin": plugin}
    assert list(check_policies(values)) == []
    (engine,) = check_policies({**values, "network_policy_engine": "kube-router"})
    assert (engine.subject, engine.severity) == ("network_policy_engine", "error")
    (pods,) = check_policies({**values, "network_policy_new_pods": "isolated"})
    assert (pods.subject, pods.severity) == ("network_policy_new_pods", "error")


@pytest.mark.parametrize(
    ("plugin", "way", "ports", "segment", "module"),
    [
        ("calico", {"calico_encapsulation": "vxlan"}, (4789,), False, "vxlan"),
        ("calico", {"calico_encapsulation": "ipip"}, (), False, "ipip"),
        ("calico", {"calico_encapsulation": "none"}, (), True, "ip_set"),
        ("cilium", {"cilium_routing": "tunnel"}, (8472,), False, "vxlan"),
        ("cilium", {"cilium_routing": "native"}, (), True, "overlay"),
        ("none", {}, (), False, "overlay"),
    ],
)
def test_hosts_are_asked_for_what_each_way_takes(
    plugin: str, way: dict[str, str], ports: tuple[int, ...], segment: bool, module: str
) -> None:
    rules = Rules.parse({**VALUES, "pod_network_plugin": plugin, "network_policy_engine": "none", **way})
    assert (rules.udp_ports, rules.shared_segment) == (ports, segment)
    assert module in rules.modules
    assert {*rules.modules} <= {*host_report.MODULES}, "hosts do not report it"
    assert ("ip_set" in rules.modules) is (plugin != "none")
    assert ("vxlan" in rules.modules) is bool(ports)
