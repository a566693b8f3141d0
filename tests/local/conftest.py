"""Local hosts for the tests: two, on a network of the tests' own."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import yaml
from tests.local.machine import Machine

from kubeproof.core import controller_packages
from kubeproof.local_hosts import lifecycle
from kubeproof.local_hosts import machine as machine_requirements
from kubeproof.local_hosts.plan import Plan, System, plan
from kubeproof.settings import inventory

# With a published port and a way out, so that what these change on the machine is put to the test too.
_OPEN = {"name": "kubeproof-open", "subnet": "10.213.251.0/24", "isolated": False}
_ISOLATED = {"name": "kubeproof-alone", "subnet": "10.213.252.0/24"}


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("kubeproof", "local hosts")
    group.addoption("--system", default=str(System.DEBIAN_12), choices=[*System], help="what the hosts are made with")


@pytest.fixture(scope="session")
def system(pytestconfig: pytest.Config) -> str:
    """What the hosts are made with."""
    return str(pytestconfig.getoption("system"))


@pytest.fixture(scope="session", autouse=True)
def machine_can_carry_hosts() -> None:
    """Root, and what local hosts need."""
    if os.geteuid() != 0:
        pytest.skip("local hosts need root")
    controller_packages.complete_path()
    machine_requirements.require(print)


@pytest.fixture
def machine() -> Machine:
    """The machine as it is before the test."""
    return Machine.look()


@pytest.fixture
def isolated(tmp_path: Path, machine: Machine, system: str) -> Iterator[Plan]:
    """A plan of two hosts that can reach nothing but each other and this machine."""
    yield from _planned(tmp_path, system, _ISOLATED, {})


@pytest.fixture
def connected(tmp_path: Path, machine: Machine, system: str) -> Iterator[Plan]:
    """A plan of two hosts with a way out, and a published port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    yield from _planned(tmp_path, system, _OPEN, {"local_host_ports": [{"port": 22, "published": port}]})


def _planned(
    directory: Path, system: str, network: Mapping[str, object], first: Mapping[str, object]
) -> Iterator[Plan]:
    prefix = str(network["subnet"]).removesuffix("0/24")
    hosts = {"a": {"ansible_host": f"{prefix}11", **first}, "b": {"ansible_host": f"{prefix}12"}}
    path = directory / "hosts.yml"
    variables = {"local_host_network": dict(network), "local_host_system": system}
    path.write_text(yaml.safe_dump({"all": {"vars": variables, "hosts": hosts}}))
    made = plan(inventory.load(path))
    yield made
    lifecycle.destroy(made, print)
