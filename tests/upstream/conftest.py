"""Clusters for upstream's tests: one for each pod network, made for them, or one that is there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.disaster.local_cluster import LocalCluster

from kubeproof.core import controller_packages, paths
from kubeproof.core.process import interrupt_when_ended
from kubeproof.local_hosts import lifecycle
from kubeproof.local_hosts.plan import plan
from kubeproof.settings import inventory
from kubeproof.settings.inventory import Inventory

_NETWORK = {"name": "kubeproof-upstream", "subnet": "10.213.27.0/24"}
# Two workers each: a policy between nodes is not that on one node.
_CELLS: dict[str, dict[str, Any]] = {
    "netpol-bridge": {"pod_network_plugin": "bridge"},
    "netpol-flannel": {"pod_network_plugin": "flannel"},
}
# Those that are for one test alone, which names them by the marker `on`.
_SPECIAL: dict[str, dict[str, Any]] = {
    # Addresses of the hosts' network that no host has; the tests ask Traefik at ports 80 and 443 of one of them.
    "gateway": {"traefik_enabled": True, "metallb_addresses": ["10.213.27.64/28"]},
}


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("kubeproof", "upstream's tests")
    group.addoption(
        "--cluster",
        type=Path,
        metavar="HOSTS.YML",
        help="the inventory of an installed cluster, which stays as it is, instead of new ones with each pod network",
    )
    group.addoption("--reports", type=Path, help="where reports and logs go (default: pytest's temporary directory)")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "once: on one of the clusters, not on each")
    config.addinivalue_line("markers", "on(name): on the cluster of this name, and on no other")
    interrupt_when_ended()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "cell" in metafunc.fixturenames:
        there = metafunc.config.getoption("cluster")
        # The runtime is the same below each pod network.
        made = list(_CELLS)[:1] if metafunc.definition.get_closest_marker("once") else list(_CELLS)
        if special := metafunc.definition.get_closest_marker("on"):
            made = [special.args[0]]
        metafunc.parametrize("cell", ["netpol-cluster"] if there else made, indirect=True, scope="session")


@pytest.fixture(scope="session")
def cell(
    request: pytest.FixtureRequest, pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Inventory]:
    """The inventory of a cluster that is installed."""
    controller_packages.complete_path()
    given: Path | None = pytestconfig.getoption("cluster")
    if given:
        yield inventory.load(given)
        return
    if os.geteuid() != 0:
        pytest.skip("local hosts need root")
    path = tmp_path_factory.mktemp(request.param) / "hosts.yml"
    path.write_text(_described((_CELLS | _SPECIAL)[request.param]))
    made = LocalCluster(path)
    try:
        made.make_hosts()
        made.play("cluster")
        yield made.inventory
    finally:
        lifecycle.destroy(plan(inventory.load(path)), print)


@pytest.fixture
def reports(request: pytest.FixtureRequest, pytestconfig: pytest.Config, tmp_path: Path) -> Path:
    """Where a run's report and log go."""
    given: Path | None = pytestconfig.getoption("reports")
    directory = given / request.node.callspec.id if given else tmp_path
    directory.mkdir(parents=True, exist_ok=True)
    # A report of an earlier run must not be taken for that of this one.
    for former in directory.glob("junit_*.xml"):
        former.unlink()
    return directory.resolve()


def _described(settings: dict[str, Any]) -> str:
    document = yaml.safe_load((paths.PROJECT / "inventory" / "test" / "hosts.yml").read_text())
    subnet = str(document["all"]["vars"]["local_host_network"]["subnet"])
    document["all"]["vars"] |= {"local_host_network": _NETWORK, **settings}
    text: str = yaml.safe_dump(document)
    return text.replace(subnet.rsplit(".", 1)[0] + ".", _NETWORK["subnet"].rsplit(".", 1)[0] + ".")
