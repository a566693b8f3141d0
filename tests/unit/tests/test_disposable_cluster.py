"""Whose clusters may be broken."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests import disposable_cluster

from kubeproof.core import paths
from kubeproof.core.errors import KubeproofError

FOREIGN = "all:\n  children:\n    etcd: {hosts: {a: {ansible_host: 192.0.2.1}}}\n    control_plane: {hosts: {a: }}\n"


def test_local_hosts_are_there_to_be_broken() -> None:
    assert disposable_cluster.load(paths.PROJECT / "inventory" / "ha" / "hosts.yml", regardless=False).hosts


def test_hosts_of_somebodys_own_are_broken_only_if_that_is_said(tmp_path: Path) -> None:
    path = tmp_path / "hosts.yml"
    path.write_text(FOREIGN)
    with pytest.raises(KubeproofError, match="not made of local container hosts only"):
        disposable_cluster.load(path, regardless=False)
    assert list(disposable_cluster.load(path, regardless=True).hosts) == ["a"]


def test_one_host_of_somebodys_own_among_local_ones_is_enough(tmp_path: Path) -> None:
    path = tmp_path / "hosts.yml"
    local = "{ansible_host: 10.213.99.11, local_host_network: {name: mixed, subnet: 10.213.99.0/24}}"
    path.write_text(FOREIGN.replace("{a: }", f"{{a: , b: {local}}}"))
    with pytest.raises(KubeproofError):
        disposable_cluster.load(path, regardless=False)
