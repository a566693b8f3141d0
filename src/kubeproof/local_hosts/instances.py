"""The containers and virtual machines that local hosts are, whatever they are made by."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from kubeproof.local_hosts import podman, qemu
from kubeproof.local_hosts.instance import Instance
from kubeproof.local_hosts.plan import HostKind, LocalHost, Plan

Report = Callable[[str], None]


class Maker(Protocol):
    """What makes, starts and removes one kind of local hosts. Instances go by their unique names."""

    # Seconds in which a host of this kind answers on SSH after its start.
    BOOT_SECONDS: float

    def instances(self, network_name: str) -> list[Instance]:
        """All of a network, whatever became of the inventory that they were made from."""

    def ensure_images(self, plan: Plan, report: Report) -> None:
        """Have what the plan's hosts of this kind start from."""

    def recipe(self, plan: Plan, host: LocalHost) -> str:
        """What a host is made from; an instance with another recipe is not what the inventory asks for."""

    def create(self, plan: Plan, host: LocalHost, key: str) -> None:
        """Make a host that lets a public key in, without starting it."""

    def authorize(self, plan: Plan, host: LocalHost, key: str) -> None:
        """Let another public key into a host that runs."""

    def start(self, plan: Plan, host: LocalHost) -> None:
        """Start a host that is stopped."""

    def stop(self, name: str) -> None:
        """Shut a host down."""

    def kill(self, name: str) -> None:
        """Pull a host's plug; returns when it is off."""

    def remove(self, name: str) -> None:
        """Remove a host, running or not, with its disks."""

    def host_key(self, host: LocalHost) -> str:
        """A running host's public SSH key, not learned through SSH."""

    def console(self, name: str) -> str:
        """How an operator looks into a host that SSH does not reach."""


MAKERS: dict[HostKind, Maker] = {HostKind.CONTAINER: podman, HostKind.VM: qemu}


def maker(host: LocalHost) -> Maker:
    """What makes a host."""
    return MAKERS[host.kind]


def present(network_name: str) -> list[Instance]:
    """All containers and virtual machines of a network."""
    return [each for made_by in MAKERS.values() for each in made_by.instances(network_name)]
