"""A cluster that the tests may lose: three control-plane hosts with etcd, two workers, on a network of their own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from tests.disaster.local_cluster import LocalCluster

from kubeproof.core import controller_packages, paths
from kubeproof.local_hosts import lifecycle
from kubeproof.local_hosts.plan import plan
from kubeproof.settings import inventory

_NETWORK = {"name": "kubeproof-disaster", "subnet": "10.213.24.0/24"}
# Copies of backups go to a worker, which no test loses.
_TARGET = {
    "name": "far",
    "type": "rsync",
    "host": "10.213.24.21",
    "user": "copies",
    "path": "/srv/copies",
    "known_hosts": "{{ lookup('ansible.builtin.file', inventory_dir ~ '/.kubeproof/ssh/known_hosts') }}",
}


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("kubeproof", "disasters")
    group.addoption(
        "--directory",
        type=Path,
        help="where the inventory is, or is made, and stays with its cluster (default: one of the tests', removed "
        "at the end)",
    )


@pytest.fixture(scope="session")
def cluster(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """The cluster, installed, with something running in it."""
    if os.geteuid() != 0:
        pytest.skip("local hosts need root")
    controller_packages.complete_path()
    given: Path | None = pytestconfig.getoption("directory")
    directory = given or tmp_path_factory.mktemp("disaster")
    path = directory / "hosts.yml"
    if not path.exists():
        directory.mkdir(parents=True, exist_ok=True)
        path.write_text(_described())
    try:
        made = LocalCluster(path)
        made.install()
        made.fill()
        yield made
    finally:
        if not given:
            lifecycle.destroy(plan(inventory.load(path)), print)


def _described() -> str:
    document = yaml.safe_load((paths.PROJECT / "inventory" / "ha" / "hosts.yml").read_text())
    subnet = str(document["all"]["vars"]["local_host_network"]["subnet"])
    document["all"]["vars"] |= {"local_host_network": _NETWORK, "backup_targets": [_TARGET]}
    text: str = yaml.safe_dump(document)
    return text.replace(subnet.rsplit(".", 1)[0] + ".", _NETWORK["subnet"].rsplit(".", 1)[0] + ".")
