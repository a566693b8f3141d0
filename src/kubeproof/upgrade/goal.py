"""What an upgrade, or the way back, is asked to do."""

from __future__ import annotations

import enum
import functools
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from kubeproof.core.versions import Version
from kubeproof.upgrade.world import (
    APISERVER,
    CNI,
    COMPONENTS,
    CONTROLLER_MANAGER,
    CRI_DOCKERD,
    DNS,
    ETCD,
    KUBE_PROXY,
    KUBELET,
    RUNC,
    RUNTIMES,
    SCHEDULER,
    Host,
    Target,
)

Direction = Literal["forward", "back"]


class Kind(enum.StrEnum):
    """What a step does. The values are the names that ``--until`` takes."""

    SETTLE = "settle"
    STAGE = "stage"
    BACKUP = "backup"
    REHEARSAL = "rehearsal"
    ETCD_CANCEL = "etcd-cancel"
    ETCD_DOWNGRADE = "etcd-downgrade"
    ETCD = "etcd"
    API_SERVERS = "api-servers"
    CONTROLLERS = "controllers"
    QUICK = "quick-verification"
    SOAK = "soak"
    LIFT = "lift"
    EMULATE = "emulate"
    NODES = "nodes"
    KUBE_PROXY = "kube-proxy"
    DNS = "dns"
    VERIFICATION = "verification"


FORWARD = (
    Kind.SETTLE, Kind.STAGE, Kind.BACKUP, Kind.REHEARSAL, Kind.ETCD_CANCEL, Kind.ETCD, Kind.API_SERVERS,
    Kind.CONTROLLERS, Kind.QUICK, Kind.SOAK, Kind.LIFT, Kind.NODES, Kind.KUBE_PROXY, Kind.DNS, Kind.VERIFICATION,
)  # fmt: skip
BACK = (
    Kind.SETTLE, Kind.STAGE, Kind.BACKUP, Kind.REHEARSAL, Kind.DNS, Kind.NODES, Kind.KUBE_PROXY, Kind.EMULATE,
    Kind.CONTROLLERS, Kind.API_SERVERS, Kind.LIFT, Kind.ETCD_DOWNGRADE, Kind.ETCD, Kind.VERIFICATION,
)  # fmt: skip
ORDER: Mapping[Direction, tuple[Kind, ...]] = MappingProxyType({"forward": FORWARD, "back": BACK})

# What ``--only`` takes, and the programs that it means.
SCOPES: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "etcd": frozenset({ETCD}),
        "kubernetes": frozenset({APISERVER, CONTROLLER_MANAGER, SCHEDULER, KUBELET, KUBE_PROXY}),
        "runtime": frozenset({*RUNTIMES, CRI_DOCKERD, RUNC}),
        "network": frozenset({CNI}),
        "dns": frozenset({DNS}),
    }
)


@dataclass(frozen=True)
class Goal:
    """A target, a direction, and the limits of this run.

    ``only``: names of ``SCOPES``, all if it is empty. ``hosts``: those that may have a turn, all if it is ``None``.
    ``until``: the last step. ``at_once``: workers at a time after the first, a number or a percentage. ``soak``:
    seconds for which API servers emulate at least. ``rehearses``: whether the target reads a restored backup first.
    """

    target: Target
    direction: Direction = "forward"
    only: frozenset[str] = frozenset()
    hosts: frozenset[str] | None = None
    until: Kind | None = None
    at_once: int | str = 1
    soak: float = 0.0
    rehearses: bool = True

    @property
    def limited(self) -> bool:
        """Whether this run is about a part of the cluster, or of the way."""
        return bool(self.only) or self.hosts is not None or self.until is not None

    @functools.cached_property
    def key(self) -> str:
        """What backups are marked with that were taken for this."""
        versions = ", ".join(f"{name} {version}" for name, version in sorted(self.versions.items()))
        return f"{self.direction}: {versions}"

    @functools.cached_property
    def versions(self) -> dict[str, Version]:
        """The versions wanted of components in scope."""
        components = {COMPONENTS.get(program, program) for program in self.programs}
        return {name: version for name, version in self.target.versions.items() if name in components}

    @functools.cached_property
    def programs(self) -> frozenset[str]:
        """The programs in scope."""
        return frozenset().union(*(SCOPES[scope] for scope in self.only or SCOPES))

    def wants(self, program: str) -> Version | None:
        """The version wanted of a program; ``None`` if it is to stay as it is."""
        return self._wanted.get(program)

    @functools.cached_property
    def _wanted(self) -> dict[str, Version]:
        return {program: version for program in self.programs if (version := self.target.of(program))}

    def may_touch(self, host: Host) -> bool:
        """Whether a host may have a turn."""
        return self.hosts is None or host.name in self.hosts

    def rank(self, kind: Kind) -> int:
        """The place of a step in the order."""
        return ORDER[self.direction].index(kind)

    def batch(self, workers: int) -> int:
        """How many of so many workers may have a turn at the same time, rounded up and at least one."""
        text = str(self.at_once)
        if text.endswith("%"):
            return max(1, -(-workers * int(text[:-1]) // 100))
        return max(1, int(text))
