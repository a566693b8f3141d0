"""Ask a host for its report, noting when; a host that cannot be asked yields a report that says why, and no failure.

So the preflight can name every host's troubles in one list. See the module of the same name for what is asked.
"""

from __future__ import annotations

import time
from typing import Any

from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):  # type: ignore[misc]
    """Run the module between two looks at the controller's clock, from which the host's can be judged."""

    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Always succeeds; ``kubeproof_host`` has a shape of ``kubeproof.settings.host_report``."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        before = time.time()
        try:
            answer: dict[str, Any] = self._execute_module(task_vars=task_vars)
        except AnsibleConnectionFailure as error:
            return result | _unexamined(unreachable=True, problem=str(error))
        except AnsibleError as error:
            # sudo's password is missing or wrong.
            return result | _unexamined(unreachable=False, problem=str(error))
        after = time.time()
        if answer.get("unreachable") or answer.get("failed"):
            return result | _unexamined(unreachable=bool(answer.get("unreachable")), problem=_complaint(answer))
        answer["ansible_facts"]["kubeproof_host"]["asked"] = {"before": before, "after": after}
        return result | answer


def _unexamined(*, unreachable: bool, problem: str) -> dict[str, Any]:
    # Of ssh's plugin's long message only what ssh itself said.
    fact = {"unreachable": unreachable, "problem": problem.rpartition("can be reached over ssh: ")[2].strip()}
    return {"changed": False, "ansible_facts": {"kubeproof_host": fact}}


def _complaint(answer: dict[str, Any]) -> str:
    """What a failed module says: its standard error tells more than Ansible's general message (``sudo: …``)."""
    return str(answer.get("module_stderr") or answer.get("module_stdout") or answer.get("msg") or "it gave no answer")
