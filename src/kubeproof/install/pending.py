"""What check mode would have changed so far, for the tasks that come later.

A task that writes a component's files changes nothing in check mode, so that the task that starts the component would
see its inputs as they are, and not announce the restart. Ansible works on each host in a process of its own: what the
tasks of a run tell each other is in files on the controller.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

# Changes of a file that its readers don't see: fingerprints of inputs are those of contents.
_UNREAD = frozenset(("owner", "mode", "attributes"))


class Pending:
    """The files that the tasks before would have changed on one host, in one run."""

    def __init__(self, directory: Path, host: str, run: str) -> None:
        """``run`` tells this run of the playbook from others: what those would have changed does not count."""
        self._path = directory / f"{host}.json"
        self._run = run

    def add(self, changes: Iterable[Mapping[str, Any]]) -> None:
        """Note changes as ``install_component`` returns them: ``path`` and ``what``."""
        found = self.paths()
        for change in changes:
            found[str(change["path"])] = found.get(str(change["path"]), False) or change["what"] not in _UNREAD
        if not found:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        fresh = self._path.with_suffix(".new")
        fresh.write_text(json.dumps({"run": self._run, "paths": found}))
        fresh.replace(self._path)

    def paths(self) -> dict[str, bool]:
        """The files, so far, and whether their content would be another one: else only owner or mode."""
        try:
            known = json.loads(self._path.read_text())
        except (FileNotFoundError, ValueError):
            return {}
        return dict(known["paths"]) if known["run"] == self._run else {}
