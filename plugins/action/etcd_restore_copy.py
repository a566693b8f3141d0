"""Copy a backup from an etcd host to the controller, or its snapshot from the controller to an etcd host."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from kubeproof.install import slices
from kubeproof.install.action import Action


class ActionModule(Action):
    """Sends and gets files."""

    _VALID_ARGS = frozenset(("pull", "push"))

    def act(self) -> dict[str, Any]:
        """Raises KubeproofError if a file can't be read or written."""
        arguments = self._arguments
        if "pull" in arguments:
            wanted, dest = arguments["pull"], Path(str(arguments["pull"]["dest"]))
            dest.mkdir(mode=0o700, parents=True, exist_ok=True)
            for name in self._command(f"ls -1A -- {shlex.quote(str(wanted['source']))}").splitlines():
                slices.pull(self._command, f"{wanted['source']}/{name}", dest / Path(name).name)
        elif arguments["push"]["dest"]:
            wanted = arguments["push"]
            slices.push(self._command, Path(str(wanted["source"])), str(wanted["dest"]), str(wanted["user"]))
        return {"changed": False}
