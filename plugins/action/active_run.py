"""Claim a cluster for this run of ansible-playbook, or release it. The logic is in ``kubeproof.core.active_run``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ansible.template import Templar

from kubeproof.core import active_run
from kubeproof.core.errors import KubeproofError
from kubeproof.install.action import Action
from kubeproof.settings import resolve
from kubeproof.settings import state as states

_STATES = ("claimed", "released")


class ActionModule(Action):
    """The process that this one is a fork of is the run: it is there from the first task to the last."""

    _VALID_ARGS = frozenset(("state",))
    _requires_connection = False

    def act(self) -> dict[str, Any]:
        wanted = str(self._arguments.get("state", "claimed"))
        if wanted not in _STATES:
            raise KubeproofError(f"active_run: state is {wanted!r}; it must be one of {', '.join(_STATES)}")
        if not self._task.check_mode:
            (self._claim if wanted == "claimed" else self._release)()
        return {"changed": False}

    def _claim(self) -> None:
        run = os.getppid()
        active_run.claim(states.prepare(self._directory), active_run.playbook_command(run), run)

    def _release(self) -> None:
        active_run.release(self._directory, os.getppid())

    @property
    def _directory(self) -> Path:
        """The state directory, also in plays without the roles that have its default."""
        variables = {**resolve.defaults(), **self._variables}
        templar = Templar(loader=self._loader, variables=variables)
        return Path(str(templar.template(variables["cluster_state_directory"])))
