"""What makes the claims about the pod network false."""

from __future__ import annotations

import json
from collections.abc import Iterator

from kubeproof.verify import runtime
from kubeproof.verify.cluster import Cluster
from kubeproof.verify.disruption import undone
from kubeproof.verify.objects import Object
from kubeproof.verify.sabotage import saboteur
from kubeproof.verify.tampering import changed_file, done, meddling, rules, verifications_pods

_CNI_CONFIG = "/etc/cni/net.d/10-kubeproof.conflist"
_OTHER_BRIDGE = "kubeproof-other"
_OTHER_NETWORK = "10.244.99.0/24"
_DEAF = """
table inet deaf {
  chain arriving { type filter hook input priority raw; iif lo drop; }
}
"""


@saboteur(
    "pod-own-ip",
    breaks="A node puts its own address in the place of the sender's",
    says="the server sees .*, the client is",
    quick=True,
)
def senders_masqueraded(lab: Cluster) -> Iterator[None]:
    masquerade = 'chain leaving { type nat hook postrouting priority srcnat; oifname "cni0" masquerade; }'
    with rules(lab.workers[-1].host, masquerade, family="ip"):
        yield


@saboteur(
    "pod-own-ip",
    breaks="A node has no route to another node's pods",
    says="nothing passes|is not reached",
)
def route_missing(lab: Cluster) -> Iterator[None]:
    here, there = lab.workers[0], lab.workers[-1]
    network = str(there.networks[0])
    route = here.host.run("ip route show exact %s", network).strip()
    with done(here.host, f"ip route delete {network}", f"ip route replace {route}"):
        yield


@saboteur(
    "pod-own-ip",
    breaks="A node drops large packets",
    says="bytes do not pass",
)
def large_packets_dropped(lab: Cluster) -> Iterator[None]:
    drop = "chain forwarded { type filter hook forward priority raw; meta length > 1000 drop; }"
    with rules(lab.workers[0].host, drop):
        yield


@saboteur(
    "pod-own-ip",
    breaks="A node gives its pods addresses of a network that is not its own",
    says="which is not of the network of",
)
def foreign_addresses(lab: Cluster) -> Iterator[None]:
    host = lab.workers[-1].host

    def elsewhere(text: str) -> str:
        config = json.loads(text)
        bridge = config["plugins"][0]
        bridge["bridge"], bridge["ipam"]["ranges"] = _OTHER_BRIDGE, [[{"subnet": _OTHER_NETWORK}]]
        return json.dumps(config)

    with (
        undone(host, f"ip link delete {_OTHER_BRIDGE} 2>/dev/null || true"),
        changed_file(host, _CNI_CONFIG, elsewhere),
    ):
        yield


@saboteur(
    "pod-shared-net",
    breaks="What containers of a pod send each other is dropped",
    says="a container does not reach its neighbour",
)
def deaf_neighbours(lab: Cluster) -> Iterator[None]:
    def deafen() -> bool:
        shared = [pod for pod in verifications_pods(lab.api) if pod["metadata"]["name"] == "shared"]
        if not shared or "podIP" not in shared[0]["status"]:
            return False
        _in_network_of(lab, shared[0], _DEAF)
        return True

    with meddling(deafen):
        yield


def _in_network_of(lab: Cluster, pod: Object, ruleset: str) -> None:
    """Rules that go with the pod."""
    host = lab.node(pod["spec"]["nodeName"]).host
    process = runtime.process(host, pod["metadata"]["uid"], "second")
    host.run(f"printf %%s %s | nsenter --target {process} --net nft -f -", ruleset)
