"""Whose hosts are made, replaced and removed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.unit.local_hosts import virtual

from kubeproof.core.errors import KubeproofError
from kubeproof.local_hosts import forwarding, instances, lifecycle, machine, network, repository, ssh
from kubeproof.local_hosts.instance import Instance
from kubeproof.local_hosts.plan import HostKind, Plan


class Maker:
    """Makes no hosts, and remembers what it was asked for."""

    BOOT_SECONDS = 1.0

    def __init__(self) -> None:
        self.present: list[Instance] = []
        self.removed: list[str] = []
        # What somebody else does just before this run has its turn.
        self.meanwhile: list[Instance] = []

    def ensure_images(self, *_: object) -> None:
        """Have none."""

    def recipe(self, *_: object) -> str:
        """The same for all."""
        return "recipe"

    def create(self, plan: Plan, *_: object) -> None:
        """Make a host."""
        self.present.append(made(plan.inventory))

    def start(self, *_: object) -> None:
        """It runs already."""

    def console(self, _name: str) -> str:
        """How to look into it."""
        return ""

    def host_key(self, _host: object) -> str:
        """Its key."""
        return "key"

    def remove(self, name: str) -> None:
        """Remove a host."""
        self.removed.append(name)
        self.present = [each for each in self.present if each.unique_name != name]


def made(inventory: Path, state: str = "running") -> Instance:
    """The host of an inventory."""
    return Instance(HostKind.CONTAINER, "lab-a", "a", state, "recipe", str(inventory))


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    """A plan whose inventory is there."""
    inventory = tmp_path / "hosts.yml"
    inventory.touch()
    return Plan(inventory, tmp_path, virtual.NETWORK, (virtual.machine(),))


@pytest.fixture
def maker(monkeypatch: pytest.MonkeyPatch) -> Maker:
    """What makes all hosts, on a machine without anything else."""
    maker = Maker()

    @contextmanager
    def turn() -> Iterator[None]:
        maker.present += maker.meanwhile
        yield

    monkeypatch.setattr(machine, "turn", turn)
    monkeypatch.setattr(instances, "present", lambda _: list(maker.present))
    monkeypatch.setattr(lifecycle, "MAKERS", dict.fromkeys(HostKind, maker))
    monkeypatch.setattr(lifecycle, "maker", lambda _: maker)
    for module, names in {
        machine: ("claim", "require_root"),
        network: ("refuse_taken", "forget", "remove", "exists"),
        forwarding: ("ensure", "remove"),
        repository: ("ensure", "stop"),
        ssh: ("wait_until_reachable", "write_known_hosts", "forget"),
    }.items():
        for name in names:
            monkeypatch.setattr(module, name, lambda *_, **__: None)
    monkeypatch.setattr(machine, "release", lambda _: ["ip_forward stays"])
    monkeypatch.setattr(network, "ensure", lambda _: set())
    monkeypatch.setattr(ssh, "ensure_key", lambda _: ("key", False))
    return maker


@pytest.mark.parametrize("replace", [False, True])
def test_hosts_that_another_inventory_made_while_this_one_waited_stay(
    plan: Plan, maker: Maker, tmp_path: Path, *, replace: bool
) -> None:
    other = tmp_path / "other.yml"
    other.touch()
    maker.meanwhile = [made(other)]
    with pytest.raises(KubeproofError, match="belong to another inventory"):
        lifecycle.create(plan, print, replace=replace)
    maker.present = []
    with pytest.raises(KubeproofError, match="belong to another inventory"):
        lifecycle.destroy(plan, print)
    assert not maker.removed


def test_addresses_that_were_taken_meanwhile_are_refused(
    plan: Plan, maker: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: object) -> None:
        if maker.present:
            raise KubeproofError("in use on this machine")

    monkeypatch.setattr(network, "refuse_taken", refuse)
    maker.meanwhile = [made(plan.inventory)]
    with pytest.raises(KubeproofError, match="in use"):
        lifecycle.create(plan, print)


def test_hosts_that_run_outlive_their_inventorys_path_unless_they_are_to_be_replaced(
    plan: Plan, maker: Maker, tmp_path: Path
) -> None:
    maker.present = [made(tmp_path / "before" / "hosts.yml")]
    with pytest.raises(KubeproofError, match=r"a of .*/before/hosts\.yml") as refused:
        lifecycle.create(plan, print)
    assert "--replace" in refused.value.hint
    assert not maker.removed
    said: list[str] = []
    lifecycle.create(plan, said.append, replace=True)
    assert maker.removed == ["lab-a"]
    assert "a: removed" in said


@pytest.mark.parametrize("state", ["created", "exited"])
def test_what_does_not_run_is_made_anew(plan: Plan, maker: Maker, tmp_path: Path, state: str) -> None:
    maker.present = [made(tmp_path / "before" / "hosts.yml", state)]
    said: list[str] = []
    lifecycle.create(plan, said.append)
    assert maker.removed == ["lab-a"]
    assert "a: removed" in said


def test_hosts_of_an_inventory_that_is_gone_can_be_removed(plan: Plan, maker: Maker, tmp_path: Path) -> None:
    maker.present = [made(tmp_path / "before" / "hosts.yml")]
    said: list[str] = []
    assert lifecycle.destroy(plan, said.append)
    assert maker.removed == ["lab-a"]
    assert said == ["a: removed", "ip_forward stays"]
