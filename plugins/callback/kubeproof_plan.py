"""The plan at the end of ``ansible-playbook --check``; all logic is in ``kubeproof.install``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ansible import constants, context
from ansible.plugins.callback import CallbackBase

from kubeproof.core import console, files
from kubeproof.install import plan_text, steps

DOCUMENTATION = r"""
name: kubeproof_plan
type: aggregate
short_description: Show the steps of a run in its order, at the end of ansible-playbook --check
description:
  - Shows at the end of check mode what the run would do, step by step, with hosts, reasons, the processes that it would
    restart, and what it would wait for.
  - Only of C(cluster.yml), and not with the callback C(kubeproof), since C(./kubeproof plan) shows the same.
  - Needs no C(callbacks_enabled), only C(callback_plugins) as in the project's C(ansible.cfg).
options:
  file:
    description: File for the steps, as JSON. C(docs/plan.schema.json) describes them as C(steps).
    type: str
    env: [{name: KUBEPROOF_PLAN}]
author: [The kubeproof authors]
"""

EXAMPLES = r"""
# KUBEPROOF_PLAN=plan.json ansible-playbook -i inventory/mine playbooks/cluster.yml --check
"""

_PLAYBOOK = "cluster.yml"
_OWN = "kubeproof"


class CallbackModule(CallbackBase):  # type: ignore[misc]
    """Collects what tasks report in check mode; of any other run it does nothing."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "kubeproof_plan"

    def __init__(self) -> None:
        super().__init__()
        self._places: dict[str, steps.Place] = {}
        self._reports: list[steps.Report] = []
        self._failed = False
        self._play = ""

    def v2_playbook_on_start(self, playbook: Any) -> None:
        named = Path(str(playbook._file_name)).name  # noqa: SLF001 - there is no public way to it
        planning = context.CLIARGS.get("check") and named == _PLAYBOOK
        # Ansible calls no callback any more that is disabled.
        self.disabled = not planning or constants.DEFAULT_STDOUT_CALLBACK == _OWN

    def v2_playbook_on_play_start(self, play: Any) -> None:
        self._play = play.get_name()

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:  # noqa: ARG002
        role = task._role.get_name() if task._role else ""  # noqa: SLF001 - there is no public way to it
        number = len(self._places) + 1
        self._places[_identity(task)] = steps.Place(number, self._play, role, task.name or task.action, task.action)

    def v2_runner_on_ok(self, result: Any) -> None:
        place = self._places[_identity(result.task)]
        self._reports += steps.reports(place, result.host.get_name(), result.result)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:  # noqa: ARG002
        self._failed = self._failed or not ignore_errors

    def v2_runner_on_unreachable(self, result: Any) -> None:
        # A host that is left behind is no failure, as in the callback kubeproof.
        self._failed = self._failed or not result.result.get("left_behind")

    def v2_playbook_on_stats(self, stats: Any) -> None:  # noqa: ARG002
        made = steps.steps(self._reports)
        path = self.get_option("file")
        if path:
            files.write(Path(str(path)), json.dumps(steps.data(made), indent=1) + "\n")
        terminal = console.console()
        for line in plan_text.conclusion(made, refused=self._failed):
            terminal.print(line)


def _identity(task: Any) -> str:
    """What tells a task from others of its name."""
    return str(task._uuid)  # noqa: SLF001 - there is no public way to it
