"""Which components and images a cluster needs, from the inventory groups that have hosts."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from kubeproof.components.pins import BACKUP_S3, FLANNEL, NODE_GROUPS, Component, Image, Pins


def on_hosts(pins: Pins, groups: Collection[str]) -> list[Component]:
    """The components that hosts of ``groups`` need."""
    return [component for component in pins.components.values() if component.needed(groups)]


def to_build(pins: Pins, groups: Collection[str]) -> list[Component]:
    """The components that hosts need, and those whose binaries go into images made here."""
    names = {component.name for component in on_hosts(pins, groups)}
    names |= {pins.owner(image.local.binary).name for image in images(pins, groups) if image.local.binary}
    return [component for component in pins.components.values() if component.name in names]


def images(pins: Pins, groups: Collection[str], pods: Collection[str] = ()) -> list[Image]:
    """The images that hosts of ``groups`` need, with those of the components that run as pods there."""
    wanted = (image for image in pins.images.values() if not image.component or image.name in pods)
    return [image for image in wanted if set(image.groups) & set(groups)]


def uses(groups: Collection[str], targets: Iterable[Mapping[str, Any]], pod_network: str) -> tuple[str, ...]:
    """What settings make hosts of ``groups`` need besides.

    ``targets``: ``backup_targets``, which may be of any shape yet. ``pod_network``: ``pod_network_plugin``.
    """
    s3 = any(isinstance(target, Mapping) and target.get("type") == "s3" for target in targets or ())
    found = [BACKUP_S3] if s3 and "etcd" in groups else []
    return (*found, *([FLANNEL] if pod_network == "flannel" and set(groups) & set(NODE_GROUPS) else []))
