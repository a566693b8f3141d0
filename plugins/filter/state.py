"""Where the state of a cluster is kept on the controller."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleFilterError

from kubeproof.core.errors import KubeproofError
from kubeproof.settings import state


def state_directory(inventory_directory: str | None) -> str:
    """The state directory of inventories in a directory, ``inventory_dir``."""
    if not inventory_directory:
        raise AnsibleFilterError("a host that is in no file has no place for the state: set cluster_state_directory")
    try:
        return str(state.directory(Path(str(inventory_directory))))
    except KubeproofError as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    """Registers the filter."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"state_directory": state_directory}
