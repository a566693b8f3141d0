"""The inventory's lock, ``components.lock.json`` in its state directory: what this cluster was given, byte for byte.

``downloads`` maps the official URL of everything ever downloaded for the cluster to its SHA-256 and to how that was
verified; a later run, from the release or a mirror, must get the same bytes.

Components and images are recorded by architecture and name, in three generations. ``current`` is what the last run that
got to the end on all hosts has given them. ``target`` is what was fetched and is not current: what a first installation
or a change of versions that is not finished gives to hosts, or another version that was only fetched. ``previous`` is
what was current before the last change of versions; after a way back it is what is current. A fetch writes ``target``
only, so that fetching other versions, as after a ``git pull``, changes nothing of what the cluster is said to be.

What was a target until another version was fetched is ``superseded``, by version, until a run has got to the end: hosts
may have it, as those of an upgrade that was not finished and is taken back.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from kubeproof.core import files, locking
from kubeproof.core.errors import KubeproofError
from kubeproof.settings.urls import without_userinfo

NAME = "components.lock.json"
_SCHEMA = 2

Generation = Literal["current", "target", "previous"]
# Where an entry of a version is looked for: the newest first, if several have that version in other bytes.
_GENERATIONS: tuple[Generation, ...] = ("target", "current", "previous")
_PARTS = ("components", "images")
_SUPERSEDED = "superseded"


class LockError(KubeproofError):
    """The lock can't be read, or something is not what it records."""


class Lock:
    """The lock in one state directory. Changes are in memory until ``save``, which makes them in what is there then."""

    def __init__(self, state_directory: Path) -> None:
        """Read the lock, if there is one. Raises LockError."""
        self.path = state_directory / NAME
        self._document: dict[str, Any] = {"version": _SCHEMA, "downloads": {}}
        self._document |= {generation: _empty() for generation in (*_GENERATIONS, _SUPERSEDED)}
        with contextlib.suppress(FileNotFoundError):
            self._document = self._read()
        self._saved = copy.deepcopy(self._document)
        self._changes: list[Callable[[], None]] = []

    def _read(self) -> dict[str, Any]:
        try:
            document = json.loads(self.path.read_text(encoding="utf-8"))
            if document["version"] == 1:
                document = _of_schema_1(document)
            if document["version"] != _SCHEMA:
                raise LockError(f"{self.path} is of version {document['version']}; this kubeproof reads {_SCHEMA}")
            generations: dict[str, Any] = {
                each: {part: document[each][part] for part in _PARTS} for each in _GENERATIONS
            }
            # A lock that was written before has none.
            superseded = {part: document.get(_SUPERSEDED, {}).get(part, {}) for part in _PARTS}
            return {"version": _SCHEMA, "downloads": document["downloads"], **generations, _SUPERSEDED: superseded}
        except (ValueError, KeyError, TypeError) as error:
            hint = "restore it, or remove it to start over"
            raise LockError(f"{self.path} is damaged: {error!r}", hint=hint) from error

    def download(self, url: str) -> dict[str, str] | None:
        """What is recorded for an official URL: ``sha256``, and ``verified``, what vouched for it."""
        record: dict[str, str] | None = self._document["downloads"].get(url)
        # Those of earlier kubeproofs may have a mirror's password.
        return {**record, "verified": without_userinfo(record["verified"])} if record else None

    def record_download(self, url: str, sha256: str, verified: str) -> None:
        """Remember what a URL gave, and how it was verified."""
        self._change(functools.partial(self._record_download, url, sha256, verified))

    def _record_download(self, url: str, sha256: str, verified: str) -> None:
        self._document["downloads"][url] = {"sha256": sha256, "verified": without_userinfo(verified)}

    def component(self, arch: str, name: str, version: str | None = None) -> dict[str, Any] | None:
        """A component of that version, of any generation: version, source, origin, and binaries by name.

        Without ``version``, that of the cluster: the current one, or before there is any, what it is installed of.
        """
        return self._get("components", arch, name, version)

    def image(self, arch: str, name: str, version: str | None = None) -> dict[str, Any] | None:
        """An image, like ``component``: version, source, reference, and for one made here digest and archive."""
        return self._get("images", arch, name, version)

    def versions(self, generation: Generation) -> dict[str, str]:
        """Versions by component and image. ``target`` has only those that are to change."""
        parts = self._document[generation]
        return {
            name: entry["version"]
            for part in reversed(_PARTS)
            for entries in parts[part].values()
            for name, entry in entries.items()
        }

    def architectures(self, generation: Generation) -> list[str]:
        """Architectures of which a generation has something."""
        return sorted({arch for part in _PARTS for arch in self._document[generation][part]})

    def entries(self, generation: Generation, part: Literal["components", "images"], arch: str) -> dict[str, Any]:
        """All components, or images, of a generation for an architecture, by name, as ``component`` returns them."""
        found: dict[str, Any] = self._document[generation][part].get(arch, {})
        return copy.deepcopy(found)

    def superseded(self, part: Literal["components", "images"], arch: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """What hosts of an architecture may have besides, by name; several versions of one are possible."""
        for name, versions in self._document[_SUPERSEDED][part].get(arch, {}).items():
            for entry in versions.values():
                yield name, copy.deepcopy(entry)

    def record_component(self, arch: str, name: str, entry: dict[str, Any]) -> None:
        """Remember what was fetched of a component for the cluster."""
        self._change(functools.partial(self._record, "components", arch, name, entry))

    def record_image(self, arch: str, name: str, entry: dict[str, Any]) -> None:
        """Remember what was fetched of an image for the cluster."""
        self._change(functools.partial(self._record, "images", arch, name, entry))

    def settle(self) -> None:
        """Make ``target`` current, once all hosts have it. If versions change by it, the former ones are previous."""
        self._change(self._settle)

    def _settle(self) -> None:
        current, target = self._document["current"], self._document["target"]
        places = _places(target)
        former = [current[part].get(arch, {}).get(name) for part, arch, name in places]
        changed = [target[part][arch][name]["version"] for part, arch, name in places]
        if any(entry and entry["version"] != version for entry, version in zip(former, changed, strict=True)):
            self._document["previous"] = copy.deepcopy(current)
        for part, arch, name in places:
            current[part].setdefault(arch, {})[name] = target[part][arch][name]
        self._document |= {"target": _empty(), _SUPERSEDED: _empty()}

    def settle_back(self) -> None:
        """Make ``target`` current at the end of a way back. Nothing is before that: ``previous`` is the same.

        What it came from is superseded, since hosts that were left behind have it.
        """
        self._change(self._settle_back)

    def _settle_back(self) -> None:
        came_from = copy.deepcopy(self._document[_SUPERSEDED])
        self._settle()
        current, previous = self._document["current"], self._document["previous"]
        for part, arch, name in _places(previous):
            entry = previous[part][arch][name]
            if entry["version"] != current[part].get(arch, {}).get(name, {}).get("version"):
                came_from[part].setdefault(arch, {}).setdefault(name, {})[entry["version"]] = entry
        self._document |= {"previous": copy.deepcopy(current), _SUPERSEDED: came_from}

    def save(self) -> bool:
        """Write the lock if it changed, in one step; returns whether it did. What others have written since stays."""
        if self._document == self._saved:
            self._changes.clear()
            return False
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with locking.locked_directory(self.path.parent):
            with contextlib.suppress(FileNotFoundError):
                self._follow(self._read())
            files.write(self.path, json.dumps(self._document, indent=2, sort_keys=True) + "\n", 0o644, durable=True)
        self._saved = copy.deepcopy(self._document)
        self._changes.clear()
        return True

    def _change(self, change: Callable[[], None]) -> None:
        change()
        self._changes.append(change)

    def _follow(self, there: dict[str, Any]) -> None:
        """Make the same changes in what another process has written meanwhile, if one has."""
        if there == self._saved:
            return
        self._document = there
        for change in self._changes:
            change()

    def _record(self, part: str, arch: str, name: str, entry: dict[str, Any]) -> None:
        """What is current is no target, also if another version was one before."""
        target = self._document["target"][part]
        former = target.get(arch, {}).get(name)
        if former and former["version"] != entry["version"]:
            kept = self._document[_SUPERSEDED][part].setdefault(arch, {}).setdefault(name, {})
            kept[former["version"]] = former
        if self._document["current"][part].get(arch, {}).get(name) == entry:
            target.get(arch, {}).pop(name, None)
            if not target.get(arch, True):
                del target[arch]
        else:
            target.setdefault(arch, {})[name] = entry

    def _get(self, part: str, arch: str, name: str, version: str | None) -> dict[str, Any] | None:
        found: dict[Generation, dict[str, Any] | None] = {
            each: self._document[each][part].get(arch, {}).get(name) for each in _GENERATIONS
        }
        if version is None:
            return found["current"] or found["target"]
        superseded: dict[str, dict[str, Any]] = self._document[_SUPERSEDED][part].get(arch, {}).get(name, {})
        newest = (entry for entry in found.values() if entry and entry["version"] == version)
        return next(newest, superseded.get(version))


def has_binaries(entry: Mapping[str, Any] | None, names: Iterable[str]) -> bool:
    """Whether an entry of a component has these: what was fetched for others may be a part of them."""
    return entry is not None and set(names) <= entry["binaries"].keys()


def _places(generation: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Part, architecture and name of all that a generation has."""
    return [(part, arch, name) for part in _PARTS for arch in generation[part] for name in generation[part][arch]]


def _empty() -> dict[str, dict[str, Any]]:
    return {part: {} for part in _PARTS}


def _of_schema_1(document: dict[str, Any]) -> dict[str, Any]:
    """A lock of a kubeproof that knew one generation, which was what it had fetched last."""
    current = {part: document[part] for part in _PARTS}
    return {**document, "version": _SCHEMA, "current": current, "target": _empty(), "previous": _empty()}
