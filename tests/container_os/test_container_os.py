"""Hosts like those of a container OS: installed by a Python that is taken there, proven, and reset."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

import pytest
import yaml
from tests.vm.machines import new_hosts

from kubeproof.core import controller_packages, paths, process
from kubeproof.install import playbook
from kubeproof.local_hosts import machine
from kubeproof.settings import inventory
from kubeproof.settings.inventory import Inventory
from kubeproof.settings.portable_python import DIRECTORY, INTERPRETER
from kubeproof.settings.remote import login, ssh_command
from kubeproof.verify.engine import run as verify
from kubeproof.verify.engine.run import Options

pytestmark = [pytest.mark.local, pytest.mark.cluster]

_SEGMENT = {"name": "kubeproof-container-os-test", "subnet": "10.213.15.0/24"}
# What is there and what runs, but for what systems write by themselves, useradd its backups, and a reset keeps. By the
# shell alone: tests/local/snapshots.py looks by a Python of the host.
_LOOK = r"""
find / -xdev \( -path /proc -o -path /sys -o -path /run -o -path /tmp -o -path /var/tmp -o -path /var/log \
  -o -path /var/cache -o -path /var/lib/systemd -o -path /root -o -path /dev -o -path /var/backups/etcd \) -prune \
  -o -print | grep -v -e '^/etc/\.pwd\.lock$' -e '^/etc/[a-z]*-$' -e '^/var/backups$'
find /var/lib/etcd /var/lib/containerd /var/lib/kubelet -mindepth 1
cut -d: -f1 /etc/passwd /etc/group
systemctl list-units --all --plain --no-legend --type=service,timer,target --state=active | cut -d' ' -f1 |
  grep -v -e '^user' -e '^run-' -e '^session-' -e online -e systemd-tmpfiles-clean
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inventory]:
    """Two hosts with nothing on them."""
    if os.geteuid() != 0:
        pytest.skip("local hosts need root")
    controller_packages.complete_path()
    machine.require(print)
    document = yaml.safe_load((paths.PROJECT / "inventory" / "container-os" / "hosts.yml").read_text())
    ours = str(document["all"]["vars"]["local_host_network"]["subnet"])
    document["all"]["vars"]["local_host_network"] = _SEGMENT
    path = tmp_path_factory.mktemp("container-os") / "hosts.yml"
    path.write_text(yaml.safe_dump(document).replace(ours.removesuffix("0/24"), "10.213.15."))
    with new_hosts(inventory.load(path)) as made:
        yield made


@pytest.fixture(scope="module")
def before(cluster: Inventory) -> dict[str, set[str]]:
    """The hosts as they were made."""
    return {name: _look(cluster, name) for name in cluster.hosts}


def test_they_have_what_a_container_os_has(cluster: Inventory, before: dict[str, set[str]]) -> None:
    for name in cluster.hosts:
        assert _says(cluster, name, "command -v python3 python apt-get dpkg perl || true") == ""
        assert "Read-only file system" in _says(cluster, name, "touch /usr/new 2>&1 || true")
        assert f"{DIRECTORY}/bin" not in before[name]


def test_a_look_ahead_says_what_is_missing_and_leaves_nothing(
    cluster: Inventory, before: dict[str, set[str]], capfd: pytest.CaptureFixture[str]
) -> None:
    assert not _play(cluster, "cluster", "--check").ok
    assert f"it has no Python; a run first puts one into {DIRECTORY}" in capfd.readouterr().out
    assert {name: _look(cluster, name) for name in cluster.hosts} == before


def test_a_directory_below_usr_is_refused(cluster: Inventory, capfd: pytest.CaptureFixture[str]) -> None:
    assert not _play(cluster, "cluster", "--extra-vars", "cluster_bin_directory=/usr/local/bin").ok
    # Lines are wrapped.
    assert "set cluster_bin_directory: /opt/bin for this host" in " ".join(capfd.readouterr().out.split())


def test_it_is_installed_and_a_second_run_changes_nothing(cluster: Inventory, before: dict[str, set[str]]) -> None:
    assert _play(cluster, "cluster").ok
    sent = {name: _says(cluster, name, f"stat -c %Y {DIRECTORY}/.kubeproof") for name in cluster.hosts}
    again = _play(cluster, "cluster")
    assert again.ok
    assert again.count("changed") == 0
    for name, when in sent.items():
        assert _says(cluster, name, f"stat -c %Y {DIRECTORY}/.kubeproof") == when
        assert _says(cluster, name, "head -n 1 /opt/bin/kubeproof-pod-network").startswith(f"#!{INTERPRETER} -I")


def test_it_is_proven(cluster: Inventory, before: dict[str, set[str]]) -> None:
    report = cluster.state / "container-os.json"
    verify.verify(cluster.sources, Options(level="standard", report=str(report)))
    claims = [claim for component in json.loads(report.read_text())["components"] for claim in component["claims"]]
    wrong = {claim["id"]: claim["reason"] for claim in claims if claim["verdict"] in ("refuted", "blocked")}
    assert wrong == {}
    assert next(claim for claim in claims if claim["id"] == "container-os")["verdict"] == "proven"


def test_a_reset_takes_all_of_it_away_and_can_be_repeated(cluster: Inventory, before: dict[str, set[str]]) -> None:
    for _ in range(2):
        assert _play(cluster, "reset", "--extra-vars", "reset_confirmed=true").ok
        for name in cluster.hosts:
            now = _look(cluster, name)
            assert (sorted(now - before[name]), sorted(before[name] - now)) == ([], [])


def _play(cluster: Inventory, name: str, *arguments: str) -> playbook.Run:
    return playbook.run(name, cluster.sources, cluster.state, arguments)


def _says(cluster: Inventory, name: str, command: str) -> str:
    return process.run([*ssh_command(cluster.host(name)), command]).strip()


def _look(cluster: Inventory, name: str) -> set[str]:
    done = login(cluster.host(name)).run(_LOOK)
    return set(done.stdout.splitlines())
