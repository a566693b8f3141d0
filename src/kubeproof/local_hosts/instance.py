"""A container or virtual machine as what made it knows it."""

from __future__ import annotations

from dataclasses import dataclass

from kubeproof.local_hosts.plan import HostKind

RUNNING = "running"
# Made, and never started: what a killed run leaves. podman has two words for it.
UNFINISHED = frozenset(("created", "initialized"))
STOPPED = "exited"


@dataclass(frozen=True)
class Instance:
    """What is there of a local host. ``state`` is podman's word."""

    kind: HostKind
    unique_name: str
    host: str
    state: str
    recipe: str
    inventory: str

    @property
    def running(self) -> bool:
        """Whether it is on."""
        return self.state == RUNNING
