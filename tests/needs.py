"""What claims need of a cluster to be proven, and which of kubeproof's own topologies have it.

The texts are those with which a verification reports a claim as not proven: ``tests/preconditions.py`` finds them in
the code, and each has to be known here.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from tests.topologies import Topology

from kubeproof.settings import families, metallb, runtimes, traefik
from kubeproof.verify.engine.claims import Claim

_FEWEST_MEMBERS = 3
_LONGEST_GRACE_SECONDS = 140
# Pod networks that bring their own routes, policies and rules.
_FOREIGN = ("calico", "cilium", "none")

# Claims that no topology here proves, and why.
UNPROVEN: dict[str, str] = {}


@dataclass(frozen=True)
class Need:
    """Something that not every cluster has. ``said``: parts of the texts of a verification that does not find it."""

    text: str
    met: Callable[[Topology], bool]
    said: tuple[str, ...]


# In the order in which they are listed.
NEEDS: tuple[Need, ...] = (
    Need(
        "two control-plane hosts",
        lambda at: len(at.group("control_plane")) > 1,
        ("it takes a second control-plane host",),
    ),
    Need(
        "three etcd members",
        lambda at: len(at.group("etcd")) >= _FEWEST_MEMBERS,
        ("etcd members, there are",),
    ),
    Need(
        "etcd apart from the control plane",
        lambda at: at.group("etcd").isdisjoint(at.group("control_plane")),
        ("etcd shares hosts with the control plane",),
    ),
    Need(
        "an API server's program on an etcd host",
        lambda at: not at.group("etcd").isdisjoint(at.group("control_plane")),
        ("no host of etcd has an API server",),
    ),
    Need(
        "two nodes",
        lambda at: len(at.nodes) > 1,
        (
            "it takes two nodes to tell",
            "it takes a second node to see one join",
            "no pod with an HTTP readiness probe is ready on another node",
        ),
    ),
    Need(
        "two workers",
        lambda at: len(at.group("workers")) > 1,
        ("so that there is no choice", "what runs on it can run nowhere else"),
    ),
    Need(
        # tests/architecture/outage.py looks at what follows, within the time of a disruption.
        "`controller_manager_node_grace_seconds` of 140 at most",
        lambda at: at.settings["controller_manager_node_grace_seconds"] <= _LONGEST_GRACE_SECONDS,
        ("controller_manager_node_grace_seconds is",),
    ),
    Need(
        "a worker that is nothing else, and another node",
        lambda at: bool(at.group("workers") - at.group("control_plane") - at.group("etcd")) and len(at.nodes) > 1,
        ("no node can die without taking",),
    ),
    Need(
        "a control-plane host that is no worker",
        lambda at: not at.group("control_plane") <= at.group("workers"),
        ("no node is tainted",),
    ),
    Need(
        "containerd as `container_runtime`",
        lambda at: at.settings["container_runtime"] == "containerd",
        ("in containerd only",),
    ),
    Need("a read-only `/usr`", lambda at: at.read_only, ("whose /usr is read-only",)),
    Need(
        "DNS that asks hosts of the cluster: an isolated segment, or `dns_stub_domains`",
        lambda at: at.isolated,
        ("whose answers are not known here", "is not free for a resolver of the test"),
    ),
    Need(
        "`backup_enabled`",
        lambda at: bool(at.settings["backup_enabled"]),
        ("kubeproof makes no backups here", "kubeproof does not back its etcd up"),
    ),
    Need(
        "`backup_drill_apiserver`",
        lambda at: bool(at.settings["backup_drill_apiserver"]),
        ("drills are done without an API server",),
    ),
    Need(
        "a pod network with kubeproof's own unit",
        lambda at: at.settings["pod_network_plugin"] not in _FOREIGN,
        (
            "the pod network was not installed by kubeproof",
            "routes blocks of addresses",
            "has another pod network than kubeproof's",
            "its pod network is not one of kubeproof's",
        ),
    ),
    Need(
        "networks of two IP families",
        lambda at: len(families.listed(at.settings["cluster_pod_network"])) > 1,
        ("networks of one IP family",),
    ),
    Need("kube-proxy", lambda at: at.settings["kube_proxy_form"] != "none", ("kube_proxy_form is none",)),
    Need(
        "`network_policy_engine`",
        lambda at: at.settings["network_policy_engine"] != "none",
        ("network_policy_engine is none", "its engine is not one of kubeproof's"),
    ),
    Need(
        "`metrics_server_enabled`",
        lambda at: bool(at.settings["metrics_server_enabled"]),
        ("metrics_server_enabled is false",),
    ),
    Need("`metallb_addresses`", lambda at: metallb.on(at.settings), ("metallb_addresses is empty",)),
    Need(
        "IPv4 addresses of them",
        lambda at: any(each.first.version == 4 for each in metallb.ranges(at.settings)),
        ("metallb_addresses has no IPv4 addresses",),
    ),
    Need(
        "`traefik_enabled`, with both providers and a Service that is reached",
        lambda at: (
            traefik.on(at.settings)
            and {"ingress", "gateway"} <= set(at.settings["traefik_providers"])
            and at.settings["traefik_service_type"] != "ClusterIP"
        ),
        ("traefik_enabled is false", "traefik_providers does not have", "Service is of type ClusterIP"),
    ),
    Need(
        "`containerd_runtimes`",
        lambda at: bool(runtimes.handlers(at.settings)),
        ("there is no runtime handler besides containerd's own",),
    ),
    Need(
        "`containerd_runtimes` with another program than runc",
        lambda at: bool(runtimes.others(at.settings)),
        ("names no other program than runc",),
    ),
    # Of the controller.
    Need("helm in the cache", lambda _: True, ("it takes helm",)),
)

CIRCUMSTANCES: tuple[str, ...] = (
    "can be reached",
    "cannot be reached",
    "all call themselves",
    # Users' own.
    "may keep pods apart",
    "no node takes workloads",
    "is cordoned",
    "has an operator's certificate",
    "no pod of the cluster's DNS is ready",
    "the cluster's DNS is no CoreDNS",
    "the API servers write no audit log",
    "whose log is not read here",
    "shows no control groups",
    # Which node answers for an address is MetalLB's choice, of twelve addresses one is a worker's.
    "none is answered for by a node that may die",
    "requests from here do not go by way of",
    # There is no kubectl, which every run fetches.
    "str(error)",
)
"""Texts about what every cluster that kubeproof installs has, unless something is wrong with it."""


def of_texts(said: Collection[str]) -> tuple[Need, ...]:
    """What a claim needs whose tests may say so."""
    return tuple(need for need in NEEDS if any(part in text for text in said for part in need.said))


def proven_on(claim: Claim, needs: Collection[Need], topologies: Collection[Topology]) -> tuple[Topology, ...]:
    """The topologies that have all that a claim needs, and whose verification looks at it."""
    return tuple(at for at in topologies if at.looks_at(claim) and all(need.met(at) for need in needs))
