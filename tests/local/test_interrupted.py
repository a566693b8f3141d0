"""An installation that is killed, again and again and each time further on, is finished by the next run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from tests.killed_run import kill_in

from kubeproof.core import paths
from kubeproof.install import playbook
from kubeproof.local_hosts import lifecycle
from kubeproof.local_hosts.plan import plan
from kubeproof.settings import inventory, state

pytestmark = [pytest.mark.local, pytest.mark.cluster]

# Tasks in whose middle the run is killed, and how many seconds after their beginning: while files are sent, between the
# making of keys and their certificates, while a component starts, while images are imported, and so on.
POINTS = [
    ("Distribute missing components", 1.0),
    ("Install etcd", 0.3),
    ("Install the API server", 0.6),
    ("Start the API server", 2.0),
    ("Import container images", 0.5),
    ("Install the kubelet", 0.5),
    ("Start the pod network", 0.2),
    ("Apply the CoreDNS manifests", 0.3),
]


@pytest.fixture
def cluster(tmp_path_factory: pytest.TempPathFactory, system: str) -> Iterator[Path]:
    """The inventory of two hosts with nothing on them."""
    path = tmp_path_factory.mktemp("interrupted") / "hosts.yml"
    document = yaml.safe_load((paths.PROJECT / "inventory" / "test" / "hosts.yml").read_text())
    network = {"name": "kubeproof-killed", "subnet": "10.213.250.0/24"}
    document["all"]["vars"] |= {"local_host_network": network, "local_host_system": system}
    document["all"]["children"] = {
        "control_plane": {"hosts": {"cp1": {"ansible_host": "10.213.250.11"}}},
        "etcd": {"hosts": {"cp1": {}}},
        "workers": {"hosts": {"w1": {"ansible_host": "10.213.250.21"}}},
    }
    path.write_text(yaml.safe_dump(document))
    made = plan(inventory.load(path))
    lifecycle.create(made, print)
    yield path
    lifecycle.destroy(made, print)


@pytest.mark.parametrize(
    ("points", "proven"),
    [
        pytest.param(POINTS[2::4], False, id="keys-and-network"),
        pytest.param(POINTS, True, id="all", marks=pytest.mark.slow),
    ],
)
def test_a_killed_installation_is_finished_by_the_next(
    cluster: Path, points: list[tuple[str, float]], proven: bool
) -> None:
    for task, seconds in points:
        kill_in(cluster, "cluster", task, seconds)

    finished = playbook.run("cluster", cluster, cluster.parent / state.NAME)
    assert finished.ok
    again = playbook.run("cluster", cluster, cluster.parent / state.NAME)
    assert again.ok
    assert again.count("changed") == 0
    if proven:
        assert playbook.run("verify", cluster, cluster.parent / state.NAME).ok
