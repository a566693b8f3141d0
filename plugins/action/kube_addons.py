"""Apply add-ons: those of roles, and a directory of manifests on the controller."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kubeproof.components import cache, pins
from kubeproof.components import manifests as of_modules
from kubeproof.core.errors import KubeproofError
from kubeproof.install.action import Action, plain
from kubeproof.settings import manifests

# The add-on whose objects are those of the directory.
_OWN = "directory"


class ActionModule(Action):
    """Reads the directory here, and leaves the rest to the module on the host."""

    OF_HOSTS = False
    _VALID_ARGS = frozenset(
        ("server", "ca", "certificate", "key", "addons", "directory", "prune", "patience", "versions", "nodes_lost")
    )

    def act(self) -> dict[str, Any]:
        """Raises KubeproofError if a manifest is none, cannot be had, or two add-ons have the same object."""
        arguments = plain(dict(self._arguments))
        directory = str(arguments.pop("directory", "") or "")
        versions = arguments.pop("versions", None) or {}
        addons = [_complete(addon, versions) for addon in arguments.get("addons") or []]
        if directory:
            addons.append({"name": _OWN, "objects": manifests.read(Path(directory))})
        _refuse_shared(addons)
        return self._module({**arguments, "addons": addons})


def _complete(addon: Mapping[str, Any], versions: Mapping[str, str]) -> dict[str, Any]:
    """An add-on with the manifests of its component: what it has of them itself is laid over them."""
    component, objects = addon.get("component"), addon["objects"]
    if component:
        pinned = pins.load().with_versions(versions)
        with cache.Cache() as cached:
            found = of_modules.objects(pinned, pinned.components[component], cached)
        objects = _laid_over(found, objects)
    return {"name": addon["name"], "objects": objects}


def _laid_over(below: list[dict[str, Any]], above: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Objects of both; of those that both have, what the second has counts, key by key."""
    over = {manifests.identity(item): item for item in above}
    first = [_merged(item, over.pop(manifests.identity(item), {})) for item in below]
    return [*first, *over.values()]


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        there = merged.get(key)
        if isinstance(value, Mapping) and isinstance(there, Mapping):
            merged[key] = _merged(there, value)
        else:
            merged[key] = value
    return merged


def _refuse_shared(addons: list[dict[str, Any]]) -> None:
    """Two add-ons with the same object would change it back and forth in each run."""
    owners: dict[tuple[str, ...], str] = {}
    for addon in addons:
        for item in addon["objects"]:
            named = manifests.identity(item)
            if owners.setdefault(named, addon["name"]) != addon["name"]:
                raise KubeproofError(
                    f"{item['kind']} {named[-1]} is of the add-on {owners[named]} and of {addon['name']}",
                    hint="take it out of addons_directory, or switch that add-on off",
                )
