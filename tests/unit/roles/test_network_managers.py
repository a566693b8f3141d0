"""What keeps a host's own network managers off the interfaces of networks that are applied into the cluster."""

from __future__ import annotations

import fnmatch
from pathlib import Path
from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar
from tests.unit.roles.test_texts import variables


def written(plugin: str, unit: str, directory: Path) -> dict[str, str]:
    """Files of a role on a host where such a unit runs."""
    known = variables(directory, texts=False)
    known["ansible_facts"] = {"kubeproof_host": {"processes": [{"unit": unit}, {"unit": "ssh.service"}]}}
    files: list[dict[str, Any]] = Templar(loader=DataLoader(), variables=known).template(
        known[f"__{plugin}_manager_files"]
    )
    return {each["dest"]: each["content"] for each in files}


@pytest.mark.parametrize(
    ("plugin", "own", "others"),
    [
        ("calico", ["cali0123456789a", "tunl0", "vxlan.calico", "vxlan-v6.calico"], ["eth0", "calibrate0"]),
        ("cilium", ["cilium_host", "cilium_vxlan", "lxc0123456789ab", "lxc_health"], ["eth0", "lxcbr0"]),
    ],
)
def test_systemd_networkd_leaves_interfaces_of_the_network_alone(
    plugin: str, own: list[str], others: list[str], tmp_path: Path
) -> None:
    files = written(plugin, "systemd-networkd.service", tmp_path)
    assert "ManageForeignRoutes=no" in files[f"/etc/systemd/networkd.conf.d/90-kubeproof-{plugin}.conf"]
    # Before all others by its name: of files that match an interface networkd takes the first.
    text = files[f"/etc/systemd/network/00-kubeproof-{plugin}.network"]
    assert "Unmanaged=yes" in text
    [names] = [line.removeprefix("Name=").split() for line in text.splitlines() if line.startswith("Name=")]
    matched = [each for each in (*own, *others) if any(fnmatch.fnmatch(each, name) for name in names)]
    assert matched == own


@pytest.mark.parametrize("plugin", ["calico", "cilium"])
def test_without_such_a_manager_nothing_is_written(plugin: str, tmp_path: Path) -> None:
    assert written(plugin, "ifup@eth0.service", tmp_path) == {}
