"""Calico's manifest and the values of Cilium's chart, as this cluster needs them.

What the manifest has: https://docs.tigera.io/calico/latest/getting-started/kubernetes/self-managed-onprem/config-options
and https://docs.tigera.io/calico/latest/networking/ipam/ipv6. Values of the chart: its own ``values.yaml``.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kubeproof.core.errors import KubeproofError

Object = dict[str, Any]

NAMESPACE = "kube-system"
# A host's own load balancer, which is there before any Service is served.
API_HOST = "127.0.0.1"
# Of Calico's CNI configuration, which its installer fills in; one of them stands where JSON has a number.
_PLACEHOLDER = re.compile(r'(?<!")(__[A-Z0-9_]+__)(?!")')
_MARKED = re.compile(r'"@(__[A-Z0-9_]+__)"')
# Of the init container that moves addresses of an earlier network, which no cluster of ours has had.
_UPGRADE, _UPGRADE_VOLUME = "upgrade-ipam", "host-local-net-dir"
# What the image of Calico's installer has besides its own: plugins of the CNI project, of which nodes have those of
# components.yml, and the installer itself. It would copy them over the nodes', and leave the others behind.
_NOT_CALICOS = ("bandwidth", "bridge", "firewall", "flannel", "host-local", "install", "loopback", "portmap", "tuning")
# Of these, what nodes have already (components.yml, cni-plugins).
_THERE = ("bridge", "firewall", "host-local", "loopback", "portmap")
# An upper limit: with three operators or more none does more than with two.
_OPERATORS = 2


@dataclass(frozen=True)
class Network:
    """What a network is asked for. ``pods``: an IPv4 network, or that and an IPv6 network; ``mtu`` 0: found by itself.

    ``api_port``: that of each host's load balancer for the API servers. ``replaces_proxy``: no kube-proxy is installed.
    ``nodes``: how many there are. ``nftables``: whether kube-proxy makes rules of nftables, not of iptables.
    """

    pods: Sequence[str]
    mtu: int
    api_port: int
    replaces_proxy: bool = False
    nodes: int = 1
    nftables: bool = True

    @property
    def dual(self) -> bool:
        """Whether pods have IPv6 addresses too."""
        return len(self.pods) > 1


def calico(
    documents: Iterable[Object], network: Network, encapsulation: str, extra: Mapping[str, Any] | None = None
) -> list[Object]:
    """The objects of Calico's manifest, for ``encapsulation`` vxlan, ipip or none. ``extra``: of calico-node.

    Raises KubeproofError if the manifest is not laid out as those are for which this was written.
    """
    objects = [tidied(document) for document in documents]
    config = _named(objects, "ConfigMap", "calico-config")
    config["data"] |= {
        "calico_backend": "vxlan" if encapsulation == "vxlan" else "bird",
        "veth_mtu": str(network.mtu),
        "cni_network_config": _cni(config["data"].get("cni_network_config", ""), dual=network.dual),
    }
    template = _named(objects, "DaemonSet", "calico-node")["spec"]["template"]
    pod = template["spec"]
    pod["initContainers"] = [each for each in pod.get("initContainers", []) if each["name"] != _UPGRADE]
    pod["volumes"] = [each for each in pod["volumes"] if each["name"] != _UPGRADE_VOLUME]
    # In the same form as what kubeproof has put there, or each run would put it back, and each start undo that.
    called = {each["type"] for each in json.loads(_marked(config["data"]["cni_network_config"]))["plugins"]}
    skipped = [name for name in _NOT_CALICOS if name in _THERE or name not in called]
    _set(_container(pod, "install-cni", "initContainers"), {"SKIP_CNI_BINARIES": ",".join(skipped)})
    container = _container(pod, "calico-node")
    _set(
        container,
        {**_environment(network, encapsulation), **{name: _text(value) for name, value in (extra or {}).items()}},
    )
    if encapsulation == "vxlan":
        # BIRD, which spreads routes by BGP, does not run then.
        for probe in ("livenessProbe", "readinessProbe"):
            command = container[probe]["exec"]["command"]
            container[probe]["exec"]["command"] = [word for word in command if not word.startswith(("-bird", "--bird"))]
    endpoint = {"KUBERNETES_SERVICE_HOST": API_HOST, "KUBERNETES_SERVICE_PORT": str(network.api_port)}
    # Pods read both when they start: when one changes, they are replaced.
    noted = hashlib.sha256(json.dumps([config["data"], endpoint], sort_keys=True).encode()).hexdigest()
    template.setdefault("metadata", {}).setdefault("annotations", {})["kubeproof.io/config"] = noted
    return [*objects, _config_map("kubernetes-services-endpoint", endpoint)]


def _environment(network: Network, encapsulation: str) -> dict[str, str]:
    found = {
        "IP": "autodetect",
        # The address that the kubelet gives, which is cluster_host_address.
        "IP_AUTODETECTION_METHOD": "kubernetes-internal-ip",
        "CALICO_IPV4POOL_CIDR": network.pods[0],
        "CALICO_IPV4POOL_IPIP": "Always" if encapsulation == "ipip" else "Never",
        "CALICO_IPV4POOL_VXLAN": "Always" if encapsulation == "vxlan" else "Never",
        "CALICO_IPV6POOL_VXLAN": "Always" if encapsulation == "vxlan" and network.dual else "Never",
        "FELIX_IPV6SUPPORT": str(network.dual).lower(),
        # Both must make rules of one kind, says https://docs.tigera.io/calico/latest/getting-started/kubernetes/nftables;
        # left to itself, calico-node would guess kube-proxy's from what rules are there when it starts.
        "FELIX_NFTABLESMODE": "Enabled" if network.nftables else "Disabled",
    }
    if network.dual:
        found |= {
            "IP6": "autodetect",
            "IP6_AUTODETECTION_METHOD": "kubernetes-internal-ip",
            "CALICO_IPV6POOL_CIDR": network.pods[1],
            "CALICO_IPV6POOL_NAT_OUTGOING": "true",
        }
    return found


def _cni(text: str, *, dual: bool) -> str:
    """The CNI configuration with addresses of both families, if there are two."""
    try:
        document = json.loads(_marked(text))
        plugin = next(each for each in document["plugins"] if each["type"] == "calico")
        ipam = plugin["ipam"]
    except (ValueError, KeyError, TypeError, StopIteration):
        raise _unknown("no CNI configuration with the plugin calico in ConfigMap calico-config") from None
    if dual:
        plugin["ipam"] = {**ipam, "assign_ipv4": "true", "assign_ipv6": "true"}
    return _MARKED.sub(r"\1", json.dumps(document, indent=2))


def _marked(text: str) -> str:
    """A CNI configuration with its placeholders as JSON has them."""
    return _PLACEHOLDER.sub(r'"@\1"', text)


def cilium(network: Network, routing: str, extra: Mapping[str, Any] | None = None) -> Object:
    """Values for Cilium's chart, for ``routing`` tunnel or native. ``extra`` is merged over them."""
    values: Object = {
        "kubeProxyReplacement": network.replaces_proxy,
        "k8sServiceHost": API_HOST,
        "k8sServicePort": network.api_port,
        # From each node's spec.podCIDRs, as with the networks of kubeproof's own.
        "ipam": {"mode": "kubernetes"},
        "k8s": {"requireIPv4PodCIDR": True, "requireIPv6PodCIDR": network.dual},
        "ipv4": {"enabled": True},
        "ipv6": {"enabled": network.dual},
        "enableIPv4Masquerade": True,
        "enableIPv6Masquerade": network.dual,
        "MTU": network.mtu,
        "cni": {
            "confPath": "/etc/cni/net.d",
            "binPath": "/opt/cni/bin",
            # Ports of pods on their host: Cilium leads them to pods only where it replaces kube-proxy.
            **({} if network.replaces_proxy else {"chainingMode": "portmap"}),
        },
        # Each rendering would make other certificates for it.
        "hubble": {"enabled": False},
        # No two of them are on one node.
        "operator": {"replicas": min(network.nodes, _OPERATORS), "rollOutPods": True},
        # Pods read their ConfigMaps when they start: when one changes, they are replaced.
        "rollOutCiliumPods": True,
        "envoy": {"rollOutPods": True},
    }
    if routing == "tunnel":
        values |= {"routingMode": "tunnel", "tunnelProtocol": "vxlan"}
    else:
        values |= {
            "routingMode": "native",
            "autoDirectNodeRoutes": True,
            "ipv4NativeRoutingCIDR": network.pods[0],
            **({"ipv6NativeRoutingCIDR": network.pods[1]} if network.dual else {}),
        }
    return merged(values, extra or {})


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> Object:
    """Both, one into the other; of what both have, what is no mapping is that of ``over``."""
    found = dict(base)
    for name, value in over.items():
        both = isinstance(value, Mapping) and isinstance(found.get(name), Mapping)
        found[name] = merged(found[name], value) if both else value
    return found


def rendered(documents: Iterable[Any]) -> list[Object]:
    """The objects of a chart's output, without hooks, which only Helm runs."""
    objects = [tidied(document) for document in documents if document]
    return [each for each in objects if "helm.sh/hook" not in (each["metadata"].get("annotations") or {})]


def tidied(document: Any) -> Object:
    """An object without what only a server says of it. Raises KubeproofError if it is none."""
    if not isinstance(document, Mapping) or not {"apiVersion", "kind", "metadata"} <= document.keys():
        raise _unknown("a document that is no object of Kubernetes")
    found = {name: value for name, value in document.items() if name != "status"}
    metadata = {name: value for name, value in document["metadata"].items() if name != "creationTimestamp"}
    return json.loads(json.dumps({**found, "metadata": metadata}))  # type: ignore[no-any-return]


def _named(objects: Iterable[Object], kind: str, name: str) -> Object:
    for each in objects:
        if each["kind"] == kind and each["metadata"]["name"] == name:
            return each
    raise _unknown(f"no {kind} {name}")


def _container(pod: Object, name: str, kind: str = "containers") -> Object:
    for each in pod.get(kind, []):
        if each["name"] == name:
            return each  # type: ignore[no-any-return]
    raise _unknown(f"no container {name}")


def _set(container: Object, wanted: Mapping[str, str]) -> None:
    """Set variables of a container, those that it has at their place."""
    rest = dict(wanted)
    listed = [
        {"name": each["name"], "value": rest.pop(each["name"])} if each["name"] in rest else each
        for each in container.get("env", [])
    ]
    container["env"] = [*listed, *({"name": name, "value": value} for name, value in rest.items())]


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _config_map(name: str, data: Mapping[str, str]) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "data": dict(data),
    }


def _unknown(lacks: str) -> KubeproofError:
    return KubeproofError(
        f"the pod network's manifest is laid out in a way that is not known here: {lacks}",
        hint="choose the version that components/components.yml has, or set pod_network_plugin to none and install it",
    )
