"""Install packages on a host. On the controller there is only this to do: what came outdates what was reported."""

from __future__ import annotations

from typing import Any

from kubeproof.install.action import Action


class ActionModule(Action):
    """Run the module; ``Action`` does the rest."""

    _VALID_ARGS = frozenset(("names", "lock_timeout"))

    def act(self) -> dict[str, Any]:
        return self._module()
