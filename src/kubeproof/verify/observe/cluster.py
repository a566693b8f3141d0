"""The cluster that is looked at: its API, its nodes, its hosts, and the few settings that neither of them tells."""

from __future__ import annotations

import dataclasses
import functools
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kubeproof.api.kubeconfig import Access
from kubeproof.components.lock import Lock
from kubeproof.components.pins import MACHINES
from kubeproof.core import waiting
from kubeproof.core.errors import KubeproofError
from kubeproof.settings import runtimes
from kubeproof.settings.inventory import Inventory
from kubeproof.settings.resolve import Settings
from kubeproof.settings.urls import in_url
from kubeproof.verify.observe import etcd
from kubeproof.verify.observe.api import Api, NotObserved
from kubeproof.verify.observe.etcd import Etcd
from kubeproof.verify.observe.hosts import Host, Hosts, NotObservable
from kubeproof.verify.observe.objects import Object, name

TEST_IMAGE = "agnhost"
# An API server renews its lease, and says its address with it, every ten seconds.
_LISTED_SECONDS = 30.0


@dataclass(frozen=True)
class Node:
    """A node of the cluster and the host of the inventory that it is."""

    name: str
    address: str
    networks: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]
    kubelet_port: int
    host: Host
    item: Object

    @property
    def addresses(self) -> tuple[str, ...]:
        """Its addresses, of each IP family that the cluster has; the first is ``address``."""
        return tuple(each["address"] for each in self.item["status"]["addresses"] if each["type"] == "InternalIP")

    @property
    def control_plane(self) -> bool:
        """Whether it is a host of the control plane."""
        return "control_plane" in self.host.groups

    @property
    def expendable(self) -> bool:
        """Whether it can die and take neither an API server nor an etcd member along."""
        return self.host.groups.isdisjoint(("control_plane", "etcd"))

    @property
    def schedulable(self) -> bool:
        """Whether pods come to it that tolerate nothing."""
        return not self.repelled_by

    @property
    def repelled_by(self) -> list[str]:
        """The keys of the taints that keep pods away that tolerate nothing."""
        taints = self.item["spec"].get("taints", [])
        return [taint["key"] for taint in taints if taint["effect"] in {"NoSchedule", "NoExecute"}]


@dataclass(frozen=True)
class ComponentCredentials:
    """Where a component keeps the certificate with which it speaks to the API, on hosts of which group."""

    component: str
    group: str
    cert: str
    key: str


# As kubeproof's roles lay them down.
CA_FILE = "/etc/kubernetes/pki/ca.crt"
CREDENTIALS = tuple(
    ComponentCredentials(
        component, group, f"/etc/kubernetes/{component}/client.crt", f"/etc/kubernetes/{component}/client.key"
    )
    for component, group in (
        ("scheduler", "control_plane"),
        ("controller-manager", "control_plane"),
        ("kubelet", "workers"),
        ("kube-proxy", "workers"),
        ("flannel", "workers"),
        ("network-policy", "workers"),
    )
)


class Cluster:
    """A cluster as an inventory and a kubeconfig describe it."""

    def __init__(self, described: Inventory, hosts: Hosts, api: Api) -> None:
        """Take inventory, hosts and API together; nothing is asked yet."""
        self.inventory = described
        self.hosts = hosts
        self.api = api

    @functools.cached_property
    def settings(self) -> Mapping[str, Any]:
        """Settings that can't be asked of the cluster itself."""
        return Settings(self.inventory.representative)

    @property
    def runtime(self) -> str:
        """The nodes' container runtime, which is also its unit's name."""
        return runtimes.chosen(self.settings)

    def require_containerd(self, what: str) -> None:
        """Raises NotObservable where nodes have another runtime. ``what`` is looked at in containerd only."""
        if self.runtime != runtimes.CONTAINERD:
            raise NotObservable(f"the container runtime is {runtimes.NAMES[self.runtime]}: {what} in containerd only")

    @functools.cached_property
    def nodes_found(self) -> tuple[Node, ...]:
        """The nodes whose hosts can be reached, in the inventory's order; maybe none."""
        found = {node.name: node for node in map(self._node, self.api.items("/api/v1/nodes"))}
        order = [host.name for host in self.hosts.all]
        here = [node for node in found.values() if node.host.name in order]
        return tuple(sorted(here, key=lambda node: order.index(node.host.name)))

    @property
    def nodes(self) -> tuple[Node, ...]:
        """The same, of which there is one at least. Raises NotObservable if not."""
        if not self.nodes_found:
            raise NotObservable("no node of the cluster is on a host that can be reached")
        return self.nodes_found

    @property
    def workers(self) -> tuple[Node, ...]:
        """The nodes that take workloads. Raises NotObservable if none does."""
        found = tuple(node for node in self.nodes if node.schedulable)
        if not found:
            held = (f"{node.name} ({', '.join(node.repelled_by)})" for node in self.nodes)
            raise NotObservable(f"no node takes workloads: {', '.join(held)}")
        return found

    def node(self, wanted: str) -> Node:
        """The node of this name."""
        return next(node for node in self.nodes if node.name == wanted)

    @property
    def control_plane(self) -> tuple[Host, ...]:
        """The hosts of the control plane."""
        return self.hosts.group("control_plane")

    @property
    def etcd_hosts(self) -> tuple[Host, ...]:
        """The hosts of etcd."""
        return self.hosts.group("etcd")

    @functools.cached_property
    def etcd(self) -> Etcd:
        """etcd, asked past the API. Raises NotObservable where kubeproof did not install it."""
        for host in self.etcd_hosts:
            if host.attempt("test -r %s", f"{etcd.PKI}/operator.key")[0] == 0:
                return Etcd(host, int(self.settings["cluster_etcd_port"]))
        raise NotObservable(f"no host of the group etcd has an operator's certificate in {etcd.PKI}")

    def etcd_on(self, host: Host) -> Etcd:
        """The member on one host."""
        return Etcd(host, int(self.settings["cluster_etcd_port"]))

    @functools.cached_property
    def api_servers(self) -> tuple[tuple[str, int], ...]:
        """Address and port of every API server, as the service `kubernetes` has them: one at least.

        Raises NotObserved. After the boot of all of them it is a while until one has renewed its lease.
        """
        limit = self.api.patient(_LISTED_SECONDS)
        found = waiting.until(self._listed_api_servers, limit, pause=0.5)
        if not found:
            raise NotObserved(f"the Service kubernetes has the address of an API server: not within {limit:.0f} s")
        return found

    def each_access(self) -> list[Access]:
        """The access to each API server by itself: behind a load balancer one may differ from the others."""
        urls = [f"https://{in_url(address)}:{port}" for address, port in self.api_servers]
        return [dataclasses.replace(self.api.access, server=url) for url in urls]

    def _listed_api_servers(self) -> tuple[tuple[str, int], ...]:
        slices = self.api.items(
            "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices",
            labelSelector="kubernetes.io/service-name=kubernetes",
        )
        return tuple(
            (address, int(each["ports"][0]["port"]))
            for each in slices
            # None while no API server has renewed its lease.
            for endpoint in each["endpoints"] or []
            for address in endpoint["addresses"]
        )

    def service_address(self, namespace: str, service: str) -> str:
        """The cluster-wide address of a service."""
        return str(self.api.get(f"/api/v1/namespaces/{namespace}/services/{service}")["spec"]["clusterIP"])

    def service_addresses(self, namespace: str, service: str) -> tuple[str, ...]:
        """The same in each IP family that the service has."""
        spec = self.api.get(f"/api/v1/namespaces/{namespace}/services/{service}")["spec"]
        return tuple(spec.get("clusterIPs") or [spec["clusterIP"]])

    def _node(self, item: Object) -> Node:
        address = next(each["address"] for each in item["status"]["addresses"] if each["type"] == "InternalIP")
        for host in (*self.hosts.all, *self.hosts.away):
            if host.name == name(item) or host.address == address:
                spec = item["spec"]
                return Node(
                    name=name(item),
                    address=address,
                    networks=tuple(ipaddress.ip_network(network) for network in spec.get("podCIDRs", [])),
                    kubelet_port=int(item["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"]),
                    host=host,
                    item=item,
                )
        raise KubeproofError(
            f"node {name(item)} at {address} is none of the inventory's hosts", hint="use the inventory of this cluster"
        )


def recorded_image(described: Inventory, nodes: tuple[Node, ...]) -> str:
    """The reference of the test image, as the installation has recorded it."""
    lock = Lock(described.state)
    for node in nodes:
        machine = node.item["status"]["nodeInfo"]["architecture"]
        entry = lock.image(MACHINES.get(machine, machine), TEST_IMAGE)
        if entry:
            return str(entry["reference"])
    raise KubeproofError(
        f"{lock.path} does not say which test image the cluster has",
        hint="give one that is on the nodes or can be pulled by them, with --test-image",
    )
