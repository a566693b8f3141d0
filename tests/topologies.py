"""The clusters that kubeproof's own tests make and verify: their hosts and settings, and how much is verified there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml
from tests.everything import test_everything as everything
from tests.networks import cells as networks
from tests.runtimes import test_crun as crun
from tests.vm import test_all_in_one as all_in_one

from kubeproof.core import paths
from kubeproof.settings import resolve
from kubeproof.settings.inventory import Host
from kubeproof.verify.engine.claims import Claim, Level

_INVENTORIES = Path("inventory")
_CONTAINER_OS = "container-os"
# What inventories say of local hosts and how they are reached, and not of a cluster.
_OF_HOSTS = ("local_host_", "ansible_")


@dataclass(frozen=True)
class Topology:
    """One cluster. ``document``: its inventory; ``made_by``: the command that makes and verifies it, from the project.

    ``level``: of the claims that are looked at there; ``also``: claims of a higher one that are looked at as well.
    """

    name: str
    made_by: str
    document: Mapping[str, Any]
    level: Level
    also: tuple[str, ...] = ()

    def looks_at(self, claim: Claim) -> bool:
        """Whether its verification looks at a claim."""
        return claim.level <= self.level or claim.id in self.also

    def group(self, name: str) -> frozenset[str]:
        """The hosts of a group."""
        return frozenset(self.document["all"]["children"][name]["hosts"])

    @property
    def nodes(self) -> frozenset[str]:
        """The hosts with a kubelet."""
        return self.group("control_plane") | self.group("workers")

    @property
    def given(self) -> dict[str, Any]:
        """The settings of the cluster that its inventory has."""
        values = self.document["all"]["vars"].items()
        return {name: value for name, value in values if not name.startswith(_OF_HOSTS)}

    @cached_property
    def settings(self) -> Mapping[str, Any]:
        """All settings of the cluster, with their defaults."""
        return resolve.Settings(Host("any", frozenset(), self.given))

    @property
    def isolated(self) -> bool:
        """Whether no other network is reached from its hosts."""
        return bool(self.document["all"]["vars"]["local_host_network"].get("isolated", True))

    @property
    def read_only(self) -> bool:
        """Whether its hosts have a /usr that cannot be written to."""
        return bool(self.document["all"]["vars"].get("local_host_system") == _CONTAINER_OS)


def load() -> tuple[Topology, ...]:
    """All of them, the small ones first."""
    cells = {name: networks.describe_cell(name) for name in networks.CELLS}
    return (
        # Each saboteur has the claims that it breaks proven again, at whatever level they are.
        Topology("default", "./kubeproof test --saboteurs", _inventory("test"), Level.DISRUPTIVE),
        Topology("ha", "molecule test -s ha", _inventory("ha"), Level.DISRUPTIVE),
        Topology("vm", "./kubeproof test --vm", _inventory("vm"), Level.STANDARD),
        Topology("all-in-one", "pytest tests/vm/test_all_in_one.py", all_in_one.describe(), Level.STANDARD),
        Topology(_CONTAINER_OS, "pytest tests/container_os", _inventory(_CONTAINER_OS), Level.STANDARD),
        Topology(
            "everything",
            "pytest tests/everything",
            everything.describe_everything(),
            Level.STANDARD,
            everything.DISRUPTIVE,
        ),
        Topology("crun", "pytest tests/runtimes", crun.describe_crun(), Level.STANDARD),
        _network("etcd-apart", "etcd_on_a_host", networks.describe_etcd_apart()),
        _network("two-segments", "two_segments", networks.describe_apart()),
        *(_network(f"network {name}", f"[{name}]", document) for name, document in cells.items()),
    )


def _network(name: str, chosen: str, document: Mapping[str, Any]) -> Topology:
    return Topology(name, f"pytest tests/networks -k '{chosen}'", document, Level.STANDARD)


def _inventory(name: str) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((paths.PROJECT / _INVENTORIES / name / "hosts.yml").read_text())
    return document
