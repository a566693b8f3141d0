"""Claim a cluster for this run of ansible-playbook, or release it. The logic is in ``kubeproof.core.active_run``."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleConnectionFailure
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.template import Templar

from kubeproof.core import active_run
from kubeproof.core.active_run import ActiveRun
from kubeproof.core.errors import KubeproofError
from kubeproof.install.action import Action
from kubeproof.preflight.findings import render
from kubeproof.preflight.runs import other_runs
from kubeproof.settings import resolve
from kubeproof.settings import state as states

_STATES = ("claimed", "asked", "released")
# plugins/module_utils/host_runs.py
_RUNS = "/var/lib/kubeproof/runs"


class ActionModule(Action):
    """The process that this one is a fork of is the run: it is there from the first task to the last."""

    OF_HOSTS = False
    _VALID_ARGS = frozenset(("state", "on_host"))
    _requires_connection = False

    def act(self) -> dict[str, Any]:
        wanted = str(self._arguments.get("state", "claimed"))
        if wanted not in _STATES:
            raise KubeproofError(f"active_run: state is {wanted!r}; it must be one of {', '.join(_STATES)}")
        if wanted == "asked":
            return {"changed": False, "claimed": self._claimed()}
        if not self._task.check_mode:
            change = self._claim if wanted == "claimed" else self._release
            change(on_host=boolean(self._arguments.get("on_host", False)))
        return {"changed": False}

    def _claim(self, *, on_host: bool) -> None:
        run = os.getppid()
        mine = active_run.claim(states.prepare(self._directory), active_run.playbook_command(run), run)
        if on_host:
            self._claim_host(mine)

    def _claim_host(self, mine: ActiveRun) -> None:
        """Raises KubeproofError if one of the runs that the host knows of has not ended."""
        try:
            answer = self._on_host(mine)
            if answer["refused"]:
                findings = list(other_runs({self._host: answer["runs"]}, mine.id))
                if findings:
                    raise KubeproofError(render(findings))
                answer = self._on_host(mine, over=[entry["id"] for entry in answer["runs"]])
        except AnsibleConnectionFailure:
            # Whether a host must be reachable is for other tasks to decide.
            return
        if answer["refused"]:
            raise KubeproofError(str(answer["refused"]))

    def _on_host(self, mine: ActiveRun, over: Sequence[str] = ()) -> dict[str, Any]:
        self._note_claim(mine.id)
        answer = self._module({"_run": {"record": mine.data(), "over": list(over)}})
        if answer.get("failed"):
            raise KubeproofError(str(answer.get("msg") or "the host's runs cannot be read"))
        return answer

    def _claimed(self) -> list[str]:
        """Hosts on which this run may have left a record; none in check mode."""
        mine = None if self._task.check_mode else active_run.own(self._directory, os.getppid())
        return self._claimed_by(mine.id) if mine else []

    def _release(self, *, on_host: bool) -> None:
        if not on_host:
            active_run.release(self._directory, os.getppid())
            return
        mine = active_run.own(self._directory, os.getppid())
        if mine and self._host in self._claimed_by(mine.id):
            path = shlex.quote(f"{_RUNS}/{mine.id}.json")
            # It prints something: no output but ssh's complaints counts as a failure.
            self._command(f"rm -f {path} && echo released")

    @cached_property
    def _state_directory(self) -> Path:
        return self._directory

    @cached_property
    def _directory(self) -> Path:
        """The state directory, also in plays without the roles that have its default."""
        variables = {**resolve.defaults(), **self._variables}
        templar = Templar(loader=self._loader, variables=variables)
        return Path(str(templar.template(variables["cluster_state_directory"])))
