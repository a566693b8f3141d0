"""Apply add-ons: those of roles, and a directory of manifests on the controller."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kubeproof.core.errors import KubeproofError
from kubeproof.install.action import Action, plain
from kubeproof.settings import manifests

# The add-on whose objects are those of the directory.
_OWN = "directory"


class ActionModule(Action):
    """Reads the directory here, and leaves the rest to the module on the host."""

    _VALID_ARGS = frozenset(("server", "ca", "certificate", "key", "addons", "directory", "prune"))

    def act(self) -> dict[str, Any]:
        """Raises KubeproofError if a manifest is none, or two add-ons have the same object."""
        arguments = plain(dict(self._arguments))
        directory = str(arguments.pop("directory", "") or "")
        addons = [*(arguments.get("addons") or [])]
        if directory:
            addons.append({"name": _OWN, "objects": manifests.read(Path(directory))})
        _refuse_shared(addons)
        return self._module({**arguments, "addons": addons})


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
