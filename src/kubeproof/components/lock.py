"""The inventory's lock, ``components.lock.json`` in its state directory: what this cluster was given, byte for byte.

``downloads`` maps the official URL of everything ever downloaded for the cluster to its SHA-256 and to how that was
verified; a later run, from the release or a mirror, must get the same bytes. ``components`` and ``images`` map
architecture and name to what the cluster runs now; hosts are given exactly that.
"""

from __future__ import annotations

import contextlib
import copy
import json
from pathlib import Path
from typing import Any

from kubeproof.core import files
from kubeproof.core.errors import KubeproofError

NAME = "components.lock.json"
_SCHEMA = 1


class LockError(KubeproofError):
    """The lock can't be read, or something is not what it records."""


class Lock:
    """The lock in one state directory. Changes are in memory until ``save``."""

    def __init__(self, state_directory: Path) -> None:
        """Read the lock, if there is one. Raises LockError."""
        self.path = state_directory / NAME
        self._document: dict[str, Any] = {"version": _SCHEMA, "downloads": {}, "components": {}, "images": {}}
        with contextlib.suppress(FileNotFoundError):
            self._document = self._read()
        self._saved = copy.deepcopy(self._document)

    def _read(self) -> dict[str, Any]:
        try:
            document = json.loads(self.path.read_text(encoding="utf-8"))
            if document["version"] != _SCHEMA:
                raise LockError(f"{self.path} is of version {document['version']}; this kubeproof reads {_SCHEMA}")
            return {key: document[key] for key in ("version", "downloads", "components", "images")}
        except (ValueError, KeyError, TypeError) as error:
            hint = "restore it, or remove it to start over"
            raise LockError(f"{self.path} is damaged: {error!r}", hint=hint) from error

    def download(self, url: str) -> dict[str, str] | None:
        """What is recorded for an official URL: ``sha256``, and ``verified``, what vouched for it."""
        record: dict[str, str] | None = self._document["downloads"].get(url)
        return record

    def record_download(self, url: str, sha256: str, verified: str) -> None:
        """Remember what a URL gave, and how it was verified."""
        self._document["downloads"][url] = {"sha256": sha256, "verified": verified}

    def component(self, arch: str, name: str) -> dict[str, Any] | None:
        """What the cluster runs of a component: version, source, origin, and binaries by name."""
        return self._get("components", arch, name)

    def image(self, arch: str, name: str) -> dict[str, Any] | None:
        """What the cluster runs of an image: version, source, reference, and for one made here digest and archive."""
        return self._get("images", arch, name)

    def record_component(self, arch: str, name: str, entry: dict[str, Any]) -> None:
        """Remember what the cluster is given of a component."""
        self._document["components"].setdefault(arch, {})[name] = entry

    def record_image(self, arch: str, name: str, entry: dict[str, Any]) -> None:
        """Remember what the cluster is given of an image."""
        self._document["images"].setdefault(arch, {})[name] = entry

    def save(self) -> bool:
        """Write the lock if it changed, in one step; returns whether it did."""
        if self._document == self._saved:
            return False
        self.path.parent.mkdir(parents=True, exist_ok=True)
        files.write(self.path, json.dumps(self._document, indent=2, sort_keys=True) + "\n", 0o644, durable=True)
        self._saved = copy.deepcopy(self._document)
        return True

    def _get(self, part: str, arch: str, name: str) -> dict[str, Any] | None:
        entry: dict[str, Any] | None = self._document[part].get(arch, {}).get(name)
        return entry
