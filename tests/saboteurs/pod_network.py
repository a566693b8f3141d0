"""What makes the claims about the pod network false."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack

from tests.saboteurs.framework.mutations import changed_file, demand_own_network, done, rules, running, stopped
from tests.saboteurs.framework.registry import saboteur

from kubeproof.settings import families
from kubeproof.verify.act.disruption import undone
from kubeproof.verify.act.pods import is_ready
from kubeproof.verify.observe.cluster import Cluster, Node
from kubeproof.verify.observe.hosts import NotObservable

_CNI_CONFIG = "/etc/cni/net.d/10-kubeproof.conflist"
_UNIT = "kube-pod-network"
_OTHER_BRIDGE = "kubeproof-other"
_OTHER_NETWORKS = {4: "10.244.99.0/24", 6: "fd00:10:244:99::/64"}
# What a pod sends to itself is dropped from the moment on that its network is there, until this is stopped.
_DEAFEN = """
trap 'for space in /run/netns/cni-*; do nsenter --net=$space nft delete table inet deaf; done; exit' TERM
while :; do
  for space in /run/netns/cni-*; do
    nsenter --net=$space nft list table inet deaf >/dev/null 2>&1 || nsenter --net=$space nft '
      add table inet deaf
      add chain inet deaf arriving { type filter hook input priority -300; }
      add rule inet deaf arriving iif lo drop
    '
  done
  sleep 0.1
done
"""


@saboteur(
    "pod-own-ip",
    breaks="A node puts its own address in the place of the sender's",
    says="the server sees .*, the client is",
)
def senders_masqueraded(cluster: Cluster) -> Iterator[None]:
    demand_own_network(cluster)
    masquerade = 'chain leaving { type nat hook postrouting priority srcnat; oifname "cni0" masquerade; }'
    node = cluster.workers[-1]
    with rules(node.host, masquerade, family=_table_families(node)[0]):
        yield


@saboteur(
    "pod-own-ip",
    breaks="A node has no route to another node's pods",
    says="nothing passes|is not reached",
)
def route_missing(cluster: Cluster) -> Iterator[None]:
    demand_own_network(cluster)
    here, there = cluster.workers[0], cluster.workers[-1]
    network = str(there.networks[0])
    ip = _ip(network)
    route = here.host.run(f"{ip} route show exact %s", network).strip()
    # Who would put it back is not there.
    with (
        stopped(here.host, _UNIT),
        done(here.host, f"{ip} route delete {network}", f"{ip} route replace {route}"),
    ):
        yield


@saboteur(
    "pod-routes",
    breaks="A node has lost its routes, and nothing puts them back",
    says="has no route to the pods of",
)
def routes_lost(cluster: Cluster) -> Iterator[None]:
    demand_own_network(cluster)
    here = cluster.workers[0]
    networks = [str(network) for node in cluster.nodes if node is not here for network in node.networks]
    routes = [here.host.run(f"{_ip(network)} route show exact %s", network).strip() for network in networks]
    # Who would put them back is not there. Those of flannel it would not put back at its next start: it has not seen
    # them, and flannel writes them only when that starts.
    with ExitStack() as undo:
        undo.enter_context(stopped(here.host, _UNIT))
        for network, route in zip(networks, routes, strict=True):
            ip = _ip(network)
            undo.enter_context(done(here.host, f"{ip} route delete {network}", f"{ip} route replace {route}"))
        yield


@saboteur(
    "pod-routes",
    breaks="A node has lost the rules that translate its pods' addresses, and nothing puts them back",
    says="has no rule that translates what its pods",
)
def translation_lost(cluster: Cluster) -> Iterator[None]:
    demand_own_network(cluster)
    node = cluster.workers[-1]
    with stopped(node.host, _UNIT):
        node.host.run(f"nft delete table {_table_families(node)[0]} kubeproof")
        yield


@saboteur(
    "pod-crosses-nodes",
    breaks="A node's firewall drops whatever it is to pass on to its pods",
    says="does not reach",
    quick=True,
)
def forwarding_dropped(cluster: Cluster) -> Iterator[None]:
    demand_own_network(cluster)
    # The claim asks pods that are there, and so sees nothing of a node that has none.
    pods = cluster.api.items("/api/v1/namespaces/kube-system/pods", labelSelector="k8s-app=kube-dns")
    name = next(pod["spec"]["nodeName"] for pod in pods if is_ready(pod))
    drop = 'chain forwarded { type filter hook forward priority raw; oifname "cni0" drop; }'
    with rules(cluster.node(name).host, drop):
        yield


@saboteur(
    "pod-network-heals",
    breaks="What puts back routes and rules is stopped",
    says="does not have again",
)
def nobody_heals(cluster: Cluster) -> Iterator[None]:
    demand_own_network(cluster)
    with stopped(cluster.workers[-1].host, _UNIT):
        yield


@saboteur(
    "pod-own-ip",
    breaks="A node drops large packets",
    says="bytes do not pass",
)
def large_packets_dropped(cluster: Cluster) -> Iterator[None]:
    drop = "chain forwarded { type filter hook forward priority raw; meta length > 1000 drop; }"
    with rules(cluster.workers[0].host, drop):
        yield


@saboteur(
    "pod-own-ip",
    breaks="A node gives its pods addresses of a network that is not its own",
    says="which is not of the network of",
)
def foreign_addresses(cluster: Cluster) -> Iterator[None]:
    demand_own_network(cluster)
    node = cluster.workers[-1]
    host, other = node.host, _OTHER_NETWORKS[node.networks[0].version]

    def elsewhere(text: str) -> str:
        config = json.loads(text)
        bridge = config["plugins"][0]
        bridge["bridge"], bridge["ipam"]["ranges"] = _OTHER_BRIDGE, [[{"subnet": other}]]
        return json.dumps(config)

    with (
        undone(host, f"ip link delete {_OTHER_BRIDGE} 2>/dev/null || true"),
        changed_file(host, _CNI_CONFIG, elsewhere),
    ):
        yield


@saboteur(
    "pod-own-ip",
    breaks="A node's bridge passes nothing on between its pods",
    says="to neighbour on .* nothing passes",
)
def pods_apart(cluster: Cluster) -> Iterator[None]:
    demand_own_network(cluster)

    def isolated(text: str) -> str:
        config = json.loads(text)
        # Of ports that are made from then on: they reach what is no such port, the node and all that is beyond it.
        config["plugins"][0]["portIsolation"] = True
        return json.dumps(config)

    with changed_file(cluster.nodes[0].host, _CNI_CONFIG, isolated):
        yield


@saboteur(
    "net-dual-stack",
    breaks="A node gives its pods addresses of one IP family only",
    says="has no address of each family",
)
def second_family_forgotten(cluster: Cluster) -> Iterator[None]:
    demand_own_network(cluster)
    node = cluster.workers[-1]
    if len(node.networks) < 2:
        raise NotObservable("it takes networks of two IP families")

    def first_only(text: str) -> str:
        config = json.loads(text)
        ipam = config["plugins"][0]["ipam"]
        ipam["ranges"] = ipam["ranges"][:1]
        return json.dumps(config)

    with changed_file(node.host, _CNI_CONFIG, first_only):
        yield


@saboteur(
    "net-dual-stack",
    breaks="A node drops what its pods send to Services' IPv6 addresses",
    says=r"nobody answers at [0-9a-f]*:\S*:",
)
def second_family_unproxied(cluster: Cluster) -> Iterator[None]:
    services = families.of_family(cluster.settings["cluster_service_network"], 6)
    if not services or len(cluster.workers[-1].networks) < 2:
        raise NotObservable("it takes networks of two IP families")
    if cluster.settings["kube_proxy_form"] == "none":
        raise NotObservable("kube_proxy_form is none: what serves Services may do so ahead of these rules")
    # Rules that were only deleted kube-proxy would write again: with the first Service that is new, or has other pods.
    drop = f"chain arriving {{ type filter hook prerouting priority raw; ip6 daddr {services} drop; }}"
    with rules(cluster.workers[-1].host, drop):
        yield


@saboteur(
    "pod-shared-net",
    breaks="What containers of a pod send each other is dropped",
    says="a container does not reach its neighbour",
)
def deaf_neighbours(cluster: Cluster) -> Iterator[None]:
    with running(cluster.nodes[-1].host, _DEAFEN):
        yield


def _ip(network: str) -> str:
    """The program that shows and changes routes to a network."""
    return "ip -6" if ":" in network else "ip"


def _table_families(node: Node) -> list[str]:
    """nftables' names of the IP families of a node's pods, the first one first."""
    return ["ip6" if network.version == 6 else "ip" for network in node.networks]
