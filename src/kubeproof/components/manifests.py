"""Files of Go modules that are applied into the cluster, such as definitions of custom resources.

They are taken with Go, which verifies them by go.sum, and kept in the cache under a key of all that they depend on. So
they are the same whatever source programs come from, and a controller that has them needs no Go for them.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from kubeproof.components import cache as caching
from kubeproof.components import gobuild
from kubeproof.components.pins import Component, Pins
from kubeproof.core import kubernetes_yaml
from kubeproof.core.errors import KubeproofError

# Part of every key: raise it when the way of reading them changes.
_RECIPE = "1"
_BLOB = "manifests"


def needed(pins: Pins, groups: Collection[str]) -> list[Component]:
    """The components whose manifests are in a cluster with hosts of ``groups``."""
    return [
        each for each in pins.components.values() if each.manifests and not each.manifests.groups.isdisjoint(groups)
    ]


def fetch(pins: Pins, component: Component, cache: caching.Cache) -> tuple[caching.Result, bool]:
    """Have a component's manifests in the cache; whether they were not there comes second.

    Raises KubeproofError if there is no Go here, or the module lacks a file that is named.
    """
    key = _key(pins, component)
    with cache.lock(key):
        cached = cache.result(key)
        if cached:
            return cached, False
        _demand_go(component)
        documents = [_text(path) for name in _files(component) for path in _found(pins, component, name)]
        with cache.work() as directory:
            path = directory / _BLOB
            path.write_text("---\n".join(documents), encoding="utf-8")
            return cache.store(key, {_BLOB: path}, {}), True


def _demand_go(component: Component) -> None:
    try:
        gobuild.toolchain()
    except gobuild.NoToolchain as error:
        raise gobuild.NoToolchain(
            f"{component.name}'s manifests come from its Go module, whatever component_source is: {error.args[0]}",
            hint=f"install Go from https://go.dev/dl/ or your distribution, or switch {component.name} off, and what "
            "needs it",
        ) from error


def cached(pins: Pins, component: Component, cache: caching.Cache) -> bool:
    """Whether the cache has a component's manifests."""
    return cache.result(_key(pins, component)) is not None


def objects(pins: Pins, component: Component, cache: caching.Cache) -> list[dict[str, Any]]:
    """The objects in a component's manifests. Raises KubeproofError if they are not cached and cannot be had."""
    result, _ = fetch(pins, component, cache)
    text = result.blobs[_BLOB].path.read_text(encoding="utf-8")
    return kubernetes_yaml.load_all(text)


def _key(pins: Pins, component: Component) -> str:
    gobuild.demand_module(pins, component)
    sums = (pins.module_directory(component) / "go.sum").read_bytes()
    required = (pins.module_directory(component) / "go.mod").read_bytes()
    return caching.key_of("manifests", _RECIPE, required, sums, *_files(component))


def _files(component: Component) -> tuple[str, ...]:
    return component.manifests.files if component.manifests else ()


def _found(pins: Pins, component: Component, source: str) -> list[Path]:
    """The files of one name, which may be a pattern, in order."""
    path = gobuild.module_file(pins, component.go.module, source)
    found = sorted(path.parent.glob(path.name))
    if not found:
        raise KubeproofError(f"{gobuild.origin(pins, component)} has no file {source}")
    return found


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8").rstrip("\n") + "\n"
