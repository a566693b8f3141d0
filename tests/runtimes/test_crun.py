"""Pods in crun beside those in runc, on hosts of Debian 13: installed, installed again, verified, reset. Ten minutes.

Debian 12 has a crun that takes no container of containerd 2, which the preflight refuses.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.disaster.local_cluster import LocalCluster, describe
from tests.local.snapshots import Snapshot, left_by_reset

from kubeproof.core import controller_packages, debian, paths
from kubeproof.local_hosts import lifecycle
from kubeproof.local_hosts.plan import System, plan
from kubeproof.settings.remote import ssh_command
from kubeproof.verify.engine import run as verify
from kubeproof.verify.engine.run import Options

pytestmark = [pytest.mark.local, pytest.mark.cluster]

_HANDLER = "crun"
# In the order of their installation.
_PACKAGES = ("libyajl2", "crun")
_SYSTEM = System.DEBIAN_13
# Empty, and of the program that was there before kubeproof was: crun makes it for itself, until the next boot.
_OF_CRUN = ": new: /run/crun drwx------"
PROVEN = {"runtime-handlers", "runtime-choice"}


def describe_crun() -> dict[str, Any]:
    """The inventory."""
    settings: dict[str, Any] = {
        "local_host_system": str(_SYSTEM),
        "containerd_runtimes": [{"name": _HANDLER, "type": "runc", "options": {"BinaryName": "/usr/bin/crun"}}],
    }
    return describe("kubeproof-crun", "10.213.14.0/24", {"cp1": 11}, {"w1": 21}, **settings)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """New hosts with crun."""
    controller_packages.complete_path()
    path = tmp_path_factory.mktemp("crun") / "hosts.yml"
    path.write_text(yaml.safe_dump(describe_crun()))
    made = LocalCluster(path)
    try:
        made.make_hosts()
        for name in made.inventory.hosts:
            for package in _packages():
                _install(made, name, package)
        yield made
    finally:
        lifecycle.destroy(plan(made.inventory), print)


def test_pods_run_in_crun(cluster: LocalCluster) -> None:
    before = _look(cluster)
    cluster.play("cluster")
    assert cluster.play("cluster").count("changed") == 0
    report = cluster.inventory.state / "crun.json"
    verify.verify(cluster.inventory.sources, Options(report=str(report)))
    claims = [claim for component in json.loads(report.read_text())["components"] for claim in component["claims"]]
    verdicts = {claim["id"]: claim["verdict"] for claim in claims}
    wrong = {claim["id"]: claim["reason"] for claim in claims if claim["verdict"] in ("refuted", "blocked")}
    assert wrong == {}
    assert {verdicts[name] for name in PROVEN} == {"proven"}
    cluster.play("reset", reset_confirmed=True)
    left = [each for each in left_by_reset(before, _look(cluster)) if not each.endswith(_OF_CRUN)]
    assert left == []


def _look(cluster: LocalCluster) -> dict[str, Snapshot]:
    return {name: Snapshot.take(host) for name, host in cluster.inventory.hosts.items()}


def _packages() -> list[Path]:
    """Those of Debian, in the cache."""
    cache = paths.cache_directory()
    debian.download(_SYSTEM.suite, _PACKAGES[-1:], cache)
    directory = debian.packages_directory(cache, _SYSTEM.suite)
    return [next(directory.glob(f"{name}_*.deb")) for name in _PACKAGES]


def _install(cluster: LocalCluster, host: str, package: Path) -> None:
    command = "cat > /tmp/package.deb && dpkg --install /tmp/package.deb > /dev/null"
    subprocess.run([*ssh_command(cluster.inventory.host(host)), command], input=package.read_bytes(), check=True)
