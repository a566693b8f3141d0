"""What roles render for one IP family and for two."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar
from tests.unit.roles import test_texts
from tests.unit.roles.test_extra_config import rendered

PODS, SERVICES = ("10.244.0.0/16", "fd00:10:244::/56"), ("10.96.0.0/16", "fd00:10:96::/112")
OWN = "fd00:db8::1"
CONFLIST, NETWORK = "etc/cni/net.d/10-kubeproof.conflist", "etc/kubernetes/pod-network/network.json"
RULES, UNITS = "etc/kubernetes/pod-network/rules.nft", "etc/systemd/system"
# Nothing but a second family in each of these.
TWO: dict[str, Any] = {
    "cluster_pod_network": list(PODS),
    "cluster_service_network": ",".join(SERVICES),
    "cluster_host_address_ipv6": OWN,
    "groups": {"etcd": ["one"], "control_plane": ["one"], "workers": ["one", "two"]},
    "hostvars": {
        "one": {"ansible_host": "192.0.2.1", "cluster_host_address_ipv6": OWN},
        "two": {"ansible_host": "192.0.2.2", "cluster_host_address_ipv6": "fd00:db8::2"},
    },
    "__pod_network_of": {
        "/api/v1/nodes/one": ["10.244.0.0/24", "fd00:10:244::/64"],
        "/api/v1/nodes/two": ["10.244.1.0/24", "fd00:10:244:1::/64"],
    },
}


def value(name: str, directory: Path, **given: Any) -> Any:
    known = {**test_texts.variables(directory, texts=False), **given}
    return Templar(loader=DataLoader(), variables=known).template(known[name])


def test_one_network_in_a_list_is_what_it_is_alone(tmp_path: Path) -> None:
    """All that is rendered of all roles."""
    known = test_texts.variables(tmp_path, texts=False)
    lists = {**known, "cluster_pod_network": [PODS[0]], "cluster_service_network": [SERVICES[0]]}
    given = {"cluster_pod_network", "cluster_service_network", "cluster_host_address_ipv6"}
    # A host's second address is of no use to a cluster of IPv4.
    lists |= {
        "cluster_host_address_ipv6": OWN,
        "hostvars": {"one": {**known["hostvars"]["one"], **TWO["hostvars"]["one"]}},
    }
    alone, listed = (test_texts.rendered(each, tmp_path) for each in (known, lists))
    differ = {name for name in alone if str(alone[name]) != str(listed[name])} - given
    assert differ == set()


@pytest.mark.parametrize(
    ("role", "unit", "flags"),
    [
        ("apiserver", "kube-apiserver", [f"--service-cluster-ip-range={','.join(SERVICES)}"]),
        (
            "controller-manager",
            "kube-controller-manager",
            [
                f"--cluster-cidr={','.join(PODS)}",
                f"--service-cluster-ip-range={','.join(SERVICES)}",
                "--node-cidr-mask-size-ipv4=24",
                "--node-cidr-mask-size-ipv6=64",
            ],
        ),
        ("kubelet", "kubelet", [f"--node-ip=192.0.2.1,{OWN}"]),
        ("flannel", "kube-flannel", ["--iface=192.0.2.1", f"--public-ipv6={OWN}"]),
        (
            "network_policy",
            "kube-network-policy",
            [f"--service-cluster-ip-range={','.join(SERVICES)}", "--enable-ipv6=true"],
        ),
    ],
)
def test_components_are_told_of_both_families(role: str, unit: str, flags: list[str], tmp_path: Path) -> None:
    text = rendered(role, f"{UNITS}/{unit}.service", tmp_path, **TWO)
    words = text.replace("\\\n", " ").split()
    assert [flag for flag in flags if flag not in words] == []
    assert not any(word.startswith("--node-cidr-mask-size=") for word in words), "it is refused beside the others"


def test_kube_proxy_knows_pods_of_both_families(tmp_path: Path) -> None:
    config = yaml.safe_load(rendered("kube-proxy", "etc/kubernetes/kube-proxy/config.yaml", tmp_path, **TWO))
    assert config["clusterCIDR"] == ",".join(PODS)
    assert config["nodePortAddresses"] == ["primary"]


@pytest.mark.parametrize("mode", ["nftables", "iptables"])
def test_node_ports_are_of_primary_addresses_unless_networks_are_given(mode: str, tmp_path: Path) -> None:
    for given, rendered_as in ((TWO, ["primary"]), ({"kube_proxy_node_port_networks": PODS}, list(PODS))):
        settings = {**given, "kube_proxy_mode": mode}
        config = yaml.safe_load(rendered("kube-proxy", "etc/kubernetes/kube-proxy/config.yaml", tmp_path, **settings))
        assert (config["mode"], config["nodePortAddresses"]) == (mode, rendered_as)


def test_certificates_are_good_for_addresses_of_both_families(tmp_path: Path) -> None:
    addresses = value("__apiserver_addresses", tmp_path, **TWO)
    assert addresses == ["127.0.0.1", "10.96.0.1", "fd00:10:96::1", "192.0.2.1", OWN]
    assert value("__cluster_own_addresses", tmp_path, **TWO) == ["192.0.2.1", OWN]
    # A host of etcd alone needs none.
    assert value("__cluster_own_addresses", tmp_path, **{**TWO, "cluster_host_address_ipv6": ""}) == ["192.0.2.1"]


def test_pods_have_an_address_of_each_family(tmp_path: Path) -> None:
    bridge = json.loads(rendered("pod_network", CONFLIST, tmp_path, **TWO))["plugins"][0]
    assert bridge["ipam"]["ranges"] == [[{"subnet": "10.244.0.0/24"}], [{"subnet": "fd00:10:244::/64"}]]


def test_nodes_have_routes_of_each_family(tmp_path: Path) -> None:
    kept = json.loads(rendered("pod_network", NETWORK, tmp_path, **TWO))
    assert kept["routes"] == {"10.244.1.0/24": "192.0.2.2", "fd00:10:244:1::/64": "fd00:db8::2"}
    assert (kept["ipv6"], kept["tunnel_ipv6"]) == (True, "")
    assert kept["sysctls"]["net.ipv6.conf.all.forwarding"] == "1"
    alone = json.loads(rendered("pod_network", NETWORK, tmp_path))
    assert not {"ipv6", "tunnel_ipv6"} & alone.keys()
    assert "net.ipv6.conf.all.forwarding" not in alone["sysctls"]


def test_flannel_makes_a_tunnel_for_each_family(tmp_path: Path) -> None:
    given = {**TWO, "pod_network_plugin": "flannel"}
    kept = json.loads(rendered("pod_network", NETWORK, tmp_path, **given))
    assert (kept["tunnel"], kept["tunnel_ipv6"], kept["routes"]) == ("flannel.1", "flannel-v6.1", {})
    assert kept["mtu"] == 1430, "headers of IPv6 are longer"
    configuration = value("__flannel_configuration", tmp_path, **given)
    assert (configuration["Network"], configuration["EnableIPv6"], configuration["IPv6Network"]) == (
        PODS[0],
        True,
        PODS[1],
    )
    assert "flannel-v6.*" in rendered("pod_network", "etc/systemd/network/00-kubeproof.network", tmp_path, **given)


def test_what_pods_send_outside_is_translated_in_each_family(tmp_path: Path) -> None:
    # A host of etcd alone is no node, and has no routes to pods.
    away = {"ansible_host": "192.0.2.9", "cluster_host_address_ipv6": "fd00:db8::9"}
    apart = {"groups": {**TWO["groups"], "etcd": ["away"]}, "hostvars": {**TWO["hostvars"], "away": away}}
    rules = rendered("pod_network", RULES, tmp_path, **{**TWO, **apart})
    assert "elements = { 10.244.0.0/16, 10.96.0.0/16, 192.0.2.1, 192.0.2.2 }" in rules
    assert "elements = { fd00:10:244::/56, fd00:10:96::/112, fd00:db8::1, fd00:db8::2 }" in rules
    assert f"ip6 saddr {PODS[1]} ip6 daddr != @cluster" in rules
    assert "ip6" not in rendered("pod_network", RULES, tmp_path)


def test_dns_has_an_address_of_each_family(tmp_path: Path) -> None:
    def spec(**given: Any) -> dict[str, Any]:
        objects = yaml.safe_load_all(rendered("dns", "coredns.yaml", tmp_path, **given))
        return dict(next(each for each in objects if each["kind"] == "Service")["spec"])

    assert spec(**TWO)["clusterIPs"] == ["10.96.0.10", "fd00:10:96::a"]
    assert spec(**TWO)["ipFamilyPolicy"] == "PreferDualStack"
    assert not {"clusterIPs", "ipFamilies", "ipFamilyPolicy"} & spec().keys()


def test_the_policy_engine_is_ready_with_rules_of_both_families(tmp_path: Path) -> None:
    path = "etc/kubernetes/network-policy/ready.py"
    for given in ({}, TWO):
        program = rendered("network_policy", path, tmp_path, **given)
        compile(program, "ready.py", "exec")
        assert ("ip6tables" in program) == bool(given)


def test_no_proxy_is_used_for_addresses_of_either_family(tmp_path: Path) -> None:
    given = {**TWO, "cluster_http_proxy": "http://proxy.example:3128"}
    excepted = value("__cluster_proxy_environment", tmp_path, **given)["no_proxy"].split(",")
    assert {*PODS, *SERVICES, "192.0.2.1", OWN, "fd00:db8::2", "::1"} <= set(excepted)
    alone = value("__cluster_proxy_environment", tmp_path, cluster_http_proxy="http://proxy.example:3128")
    assert ":" not in alone["no_proxy"]


@pytest.mark.parametrize(
    ("names", "server"),
    [
        ([], "https://192.0.2.1:6443"),
        (["api.example"], "https://api.example:6443"),
        (["2001:db8::9"], "https://[2001:db8::9]:6443"),
    ],
)
def test_the_administrator_may_reach_the_api_by_ipv6(names: list[str], server: str, tmp_path: Path) -> None:
    assert value("__pki_server", tmp_path, cluster_api_names=names) == server
