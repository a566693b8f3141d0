"""What an upgrade that has begun is about, until it has ended: ``upgrade.json`` in the state directory.

Next to it, in ``rehearsed.json``, what was rehearsed lately, which may be before an upgrade has begun.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kubeproof.core import files
from kubeproof.core.versions import Version
from kubeproof.settings import state
from kubeproof.upgrade.goal import Goal
from kubeproof.upgrade.world import Backup

# A run that continues an upgrade makes another backup if there is none as young as this, in seconds.
_FRESH = 86400.0
# What was rehearsed holds for another backup of the same as long as this, in seconds: one window of maintenance.
_REHEARSED = 3600.0


class Record:
    """The record in one state directory."""

    def __init__(self, state_directory: Path) -> None:
        self.path = state_directory / state.UPGRADE
        self._rehearsals = state_directory / state.REHEARSED

    @property
    def unfinished(self) -> dict[str, Version]:
        """Versions that hosts are on the way to; none if no upgrade has begun."""
        return {name: Version.of(text) for name, text in self._document.get("versions", {}).items()}

    @property
    def direction(self) -> str:
        """``forward`` or ``back``; empty if no upgrade has begun."""
        return str(self._document.get("direction", ""))

    @property
    def age(self) -> float:
        """Seconds since it began."""
        return max(0.0, time.time() - float(self._document.get("began", time.time())))

    @property
    def before(self) -> dict[str, str]:
        """Versions that the cluster had before it, of all components: what a way back leads to."""
        return dict(self._document.get("before", {}))

    def begin(self, goal: Goal, before: Mapping[str, str]) -> None:
        """Note an upgrade, unless it is the one that is noted. ``before``: what it began from, unless that is noted."""
        # What was on the way to newer versions is not on the way to those any more once it goes back.
        noted = self.unfinished if self.direction == goal.direction else {}
        wanted = {name: str(version) for name, version in {**noted, **goal.versions}.items()}
        if self._document.get("versions") != wanted or self.direction != goal.direction:
            self._write(
                {
                    "versions": wanted,
                    "direction": goal.direction,
                    "began": time.time(),
                    "before": self.before if self._document else dict(before),
                }
            )

    def backup(self, host: str) -> Backup | None:
        """The backup made for it on this host, if it is no older than a day, and what it was rehearsed with."""
        found = self._document.get("backup") or {}
        age = max(0.0, time.time() - float(found.get("at", 0)))
        if not found or found["host"] != host or age > _FRESH:
            return None
        return Backup(found["mark"], age, {Version.of(text): True for text in found["rehearsed"]})

    @property
    def rehearsed(self) -> dict[str, frozenset[Version]]:
        """Versions of Kubernetes that have read a backup within the last hour, by what was rehearsed."""
        return {mark: frozenset(Version.of(text) for text in each) for mark, (_, each) in self._lately().items()}

    def note_backup(self, mark: str, host: str, readable: Sequence[str] = ()) -> None:
        """Note the backup that was made, if an upgrade has begun. ``readable``: what need not be rehearsed with it."""
        if self._document:
            backup = {"mark": mark, "host": host, "at": time.time(), "rehearsed": list(readable)}
            self._write({**self._document, "backup": backup})

    def note_rehearsal(self, version: str, mark: str) -> None:
        """Note a version of Kubernetes that reads all of that backup. ``mark``: what was rehearsed."""
        lately = self._lately()
        at, versions = lately.get(mark, (time.time(), []))
        noted = {**lately, mark: (at, [*versions, version])}
        files.write(self._rehearsals, json.dumps(noted, indent=1) + "\n", 0o644)
        backup = self._document.get("backup")
        if backup:
            self._write({**self._document, "backup": {**backup, "rehearsed": [*backup["rehearsed"], version]}})

    def forget_backup(self) -> None:
        """Have the next run make another one, and rehearse with that."""
        self._rehearsals.unlink(missing_ok=True)
        if "backup" in self._document:
            self._write({name: value for name, value in self._document.items() if name != "backup"})

    def _lately(self) -> dict[str, tuple[float, list[str]]]:
        """When something was rehearsed first, and with which versions."""
        try:
            noted: dict[str, tuple[float, list[str]]] = json.loads(self._rehearsals.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        return {mark: (at, each) for mark, (at, each) in noted.items() if 0 <= time.time() - at < _REHEARSED}

    def _write(self, document: Mapping[str, Any]) -> None:
        files.write(self.path, json.dumps(document, indent=1) + "\n", 0o644, durable=True)

    def remove(self) -> bool:
        """Note that it has ended; returns whether there was one."""
        there = self.path.exists()
        self.path.unlink(missing_ok=True)
        return there

    @property
    def _document(self) -> Mapping[str, Any]:
        try:
            found: dict[str, Any] = json.loads(self.path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        return found
