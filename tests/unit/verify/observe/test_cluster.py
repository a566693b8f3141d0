"""What a node is besides a node, by its groups in a real inventory, which always has the group `all` as well."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import yaml

from kubeproof.settings import inventory
from kubeproof.verify.observe.cluster import Node
from kubeproof.verify.observe.hosts import Host


@pytest.fixture
def nodes(tmp_path: Path) -> dict[str, Node]:
    """Nodes of an inventory, by name."""
    groups: dict[str, Any] = {
        "control_plane": {"hosts": {"cp1": {}}},
        "etcd": {"hosts": {"cp1": {}, "e1": {}}},
        "workers": {"hosts": {"e1": {}, "w1": {}}},
        "fast": {"hosts": {"w1": {}}},
    }
    (tmp_path / "hosts.yml").write_text(yaml.safe_dump({"all": {"children": groups}}))
    hosts = inventory.load(tmp_path / "hosts.yml").hosts
    return {
        name: Node(name, "", (), 10250, cast(Host, SimpleNamespace(groups=host.groups)), {})
        for name, host in hosts.items()
    }


def test_a_worker_that_is_nothing_else_may_die(nodes: dict[str, Node]) -> None:
    assert {name: node.expendable for name, node in nodes.items()} == {"cp1": False, "e1": False, "w1": True}


def test_hosts_of_the_control_plane_are_known(nodes: dict[str, Node]) -> None:
    assert {name: node.control_plane for name, node in nodes.items()} == {"cp1": True, "e1": False, "w1": False}
