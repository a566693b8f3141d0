"""The program's configuration, as the roles ``pod_network``, ``kube-proxy`` and ``network_policy`` write it."""

from __future__ import annotations

import hashlib
import ipaddress
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Mapping, Tuple

from kubeproof.install.pod_network.errors import PodNetworkError

PATH = Path("/etc/kubernetes/pod-network/network.json")
KUBE_PROXY = Path("/etc/kubeproof/kube-proxy.json")
NETWORK_POLICY = Path("/etc/kubeproof/network-policy.json")
HINT = "run playbooks/cluster.yml, it writes the configuration"


@dataclass(frozen=True)
class Configuration:
    """What this node's kernel has to have.

    ``routes``: the gateway to each network. ``protocol``: the number that marks routes as ours; all others are left
    alone. ``rules``: a script for ``nft -f``, which replaces the whole table ``table`` (with ``ipv4`` of family ip, and
    with ``ipv6`` of family ip6). ``sysctls``: value by name. ``network`` and ``plugins``: the name of the CNI network,
    and the directory of its plugins. ``bridge`` and ``mtu``: the bridge to which pods are attached, and its MTU; 0
    leaves that as it is. ``pods``: the node's own pod networks, one of each IP family; pods with addresses of others
    get new sandboxes by ``crictl``.
    ``tunnel``: the device by which flannel reaches other nodes' pods; ``kube_proxy``: address of kube-proxy's metrics,
    ADDRESS:PORT; ``network_policy``: the unit of the network policy engine. Each is empty if there is none.
    ``ipv4`` and ``ipv6``: pods, Services and nodes have addresses of these; ``tunnel_ipv6``: flannel's device for IPv6.
    """

    routes: Mapping[str, str]
    protocol: int
    table: str
    rules: Path
    sysctls: Mapping[str, str]
    network: str
    plugins: Path
    bridge: str = ""
    mtu: int = 0
    tunnel: str = ""
    kube_proxy: str = ""
    network_policy: str = ""
    ipv6: bool = False
    tunnel_ipv6: str = ""
    ipv4: bool = True
    pods: Tuple[str, ...] = ()
    crictl: str = "crictl"

    @classmethod
    def load(
        cls, path: Path = PATH, kube_proxy: Path = KUBE_PROXY, network_policy: Path = NETWORK_POLICY
    ) -> Configuration:
        """Read it. Raises PodNetworkError."""
        given = _read(path)
        try:
            return cls(
                routes=dict(given["routes"]),
                protocol=int(given["protocol"]),
                table=str(given["table"]),
                rules=Path(given["rules"]),
                sysctls=dict(given["sysctls"]),
                network=str(given["network"]),
                plugins=Path(given["plugins"]),
                # A configuration of an earlier version has none of these.
                bridge=str(given.get("bridge", "")),
                mtu=int(given.get("mtu", 0)),
                tunnel=str(given.get("tunnel", "")),
                ipv6=bool(given.get("ipv6", False)),
                tunnel_ipv6=str(given.get("tunnel_ipv6", "")),
                ipv4=bool(given.get("ipv4", True)),
                pods=tuple(str(ipaddress.ip_network(network)) for network in given.get("pods", ())),
                crictl=str(given.get("crictl", "crictl")),
                kube_proxy=str(_read(kube_proxy)["metrics"]) if kube_proxy.exists() else "",
                network_policy=str(_read(network_policy)["unit"]) if network_policy.exists() else "",
            )
        except (KeyError, TypeError, ValueError) as error:
            raise PodNetworkError("%s is not what it should be (%r): %s" % (path, error, HINT)) from None

    def families(self) -> Tuple[str, ...]:
        """The IP families, as tables of nftables have them."""
        known = (("ip", self.ipv4), ("ip6", self.ipv6))
        return tuple(family for family, there in known if there)

    def wanted_rules(self) -> str:
        """A digest of the script. Raises PodNetworkError."""
        try:
            return hashlib.sha256(self.rules.read_bytes()).hexdigest()
        except OSError as error:
            raise PodNetworkError("%s cannot be read (%s): %s" % (self.rules, error.strerror, HINT)) from None


def _read(path: Path) -> Mapping[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise PodNetworkError("%s cannot be read (%s): %s" % (path, error.strerror, HINT)) from None
    except ValueError:
        raise PodNetworkError("%s is not JSON: %s" % (path, HINT)) from None
    if not isinstance(document, dict):
        raise PodNetworkError("%s has no settings: %s" % (path, HINT))
    return document
