"""Clusters that tests break, by saboteurs and by faults: which one, that it may be lost, and a repair at the end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kubeproof.api import kubeconfig
from kubeproof.core.arguments import AppendSource
from kubeproof.core.errors import KubeproofError
from kubeproof.local_hosts.plan import has_local_hosts, plan
from kubeproof.settings import inventory
from kubeproof.settings.inventory import Inventory
from kubeproof.verify.act import workspace
from kubeproof.verify.observe.api import connect
from kubeproof.verify.observe.cluster import Cluster
from kubeproof.verify.observe.hosts import Hosts


def add_options(group: pytest.OptionGroup, default: Path, described_as: str) -> None:
    """Options that say which cluster is broken."""
    group.addoption(
        "--inventory",
        action=AppendSource,
        type=Path,
        default=(default,),
        help=f"whose cluster (default: {described_as})",
    )
    group.addoption(
        "--i-can-lose-this-cluster", action="store_true", help="its hosts are not the local ones; break it anyway"
    )


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


@pytest.fixture(scope="session")
def described(pytestconfig: pytest.Config) -> Inventory:
    """The inventory, of hosts that are there to be broken."""
    try:
        return load(pytestconfig.getoption("inventory"), regardless=pytestconfig.getoption("i_can_lose_this_cluster"))
    except KubeproofError as error:
        pytest.exit(str(error), returncode=pytest.ExitCode.USAGE_ERROR)


@pytest.fixture(scope="session")
def cluster(described: Inventory) -> Iterator[Cluster]:
    """The cluster that is broken."""
    try:
        with opened(described) as found:
            yield found
    except KubeproofError as error:
        pytest.exit(f"nothing could be broken: {error}", returncode=pytest.ExitCode.USAGE_ERROR)
