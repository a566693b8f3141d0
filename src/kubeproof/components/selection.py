"""Which components and images a cluster needs, from the inventory groups that have hosts."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from kubeproof.components.pins import (
    ADDONS,
    BACKUP_S3,
    CONTAINERD,
    NETWORK_POLICY,
    NETWORKS,
    NODE_GROUPS,
    RUNTIMES,
    Component,
    Image,
    Pins,
    Published,
)
from kubeproof.core.errors import KubeproofError


def on_hosts(pins: Pins, groups: Collection[str]) -> list[Component]:
    """The components that hosts of ``groups`` need."""
    return [component for component in pins.components.values() if component.needed(groups)]


def released(components: Iterable[Component]) -> list[Component]:
    """Those that can be taken from a release or a mirror; the others are always built."""
    return [component for component in components if not component.go.always]


def to_build(pins: Pins, groups: Collection[str]) -> list[Component]:
    """The components that hosts need, and those whose binaries go into images made here."""
    names = {component.name for component in on_hosts(pins, groups)}
    names |= {pins.owner(image.local.binary).name for image in images(pins, groups) if image.local.binary}
    return [component for component in pins.components.values() if component.name in names]


def refuse_builds(components: Iterable[Component]) -> None:
    """Raises KubeproofError if one of these is never built here."""
    for component in components:
        if not component.can_be_built:
            raise KubeproofError(
                f"{component.name} comes as an official download, and is not built from source",
                hint="set component_source to release, or to mirror with component_mirror, or choose another "
                "container_runtime",
            )


def images(pins: Pins, groups: Collection[str], pods: Collection[str] = ()) -> list[Image]:
    """The images that hosts of ``groups`` need, with those of the components that run as pods there."""
    wanted = (image for image in pins.images.values() if not image.component or image.name in pods)
    return [image for image in wanted if set(image.groups) & set(groups)]


def published(pins: Pins, groups: Collection[str]) -> list[Published]:
    """The published manifests that are applied for hosts of ``groups``."""
    return [manifest for manifest in pins.published.values() if set(manifest.groups) & set(groups)]


def uses(
    groups: Collection[str],
    targets: Iterable[Mapping[str, Any]],
    policy_engine: str,
    pod_network: str,
    addons: Collection[str] = (),
    runtime: str = CONTAINERD,
) -> Iterator[str]:
    """What settings make hosts of ``groups`` need besides.

    ``targets`` are those of ``backup_targets``, which may be of any shape yet; ``policy_engine`` is
    ``network_policy_engine``, and ``pod_network`` is ``pod_network_plugin``; ``addons`` are those that are switched on;
    ``runtime`` is ``container_runtime``.
    """
    if "etcd" in groups and any(isinstance(target, Mapping) and target.get("type") == "s3" for target in targets or ()):
        yield BACKUP_S3
    nodes = not set(NODE_GROUPS).isdisjoint(groups)
    if nodes and policy_engine != "none":
        yield NETWORK_POLICY
    if nodes and pod_network in NETWORKS:
        yield NETWORKS[pod_network]
    if nodes:
        yield from (addon for addon in ADDONS if addon in addons)
    if nodes and runtime in RUNTIMES:
        yield runtime
