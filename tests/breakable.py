"""Clusters that are there to be broken, by saboteurs and by faults."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from kubeproof.api import kubeconfig
from kubeproof.core.errors import KubeproofError
from kubeproof.local_hosts.plan import has_local_hosts, plan
from kubeproof.settings import inventory
from kubeproof.settings.inventory import Inventory
from kubeproof.verify.act import workspace
from kubeproof.verify.observe.api import connect
from kubeproof.verify.observe.cluster import Cluster
from kubeproof.verify.observe.hosts import Hosts


def load(sources: inventory.Sources, *, regardless: bool) -> Inventory:
    """An inventory all of whose hosts are containers of this machine; with ``regardless``, any."""
    cluster = inventory.load(sources)
    local = {host.name for host in plan(cluster).hosts} if has_local_hosts(cluster) else set()
    if not regardless and local != set(cluster.hosts):
        raise KubeproofError(
            f"{cluster.path} is not made of local container hosts only, and what is asked for breaks clusters",
            hint="if nobody needs this one: --i-can-lose-this-cluster",
        )
    return cluster


@contextmanager
def opened(described: Inventory) -> Iterator[Cluster]:
    """The cluster, reachable in all its parts, without what killed verifications left there."""
    accesses = kubeconfig.load_all(described.state / "admin.kubeconfig")
    with connect(*accesses) as api, Hosts(described) as hosts:
        hosts.check()
        workspace.remove_leftovers(api)
        yield Cluster(described, hosts, api)
