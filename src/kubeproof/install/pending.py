"""What check mode would have changed so far, for the tasks that come later.

A task that writes a component's files changes nothing in check mode, so that the task that starts the component would
see its inputs as they are, and not announce the restart. Ansible works on each host in a process of its own: what the
tasks of a run tell each other is in files on the controller.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

# Changes of a file that its readers don't see: fingerprints of inputs are those of contents.
_UNREAD = frozenset(("owner", "mode", "attributes"))


UNKNOWN, GONE = "unknown", "gone"
"""Instead of a SHA-256. ``component_unit.py`` on hosts has ``GONE``, too; ``UNKNOWN`` is like no fingerprint."""

# Seconds after what it last noted at which a run is over.
_OVER = 86400.0
# Of larger files not the content counts, see ``fingerprint`` in ``module_utils/component_unit.py``.
_LARGE = 1 << 20


class Pending:
    """The files that the tasks before would have changed on one host, in one run."""

    def __init__(self, directory: Path, host: str, run: str) -> None:
        """``run`` tells this run of the playbook from others: what those would have changed does not count."""
        # Of two runs at once neither may take what the other one has noted for its own, or lose its own to it.
        self._path = directory / run / f"{host}.json"

    def add(self, changes: Iterable[Mapping[str, Any]], contents: Mapping[str, bytes] | None = None) -> None:
        """Note changes as ``install_component`` returns them, ``path`` and ``what``; and contents, as far as known."""
        found, known = self.paths(), contents or {}
        for change in changes:
            path, what = str(change["path"]), str(change["what"])
            if what not in _UNREAD:
                found[path] = GONE if what == "removed" else _fingerprint(known.get(path))
            else:
                found.setdefault(path, None)
        if found:
            self._save({**self._noted(), "paths": found})

    def news(
        self, changes: Iterable[Mapping[str, Any]], contents: Mapping[str, bytes] | None = None
    ) -> list[Mapping[str, Any]]:
        """Of such changes those that no task before would have made: several components share some files."""
        noted, known = self.paths(), contents or {}

        def is_new(change: Mapping[str, Any]) -> bool:
            path, what = str(change["path"]), str(change["what"])
            if path not in noted:
                return True
            to_come = GONE if what == "removed" else _fingerprint(known.get(path))
            return what not in _UNREAD and noted[path] != to_come

        return [change for change in changes if is_new(change)]

    def paths(self) -> dict[str, str | None]:
        """The files, so far, with the SHA-256 of their content to come: None if only owner or mode would change.

        ``UNKNOWN`` where it can't be known yet, ``GONE`` for a file that would be removed.
        """
        return dict(self._noted().get("paths", {}))

    def announce(self, unit: str, wanted: str) -> None:
        """Note that a task would have converged a unit. ``wanted``: the digest of all that this was for."""
        noted = self._noted()
        self._save({**noted, "units": {**noted.get("units", {}), unit: wanted}})

    def announced(self, unit: str, wanted: str) -> bool:
        """Whether a task before would have converged a unit for the same: the run then finds nothing to do."""
        return bool(self._noted().get("units", {}).get(unit) == wanted)

    def _noted(self) -> dict[str, Any]:
        """What was noted in this run."""
        try:
            known: dict[str, Any] = json.loads(self._path.read_text())
        except (FileNotFoundError, ValueError):
            return {}
        return known

    def _save(self, noted: Mapping[str, Any]) -> None:
        if not self._path.parent.exists():
            _forget_former(self._path.parent.parent)
            self._path.parent.mkdir(parents=True, exist_ok=True)
        fresh = self._path.with_suffix(".new")
        fresh.write_text(json.dumps(dict(noted)))
        fresh.replace(self._path)


def _forget_former(directory: Path) -> None:
    """Remove what runs have noted that are over, or that an earlier version has left there."""
    for path in directory.glob("*"):
        # The processes of this run, one for each host, may all be at it.
        with contextlib.suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime > _OVER:
                shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink()


def concerning(inputs: Iterable[str], paths: Mapping[str, str | None]) -> dict[str, str | None]:
    """Of the noted files those that are inputs, or in directories that are."""
    tops = tuple(inputs)
    return {file: found for file, found in paths.items() if any(_within(file, top) for top in tops)}


def _within(file: str, top: str) -> bool:
    return file == top or file.startswith(f"{top}/")


def _fingerprint(content: bytes | None) -> str:
    return UNKNOWN if content is None or len(content) > _LARGE else hashlib.sha256(content).hexdigest()
