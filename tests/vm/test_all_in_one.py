"""A cluster that is one virtual machine: installed, verified, restarted, verified again. In this order.

On two cores with an emulated machine it takes about three quarters of an hour.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from tests.vm.machines import await_that, new_hosts, on, play, pods, ready, restart, restarts, starts

from kubeproof.core import paths
from kubeproof.settings import inventory
from kubeproof.settings.inventory import Inventory
from kubeproof.verify.engine import run as verify
from kubeproof.verify.engine.run import Options

pytestmark = [pytest.mark.local, pytest.mark.cluster]

NAME = "a1"


def describe() -> dict[str, Any]:
    """The inventory of one machine, in all groups."""
    document: dict[str, Any] = yaml.safe_load((paths.PROJECT / "inventory" / "vm" / "hosts.yml").read_text())
    document["all"]["vars"]["local_host_network"] = {"name": "kubeproof-alone", "subnet": "10.213.13.0/24"}
    # With all of it on two emulated processors an API server takes seconds to answer, and whoever cannot renew a lease
    # within ten ends: eight times in half an hour.
    document["all"]["vars"] |= {"controller_manager_lease_seconds": 120, "scheduler_lease_seconds": 120}
    host = {
        "ansible_host": "10.213.13.11",
        "ansible_user": "root",
        "local_host_kind": "vm",
        "local_host_system": "debian-13",
        "local_host_cpus": 2,
        # The control plane, and all pods of a verification.
        "local_host_memory": "4g",
    }
    document["all"]["children"] = {
        "control_plane": {"hosts": {NAME: host}},
        "etcd": {"hosts": {NAME: None}},
        "workers": {"hosts": {NAME: None}},
    }
    return document


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inventory]:
    """The machine, a new one, in all groups."""
    path = tmp_path_factory.mktemp("alone") / "hosts.yml"
    path.write_text(yaml.safe_dump(describe()))
    with new_hosts(inventory.load(path)) as made:
        yield made


def test_it_is_installed_and_a_second_run_changes_nothing(cluster: Inventory) -> None:
    assert play(cluster).ok
    before = starts(cluster, NAME)
    again = play(cluster)
    assert again.ok
    assert again.count("changed") == 0
    assert starts(cluster, NAME) == before


def test_it_is_proven(cluster: Inventory) -> None:
    assert verify.verify(cluster.sources, Options(level="standard"))


def test_it_comes_back_by_itself(cluster: Inventory) -> None:
    running = pods(cluster, NAME)
    restart(cluster, NAME)
    await_that(lambda: ready(cluster, NAME), "its node is ready")
    await_that(lambda: pods(cluster, NAME) >= running, "its pods run again")
    assert on(cluster, NAME, "systemctl list-units --failed --plain --no-legend") == ""
    assert restarts(cluster, NAME) == {}
    assert verify.verify(cluster.sources, Options(level="quick"))
