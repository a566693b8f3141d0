"""Debian 13 on both sides: a controller, and local hosts on a network of the tests' own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from tests.debian13 import controller as debian13
from tests.debian13.controller import Controller

from kubeproof.core import controller_packages, paths
from kubeproof.local_hosts import lifecycle, machine
from kubeproof.local_hosts.plan import plan
from kubeproof.settings import inventory

_NETWORK = {"name": "kubeproof-debian13", "subnet": "10.213.13.0/24"}


@pytest.fixture(scope="session")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the inventory is, on the controller too."""
    return tmp_path_factory.mktemp("debian13")


@pytest.fixture(scope="session")
def controller(directory: Path) -> Controller:
    """The controller, with its virtual environments."""
    if os.geteuid() != 0:
        pytest.skip("a Debian in a directory, and local hosts, need root")
    controller_packages.complete_path()
    machine.require(print)
    return debian13.make([directory])


@pytest.fixture(scope="session")
def cluster(directory: Path, controller: Controller) -> Iterator[Path]:
    """The inventory of hosts with nothing on them."""
    path = directory / "hosts.yml"
    document = yaml.safe_load((paths.PROJECT / "inventory" / "test" / "hosts.yml").read_text())
    subnet = str(document["all"]["vars"]["local_host_network"]["subnet"])
    # A virtual address, so that keepalived's configuration is looked at by the version that Debian 13 has.
    variables = {"local_host_system": "debian-13", "cluster_virtual_address": "10.213.13.100"}
    document["all"]["vars"] |= {"local_host_network": _NETWORK, **variables}
    theirs, ours = (text.removesuffix("0/24") for text in (subnet, _NETWORK["subnet"]))
    path.write_text(yaml.safe_dump(document).replace(theirs, ours))
    made = plan(inventory.load(path))
    lifecycle.create(made, print)
    yield path
    lifecycle.destroy(made, print)
