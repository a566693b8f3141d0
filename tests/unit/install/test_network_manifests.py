"""What becomes of Calico's manifest, and which values Cilium's chart is given."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from kubeproof.core.errors import KubeproofError
from kubeproof.install import network_manifests as made
from kubeproof.install.network_manifests import Network

ONE = Network(("10.244.0.0/16",), mtu=0, api_port=7443, nodes=3)
TWO = Network(("10.244.0.0/16", "fd00:10:244::/56"), mtu=1400, api_port=7443, nodes=1)
# Of the layout of upstream's manifest, what is changed and something beside it.
MANIFEST = r"""
apiVersion: v1
kind: ConfigMap
metadata: {name: calico-config, namespace: kube-system, creationTimestamp: null}
data:
  typha_service_name: none
  calico_backend: bird
  veth_mtu: "0"
  cni_network_config: |-
    {"name": "k8s-pod-network", "cniVersion": "0.3.1", "plugins": [
      {"type": "calico", "nodename": "__KUBERNETES_NODE_NAME__", "mtu": __CNI_MTU__, "ipam": {"type": "calico-ipam"},
       "kubernetes": {"kubeconfig": "__KUBECONFIG_FILEPATH__"}},
      {"type": "portmap", "snat": true, "capabilities": {"portMappings": true}}]}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: calico-node, namespace: kube-system}
spec:
  template:
    spec:
      tolerations: [{effect: NoSchedule, operator: Exists}]
      initContainers:
        - {name: upgrade-ipam, volumeMounts: [{name: host-local-net-dir, mountPath: /var/lib/cni/networks}]}
        - {name: install-cni}
      containers:
        - name: calico-node
          env:
            - {name: DATASTORE_TYPE, value: kubernetes}
            - {name: IP, value: autodetect}
            - {name: CALICO_IPV4POOL_IPIP, value: Always}
            - {name: CALICO_IPV4POOL_VXLAN, value: Never}
            - {name: FELIX_VXLANMTU, valueFrom: {configMapKeyRef: {name: calico-config, key: veth_mtu}}}
            - {name: FELIX_IPV6SUPPORT, value: "false"}
          livenessProbe: {exec: {command: [/bin/calico-node, -felix-live, -bird-live]}}
          readinessProbe: {exec: {command: [/bin/calico-node, -felix-ready, -bird-ready]}}
      volumes:
        - {name: cni-bin-dir, hostPath: {path: /opt/cni/bin}}
        - {name: host-local-net-dir, hostPath: {path: /var/lib/cni/networks}}
"""
DOCUMENTS = list(yaml.safe_load_all(MANIFEST))


def calico(network: Network, way: str, extra: dict[str, Any] | None = None) -> dict[str, Any]:
    """Objects by kind and name."""
    found = made.calico(copy.deepcopy(DOCUMENTS), network, way, extra)
    return {f"{each['kind']}/{each['metadata']['name']}": each for each in found}


def node(objects: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The pod of calico-node, and the environment of its container."""
    pod = objects["DaemonSet/calico-node"]["spec"]["template"]["spec"]
    [container] = pod["containers"]
    names = [each["name"] for each in container["env"]]
    assert len(names) == len(set(names))
    return pod, {each["name"]: each.get("value") for each in container["env"]}


@pytest.mark.parametrize(
    ("way", "backend", "ipip", "vxlan"),
    [("vxlan", "vxlan", "Never", "Always"), ("ipip", "bird", "Always", "Never"), ("none", "bird", "Never", "Never")],
)
def test_each_encapsulation_has_its_backend_pools_and_probes(way: str, backend: str, ipip: str, vxlan: str) -> None:
    objects = calico(ONE, way)
    assert objects["ConfigMap/calico-config"]["data"]["calico_backend"] == backend
    pod, environment = node(objects)
    assert environment["CALICO_IPV4POOL_CIDR"] == "10.244.0.0/16"
    assert (environment["CALICO_IPV4POOL_IPIP"], environment["CALICO_IPV4POOL_VXLAN"]) == (ipip, vxlan)
    [container] = pod["containers"]
    commands = [container[probe]["exec"]["command"] for probe in ("livenessProbe", "readinessProbe")]
    asked = [any(word.startswith("-bird") for word in command) for command in commands]
    assert asked == [backend == "bird"] * 2
    assert all(any(word.startswith("-felix") for word in command) for command in commands)


@pytest.mark.parametrize("dashes", ["-", "--"])
def test_without_bgp_no_probe_asks_for_bird_however_its_option_is_written(dashes: str) -> None:
    # Calico 3.33 has two dashes, and its one program for everything.
    text = MANIFEST.replace("/bin/calico-node, -felix", f"calico, component, node, health, {dashes}felix")
    text = text.replace(" -bird", f" {dashes}bird")
    found = made.calico(list(yaml.safe_load_all(text)), ONE, "vxlan")
    [pod] = [each["spec"]["template"]["spec"] for each in found if each["kind"] == "DaemonSet"]
    [container] = pod["containers"]
    commands = [container[probe]["exec"]["command"] for probe in ("livenessProbe", "readinessProbe")]
    assert [command[-1] for command in commands] == [f"{dashes}felix-live", f"{dashes}felix-ready"]


def test_it_reaches_the_api_by_the_nodes_own_balancer_and_takes_the_nodes_address() -> None:
    objects = calico(ONE, "vxlan")
    assert objects["ConfigMap/kubernetes-services-endpoint"]["data"] == {
        "KUBERNETES_SERVICE_HOST": "127.0.0.1",
        "KUBERNETES_SERVICE_PORT": "7443",
    }
    assert objects["ConfigMap/kubernetes-services-endpoint"]["metadata"]["namespace"] == "kube-system"
    assert node(objects)[1]["IP_AUTODETECTION_METHOD"] == "kubernetes-internal-ip"


def test_what_moves_addresses_of_another_network_is_left_out_and_all_else_stays() -> None:
    pod, environment = node(calico(ONE, "vxlan"))
    assert [each["name"] for each in pod["initContainers"]] == ["install-cni"]
    assert [each["name"] for each in pod["volumes"]] == ["cni-bin-dir"]
    assert pod["tolerations"] == [{"effect": "NoSchedule", "operator": "Exists"}]
    assert environment["DATASTORE_TYPE"] == "kubernetes"


@pytest.mark.parametrize("network", [ONE, TWO])
def test_pods_have_addresses_of_the_clusters_families(network: Network) -> None:
    objects = calico(network, "vxlan")
    environment = node(objects)[1]
    assert environment["FELIX_IPV6SUPPORT"] == str(network.dual).lower()
    assert environment.get("CALICO_IPV6POOL_CIDR") == (network.pods[1] if network.dual else None)
    assert environment["CALICO_IPV6POOL_VXLAN"] == ("Always" if network.dual else "Never")
    data = objects["ConfigMap/calico-config"]["data"]
    assert data["veth_mtu"] == str(network.mtu)
    # As the installer fills it in.
    plugins = json.loads(data["cni_network_config"].replace("__CNI_MTU__", "1450"))["plugins"]
    assert plugins[0]["mtu"] == 1450
    assert plugins[0]["nodename"] == "__KUBERNETES_NODE_NAME__"
    both = {"assign_ipv4": "true", "assign_ipv6": "true"} if network.dual else {}
    assert plugins[0]["ipam"] == {"type": "calico-ipam", **both}
    assert [each["type"] for each in plugins] == ["calico", "portmap"]


@pytest.mark.parametrize("called", [[], ["bandwidth"]])
def test_the_installer_leaves_alone_what_nodes_have_of_the_cni_project(called: list[str]) -> None:
    documents = copy.deepcopy(DOCUMENTS)
    data = documents[0]["data"]
    more = "".join(f', {{"type": "{name}"}}' for name in called)
    data["cni_network_config"] = data["cni_network_config"].rstrip("]}") + "}}" + more + "]}"
    found = made.calico(documents, ONE, "vxlan")
    [pod] = [each["spec"]["template"]["spec"] for each in found if each["kind"] == "DaemonSet"]
    [installer] = pod["initContainers"]
    [skipped] = [each["value"].split(",") for each in installer["env"] if each["name"] == "SKIP_CNI_BINARIES"]
    assert {"bridge", "firewall", "host-local", "loopback", "portmap"} <= set(skipped)
    assert {"flannel", "install", "tuning"} <= set(skipped)
    assert not {"calico", "calico-ipam"} & set(skipped)
    # Programs that the configuration calls, and that nodes have from nobody else.
    assert ("bandwidth" in skipped) == ("bandwidth" not in called)


def test_a_changed_configuration_starts_calicos_pods_anew() -> None:
    def noted(network: Network) -> str:
        template = calico(network, "vxlan")["DaemonSet/calico-node"]["spec"]["template"]
        return str(template["metadata"]["annotations"]["kubeproof.io/config"])

    assert noted(ONE) == noted(ONE)
    # The first is in a ConfigMap of the manifest, the second in one of ours: pods read both when they start.
    assert len({noted(ONE), noted(replace(ONE, mtu=1400)), noted(replace(ONE, api_port=8443))}) == 3


def test_a_changed_configuration_starts_ciliums_pods_anew() -> None:
    values = made.cilium(ONE, "tunnel")
    assert values["rollOutCiliumPods"] is True
    assert [values[each]["rollOutPods"] for each in ("operator", "envoy")] == [True, True]


def test_further_variables_come_last_and_as_texts() -> None:
    extra = {"FELIX_LOGSEVERITYSCREEN": "Warning", "FELIX_PROMETHEUSMETRICSENABLED": True, "FELIX_VXLANPORT": 4790}
    environment = node(calico(ONE, "vxlan", extra))[1]
    assert [environment[name] for name in extra] == ["Warning", "true", "4790"]


@pytest.mark.parametrize("lacks", ["ConfigMap", "DaemonSet"])
def test_another_layout_is_refused(lacks: str) -> None:
    documents = [each for each in copy.deepcopy(DOCUMENTS) if each["kind"] != lacks]
    with pytest.raises(KubeproofError, match=f"laid out in a way that is not known here: no {lacks} calico-"):
        made.calico(documents, ONE, "vxlan")


def test_a_configuration_without_calico_and_what_is_no_object_are_refused() -> None:
    documents = copy.deepcopy(DOCUMENTS)
    documents[0]["data"]["cni_network_config"] = "{}"
    with pytest.raises(KubeproofError, match="no CNI configuration"):
        made.calico(documents, ONE, "vxlan")
    with pytest.raises(KubeproofError, match="no object"):
        made.calico([{"404": "Not Found"}], ONE, "vxlan")


def test_what_only_a_server_says_is_not_applied() -> None:
    [found] = made.rendered([{**DOCUMENTS[0], "status": {}}, None])
    assert "status" not in found
    assert found["metadata"] == {"name": "calico-config", "namespace": "kube-system"}
    hook = {**DOCUMENTS[0], "metadata": {"name": "a", "annotations": {"helm.sh/hook": "post-install"}}}
    assert made.rendered([hook]) == []


@pytest.mark.parametrize("replaces", [True, False])
def test_cilium_serves_services_where_kube_proxy_does_not(replaces: bool) -> None:
    values = made.cilium(Network(("10.244.0.0/16",), 0, 7443, replaces_proxy=replaces, nodes=1), "tunnel")
    assert values["kubeProxyReplacement"] is replaces
    assert (values["k8sServiceHost"], values["k8sServicePort"]) == ("127.0.0.1", 7443)
    # Pods' hostPorts are of the CNI plugin portmap, where Cilium serves nothing on hosts.
    assert values["cni"].get("chainingMode") == (None if replaces else "portmap")
    assert values["operator"]["replicas"] == 1
    assert made.cilium(ONE, "tunnel")["operator"]["replicas"] == 2


def test_cilium_takes_addresses_from_nodes_networks() -> None:
    for network in (ONE, TWO):
        values = made.cilium(network, "tunnel")
        assert values["ipam"] == {"mode": "kubernetes"}
        assert values["k8s"] == {"requireIPv4PodCIDR": True, "requireIPv6PodCIDR": network.dual}
        assert values["ipv6"] == {"enabled": network.dual}
        assert values["MTU"] == network.mtu
        assert (values["routingMode"], values["tunnelProtocol"]) == ("tunnel", "vxlan")
        assert "ipv4NativeRoutingCIDR" not in values


def test_native_routing_of_cilium_names_the_networks_that_it_does_not_translate() -> None:
    values = made.cilium(TWO, "native")
    assert (values["routingMode"], values["autoDirectNodeRoutes"]) == ("native", True)
    assert (values["ipv4NativeRoutingCIDR"], values["ipv6NativeRoutingCIDR"]) == TWO.pods
    assert "ipv6NativeRoutingCIDR" not in made.cilium(ONE, "native")


def test_further_values_are_merged() -> None:
    values = made.cilium(ONE, "tunnel", {"hubble": {"relay": {"enabled": True}}, "operator": {"replicas": 3}})
    assert values["hubble"] == {"enabled": False, "relay": {"enabled": True}}
    assert values["operator"]["replicas"] == 3


def _chart() -> Path | None:
    found = sorted(Path.home().glob("go/pkg/mod/github.com/cilium/cilium@v*/install/kubernetes/cilium/values.yaml"))
    return found[-1] if found else None


@pytest.mark.skipif(_chart() is None, reason="Cilium's module, which has its chart, is not in this machine's Go cache")
@pytest.mark.parametrize("routing", ["tunnel", "native"])
def test_upstreams_chart_has_each_of_these_values(routing: str) -> None:
    path = _chart()
    assert path is not None
    schema = json.loads((path.parent / "values.schema.json").read_text())
    types = {bool: "boolean", int: "integer", str: "string", dict: "object"}

    def check(values: dict[str, Any], known: dict[str, Any], place: str) -> None:
        for name, value in values.items():
            assert name in known.get("properties", {}), f"{place}{name} is no value of the chart"
            found = known["properties"][name]
            wanted = found.get("type", "object")
            assert types[type(value)] in ([wanted] if isinstance(wanted, str) else wanted), f"{place}{name}"
            if isinstance(value, dict):
                check(value, found, f"{place}{name}.")

    check(made.cilium(TWO, routing), schema, "")


@pytest.mark.parametrize(("nftables", "mode"), [(True, "Enabled"), (False, "Disabled")])
def test_calico_makes_its_rules_as_kube_proxy_does(*, nftables: bool, mode: str) -> None:
    _, environment = node(calico(replace(ONE, nftables=nftables), "vxlan"))
    assert environment["FELIX_NFTABLESMODE"] == mode
