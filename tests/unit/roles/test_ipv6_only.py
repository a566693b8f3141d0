"""What roles render for IPv6 alone: what they render for IPv4, with other addresses, but for a few files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.unit.preflight.builders import report
from tests.unit.roles import test_texts
from tests.unit.roles.test_dual_stack import CONFLIST, NETWORK, RULES, UNITS, value
from tests.unit.roles.test_extra_config import rendered

from kubeproof.settings import specs

PODS, SERVICES = "fd00:10:244::/56", "fd00:10:96::/112"
OWN, OTHER = "fd00:db8::1", "fd00:db8::2"
ONE: dict[str, Any] = {
    "cluster_pod_network": PODS,
    "cluster_service_network": [SERVICES],
    "ansible_host": OWN,
    "groups": {"etcd": ["one"], "control_plane": ["one"], "workers": ["one", "two"]},
    "hostvars": {"one": {"ansible_host": OWN}, "two": {"ansible_host": OTHER}},
    "__pod_network_of": {"/api/v1/nodes/one": "fd00:10:244::/64", "/api/v1/nodes/two": "fd00:10:244:1::/64"},
    "ansible_facts": {
        "kubeproof_host": {**report(), "default_route_ipv6": {"interface": "eth0", "gateway": "fd00:db8::fe"}},
        "kubeproof_components": test_texts.COMPONENTS,
    },
}
# Of the same cluster with IPv4, the longest first.
IPV4 = {
    "fd00:10:244:1::/64": "10.244.1.0/24",
    "fd00:10:244::/64": "10.244.0.0/24",
    "fd00:10:96::/112": "10.96.0.0/16",
    "fd00:10:244::/56": "10.244.0.0/16",
    "fd00:10:96::a": "10.96.0.10",
    "fd00:10:96::1": "10.96.0.1",
    "[fd00:db8::1]": "192.0.2.1",
    "[fd00:db8::2]": "192.0.2.2",
    "fd00:db8::1": "192.0.2.1",
    "fd00:db8::2": "192.0.2.2",
}
# Files that are of IP families themselves, and one with a digest of what another one says of addresses.
DIFFER = {
    "kube-proxy/templates/daemonset.yaml.j2",
    "host/templates/etc/sysctl.d/99-zz-kubeproof.conf.j2",
    "controller-manager/templates/etc/systemd/system/kube-controller-manager.service.j2",
    "flannel/templates/etc/systemd/system/kube-flannel.service.j2",
    "network_policy/templates/etc/kubernetes/network-policy/ready.py.j2",
    "network_policy/templates/etc/systemd/system/kube-network-policy.service.j2",
    "pod_network/templates/etc/kubernetes/pod-network/network.json.j2",
    "pod_network/templates/etc/kubernetes/pod-network/rules.nft.j2",
    "pod_network/templates/etc/systemd/network/00-kubeproof.network.j2",
}


def in_ipv4(value: Any) -> str:
    text = str(value)
    for ipv6, ipv4 in IPV4.items():
        text = text.replace(ipv6, ipv4)
    return text


def test_all_other_files_have_other_addresses_and_nothing_else(tmp_path: Path) -> None:
    known = test_texts.variables(tmp_path, texts=False)
    same = {
        "groups": ONE["groups"],
        "hostvars": json.loads(in_ipv4(json.dumps(ONE["hostvars"]))),
        "__pod_network_of": json.loads(in_ipv4(json.dumps(ONE["__pod_network_of"]))),
    }
    ipv4, ipv6 = (test_texts.rendered({**known, **given}, tmp_path) for given in (same, ONE))
    files = {name: name.removeprefix(f"{specs.ROLES}/") for name in ipv4 if name.endswith(".j2")}
    assert {short for name, short in files.items() if str(ipv4[name]) != in_ipv4(ipv6[name])} == DIFFER
    failed = {name for name, found in ipv6.items() if isinstance(found, Exception)}
    assert failed == test_texts.LEFT_OUT


@pytest.mark.parametrize(
    ("role", "unit", "flags"),
    [
        (
            "apiserver",
            "kube-apiserver",
            [
                f"--advertise-address={OWN}",
                f"--etcd-servers=https://[{OWN}]:2379",
                f"--service-cluster-ip-range={SERVICES}",
            ],
        ),
        (
            "controller-manager",
            "kube-controller-manager",
            [f"--cluster-cidr={PODS}", f"--service-cluster-ip-range={SERVICES}", "--node-cidr-mask-size=64"],
        ),
        ("kubelet", "kubelet", [f"--node-ip={OWN}"]),
        ("flannel", "kube-flannel", [f"--iface={OWN}", f"--public-ipv6={OWN}"]),
        (
            "network_policy",
            "kube-network-policy",
            [f"--service-cluster-ip-range={SERVICES}", "--enable-ipv4=false", "--enable-ipv6=true"],
        ),
    ],
)
def test_components_are_told_of_ipv6_alone(role: str, unit: str, flags: list[str], tmp_path: Path) -> None:
    words = rendered(role, f"{UNITS}/{unit}.service", tmp_path, **ONE).replace("\\\n", " ").split()
    assert [flag for flag in flags if flag not in words] == []
    assert not any(word.startswith("--public-ip=") for word in words)


def test_flannel_starts_host_gw_only_if_two_addresses_are_the_same(tmp_path: Path) -> None:
    given = {**ONE, "pod_network_plugin": "flannel", "pod_network_flannel_backend": "host-gw"}
    words = rendered("flannel", f"{UNITS}/kube-flannel.service", tmp_path, **given).split()
    assert {f"--iface={OWN}", f"--public-ip={OWN}", f"--public-ipv6={OWN}"} <= set(words)


def test_etcd_and_balancer_have_addresses_in_brackets(tmp_path: Path) -> None:
    configuration = yaml.safe_load(rendered("etcd", "etc/etcd/etcd.yaml", tmp_path, **ONE))
    assert configuration["listen-client-urls"] == f"https://127.0.0.1:2379,https://[{OWN}]:2379"
    assert configuration["initial-cluster"] == f"one=https://[{OWN}]:2380"
    assert f"server one [{OWN}]:6443 " in rendered("balancer", "etc/kubernetes/balancer/haproxy.cfg", tmp_path, **ONE)
    assert value("__pki_server", tmp_path, **ONE) == f"https://[{OWN}]:6443"
    assert value("__apiserver_addresses", tmp_path, **ONE) == ["127.0.0.1", "fd00:10:96::1", OWN]
    assert value("__kube_proxy_probe", tmp_path, **ONE) == "https://[fd00:10:96::1]:443/livez"


def test_the_pod_network_is_of_ipv6_alone(tmp_path: Path) -> None:
    bridge = json.loads(rendered("pod_network", CONFLIST, tmp_path, **ONE))["plugins"][0]
    assert bridge["ipam"]["ranges"] == [[{"subnet": "fd00:10:244::/64"}]]
    kept = json.loads(rendered("pod_network", NETWORK, tmp_path, **ONE))
    assert kept["routes"] == {"fd00:10:244:1::/64": OTHER}
    assert (kept["ipv4"], kept["ipv6"]) == (False, True)
    assert kept["sysctls"]["net.ipv6.conf.all.forwarding"] == "1"
    assert "net.ipv4.ip_forward" not in kept["sysctls"]
    rules = rendered("pod_network", RULES, tmp_path, **ONE)
    assert f"elements = {{ {PODS}, {SERVICES}, {OWN}, {OTHER} }}" in rules
    assert "table ip kubeproof" not in rules


def test_flannel_has_one_tunnel(tmp_path: Path) -> None:
    given = {**ONE, "pod_network_plugin": "flannel"}
    kept = json.loads(rendered("pod_network", NETWORK, tmp_path, **given))
    assert (kept["tunnel"], kept["tunnel_ipv6"], kept["mtu"]) == ("", "flannel-v6.1", 1430)
    configuration = value("__flannel_configuration", tmp_path, **given)
    assert {name: configuration.get(name) for name in ("Network", "EnableIPv4", "EnableIPv6", "IPv6Network")} == {
        "Network": None,
        "EnableIPv4": False,
        "EnableIPv6": True,
        "IPv6Network": PODS,
    }


def test_the_policy_engine_is_ready_with_rules_of_ipv6(tmp_path: Path) -> None:
    program = rendered("network_policy", "etc/kubernetes/network-policy/ready.py", tmp_path, **ONE)
    compile(program, "ready.py", "exec")
    assert '"ip6tables"' in program
    assert '"iptables"' not in program


def test_no_proxy_is_used_for_the_clusters_addresses(tmp_path: Path) -> None:
    given = {**ONE, "cluster_http_proxy": "http://proxy.example:3128"}
    excepted = value("__cluster_proxy_environment", tmp_path, **given)["no_proxy"].split(",")
    assert {PODS, SERVICES, OWN, OTHER} <= set(excepted)
