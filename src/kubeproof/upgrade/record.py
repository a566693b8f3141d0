"""What an upgrade that has begun is about, until it has ended: ``upgrade.json`` in the state directory."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kubeproof.core import files
from kubeproof.core.versions import Version
from kubeproof.settings import state
from kubeproof.upgrade.goal import Goal


class Record:
    """The record in one state directory."""

    def __init__(self, state_directory: Path) -> None:
        self.path = state_directory / state.UPGRADE

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

    def begin(self, goal: Goal) -> None:
        """Note an upgrade, unless it is the one that is noted."""
        wanted = {name: str(version) for name, version in {**self.unfinished, **goal.versions}.items()}
        if self._document.get("versions") != wanted or self.direction != goal.direction:
            document = {"versions": wanted, "direction": goal.direction, "began": time.time()}
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
