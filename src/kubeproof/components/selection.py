"""Which components and images a cluster needs, from the inventory groups that have hosts."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from kubeproof.components.pins import BACKUP_S3, Component, Image, Pins

_NODE_GROUPS = frozenset({"control_plane", "workers"})


def on_hosts(pins: Pins, groups: Collection[str]) -> list[Component]:
    """The components that hosts of ``groups`` need."""
    return [component for component in pins.components.values() if component.needed(groups)]


def to_build(pins: Pins, groups: Collection[str]) -> list[Component]:
    """The components that hosts need, and those whose binaries go into images made here."""
    names = {component.name for component in on_hosts(pins, groups)}
    names |= {pins.owner(image.local.binary).name for image in images(pins, groups) if image.local.binary}
    return [component for component in pins.components.values() if component.name in names]


def images(pins: Pins, groups: Collection[str]) -> list[Image]:
    """The images that hosts of ``groups`` need: all of them as soon as there are nodes."""
    return [] if _NODE_GROUPS.isdisjoint(groups) else list(pins.images.values())


def uses(targets: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """What settings make etcd's hosts need besides, by ``backup_targets``, which may be of any shape yet."""
    s3 = any(isinstance(target, Mapping) and target.get("type") == "s3" for target in targets or ())
    return (BACKUP_S3,) if s3 else ()
