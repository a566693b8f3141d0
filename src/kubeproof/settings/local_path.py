"""Volumes that are made on nodes when they are claimed: what is set, and what of it cannot be meant. No Ansible."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from kubeproof.settings import directories, local_volumes

DIRECTORY = "local_path_directory"
CLASS = "local_path_storage_class"
DEFAULT = "local_path_default_class"

Settings = Mapping[str, Any]


def on(values: Settings) -> bool:
    """Whether local-path-provisioner is installed."""
    return bool(values.get("local_path_enabled"))


def problems(values: Settings) -> Iterator[tuple[str, str]]:
    """Settings that are wrong, each with what is wrong with it. ``values``: of the right types."""
    if DIRECTORY in values:
        yield from ((DIRECTORY, problem) for problem in local_volumes.unsuitable(values[DIRECTORY], values))
    if CLASS in values:
        yield from ((CLASS, problem) for problem in local_volumes.misnamed(str(values[CLASS])))
    if on(values) and values.get(local_volumes.SETTING):
        yield from _beside_local_volumes(values)


def _beside_local_volumes(values: Settings) -> Iterator[tuple[str, str]]:
    named, other = values.get(CLASS), values.get(local_volumes.CLASS_SETTING)
    if named and named == other:
        yield CLASS, f"{named} is also {local_volumes.CLASS_SETTING}: they are two classes, and need two names"
    if values.get(DEFAULT) and values.get("local_volumes_default_class"):
        problem = (
            "is true, and so is local_volumes_default_class: a claim that names no class can have one of them only"
        )
        yield DEFAULT, problem
    ours = directories.normal(str(values.get(DIRECTORY, "")))
    for entry in values[local_volumes.SETTING]:
        path = directories.normal(str(entry.get("path", ""))) if isinstance(entry, Mapping) else ""
        if path.startswith("/") and (directories.within(path, ours) or directories.within(ours, path)):
            yield (
                DIRECTORY,
                f"{ours} and {path} of {local_volumes.SETTING} are in each other: each is for other volumes",
            )
