"""What users add to a component's configuration is in it, and nothing is different without."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from tests.unit.roles.test_texts import variables

from kubeproof.settings import specs


def rendered(role: str, path: str, directory: Path, **given: object) -> str:
    known = {**variables(directory, texts=False), **given}
    text = (specs.ROLES / role / "templates" / f"{path}.j2").read_text()
    templar = Templar(loader=DataLoader(), variables=known)
    overrides = {"trim_blocks": True, "lstrip_blocks": True}
    return str(templar.template(trust_as_template(text), escape_backslashes=False, overrides=overrides))


def test_further_cni_plugins_come_last(tmp_path: Path) -> None:
    path, known = "etc/cni/net.d/10-kubeproof.conflist", {"__pod_network_of": {"/api/v1/nodes/one": "10.244.0.0/24"}}
    assert len(json.loads(rendered("pod_network", path, tmp_path, **known))["plugins"]) == 2
    tuning = {"type": "tuning", "sysctl": {"net.core.somaxconn": "512"}}
    more = rendered("pod_network", path, tmp_path, **known, pod_network_extra_plugins=[tuning])
    assert [plugin["type"] for plugin in json.loads(more)["plugins"]] == ["bridge", "portmap", "tuning"]


NETWORK = "etc/kubernetes/pod-network/network.json"


@pytest.mark.parametrize(
    ("given", "backend", "tunnel"),
    [
        ({}, {"Type": "vxlan", "VNI": 1, "Port": 8472}, "flannel.1"),
        (
            {"pod_network_flannel_vni": "7", "pod_network_flannel_port": "4789"},
            {"Type": "vxlan", "VNI": 7, "Port": 4789},
            "flannel.7",
        ),
        ({"pod_network_flannel_backend": "host-gw"}, {"Type": "host-gw"}, ""),
    ],
)
def test_flannel_is_given_the_pod_network_and_its_backend(
    given: dict[str, object], backend: dict[str, object], tunnel: str, tmp_path: Path
) -> None:
    known = {**variables(tmp_path, texts=False), "pod_network_plugin": "flannel", **given}
    configuration = Templar(loader=DataLoader(), variables=known).template(known["__flannel_configuration"])
    assert configuration == {"Network": "10.244.0.0/16", "EnableNFTables": False, "Backend": backend}
    kept = json.loads(rendered("pod_network", NETWORK, tmp_path, **{"pod_network_plugin": "flannel", **given}))
    assert (kept["tunnel"], kept["routes"]) == (tunnel, {})


def test_routes_to_peers_are_of_the_plugin_bridge(tmp_path: Path) -> None:
    peers = {"__pod_network_addresses": {"one": "192.0.2.1", "two": "192.0.2.2"}}
    peers |= {"__pod_network_of": {"/api/v1/nodes/one": "10.244.0.0/24", "/api/v1/nodes/two": "10.244.1.0/24"}}
    for plugin, routes in (("bridge", {"10.244.1.0/24": "192.0.2.2"}), ("flannel", {})):
        kept = json.loads(rendered("pod_network", NETWORK, tmp_path, pod_network_plugin=plugin, **peers))
        assert (kept["routes"], kept["pods"]) == (routes, ["10.244.0.0/24"])


def test_flannel_makes_no_rules_and_may_do_little(tmp_path: Path) -> None:
    unit = rendered("flannel", "etc/systemd/system/kube-flannel.service", tmp_path)
    for line in (
        "--ip-masq=false",
        "--iptables-forward-rules=false",
        "--iface=192.0.2.1",
        "NODE_NAME=one",
        "User=flannel",
    ):
        assert line in unit
    role, binding, policy, bound = yaml.safe_load_all(rendered("flannel", "access.yaml", tmp_path))
    assert {(tuple(rule["resources"]), tuple(rule["verbs"])) for rule in role["rules"]} == {
        (("nodes",), ("get", "list", "watch")),
        (("nodes/status",), ("patch",)),
    }
    assert binding["subjects"] == [
        {"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "kubeproof:flannel"}
    ]
    assert policy["spec"]["validations"][0]["expression"] == (
        "request.userInfo.username == 'kubeproof:flannel:' + object.metadata.name"
    )
    assert bound["spec"] == {"policyName": policy["metadata"]["name"], "validationActions": ["Deny"]}


@pytest.mark.parametrize(
    ("role", "path", "setting"),
    [
        ("balancer", "etc/kubernetes/balancer/haproxy.cfg", "balancer_extra_config"),
        ("keepalived", "etc/kubernetes/keepalived/keepalived.conf", "keepalived_extra_config"),
    ],
)
def test_further_sections_come_last(role: str, path: str, setting: str, tmp_path: Path) -> None:
    known = {"cluster_virtual_address": "192.0.2.9", "__keepalived_interface": "eth0", "__keepalived_priority": 1}
    before = rendered(role, path, tmp_path, **known)
    assert before == before.rstrip() + "\n"
    more = rendered(role, path, tmp_path, **known, **{setting: "section\n    line\n"})
    assert more == f"{before}\nsection\n    line\n"


def test_further_server_blocks_are_in_the_corefile(tmp_path: Path) -> None:
    block = "example.org:53 {\n    forward . 192.0.2.53\n}\n"
    (before,), (after,) = (
        [
            document["data"]["Corefile"]
            for document in yaml.safe_load_all(rendered("dns", "coredns.yaml", tmp_path, dns_extra_config=given))
            if document["kind"] == "ConfigMap"
        ]
        for given in ("", block)
    )
    assert after == before + block


def corefile(directory: Path, **given: object) -> str:
    documents = yaml.safe_load_all(rendered("dns", "coredns.yaml", directory, **given))
    return next(str(each["data"]["Corefile"]) for each in documents if each["kind"] == "ConfigMap")


def blocks(text: str) -> dict[str, list[str]]:
    """The lines of each server block."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        if line.endswith("{") and not line.startswith(" "):
            zone = line.removesuffix(" {")
            found[zone] = []
        elif line != "}":
            found[zone].append(line.strip())
    return found


def test_the_cluster_s_dns_asks_the_node_s_resolvers_if_no_others_are_given(tmp_path: Path) -> None:
    found = blocks(corefile(tmp_path))
    assert list(found) == [".:53"]
    assert "forward . /etc/resolv.conf {" in found[".:53"]
    assert "cache 30" in found[".:53"]
    assert not any(line.startswith(("hosts", "autopath")) for line in found[".:53"])


def test_forwarders_stub_domains_and_hosts_are_in_the_corefile(tmp_path: Path) -> None:
    text = corefile(
        tmp_path,
        dns_forwarders=["192.0.2.53", "192.0.2.54:5353"],
        dns_stub_domains={"Corp.Example.": ["198.51.100.53"]},
        dns_hosts={"registry.example": "203.0.113.5", "db.corp.example": ["203.0.113.6", "2001:db8::6"]},
        dns_cache_seconds="10",
        dns_stale_seconds=60,
    )
    found = blocks(text)
    assert list(found) == [".:53", "corp.example:53"]
    everything, stub = found[".:53"], found["corp.example:53"]
    assert "forward . 192.0.2.53 192.0.2.54:5353 {" in everything
    assert "forward . 198.51.100.53 {" in stub
    assert "203.0.113.5 registry.example" in everything
    assert stub[2:4] == ["203.0.113.6 db.corp.example", "2001:db8::6 db.corp.example"]
    for lines in (everything, stub):
        assert {"cache 10 {", "serve_stale 60s", "fallthrough", "loop", "errors"} <= set(lines)
    # Of these a Corefile may have one only.
    assert [line for line in stub if line.startswith(("ready", "health", "reload", "kubernetes"))] == []


def test_nothing_is_cached_that_is_not_to_be(tmp_path: Path) -> None:
    assert "cache" not in corefile(tmp_path, dns_cache_seconds=0)


@pytest.mark.parametrize(("wanted", "expected"), [(0, 2), ("5", 5)])
def test_the_number_of_dns_pods(tmp_path: Path, wanted: object, expected: int) -> None:
    documents = yaml.safe_load_all(rendered("dns", "coredns.yaml", tmp_path, dns_replicas=wanted))
    assert [each["spec"]["replicas"] for each in documents if each["kind"] == "Deployment"] == [expected]


def test_dns_waits_for_as_many_pods_as_there_are_to_be(tmp_path: Path) -> None:
    """And not for the setting: an autoscaler may have set another number."""
    known = variables(tmp_path, texts=False)
    templar = Templar(loader=DataLoader(), variables={**known, "dns_replicas": 7})
    asked = templar.template(known["__nodes_dns"])
    assert [(each["field"], each["as_field"]) for each in asked] == [
        ("status.updatedReplicas", "spec.replicas"),
        ("status.readyReplicas", "spec.replicas"),
        ("status.replicas", "status.updatedReplicas"),
    ]
    assert "7" not in json.dumps(asked)


@pytest.mark.parametrize(("keep", "expected"), [(True, ["spec.replicas"]), ("no", [])])
def test_the_number_of_dns_pods_is_others_to_change(tmp_path: Path, keep: object, expected: list[str]) -> None:
    [task] = yaml.safe_load((specs.ROLES / "dns/tasks/main.yml").read_text())
    templar = Templar(loader=DataLoader(), variables={**variables(tmp_path, texts=False), "dns_keep_replicas": keep})
    assert templar.template(trust_as_template(task["kube_objects"]["keep"])) == expected


@pytest.mark.parametrize("default", [True, "true", False])
def test_local_volumes_are_of_their_class_and_node(tmp_path: Path, default: object) -> None:
    entry = {"name": "data", "hosts": ["one"], "path": "/srv/data", "size": "10Gi"}
    text = rendered(
        "local_volumes",
        "volumes.yaml",
        tmp_path,
        groups={"workers": ["one"]},
        local_volumes_directories=[entry],
        local_volumes_default_class=default,
    )
    storage_class, volume = yaml.safe_load_all(text)
    annotation = storage_class["metadata"]["annotations"]["storageclass.kubernetes.io/is-default-class"]
    assert annotation == str(default).lower()
    assert storage_class["volumeBindingMode"] == "WaitForFirstConsumer"
    spec = volume["spec"]
    assert spec["storageClassName"] == storage_class["metadata"]["name"] == "local"
    assert (spec["local"]["path"], spec["capacity"]["storage"]) == ("/srv/data", "10Gi")
    assert spec["persistentVolumeReclaimPolicy"] == "Retain"
    [[match]] = [term["matchExpressions"] for term in spec["nodeAffinity"]["required"]["nodeSelectorTerms"]]
    assert (match["key"], match["values"]) == ("kubernetes.io/hostname", ["one"])
    assert volume["metadata"]["name"].startswith("data-one-")
