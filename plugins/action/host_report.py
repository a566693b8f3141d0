"""Gather the facts of a host, with the controller's times; if that fails, the report says why, and the task succeeds.

So the preflight can list the problems of all hosts together.
"""

from __future__ import annotations

import time
from typing import Any

from ansible.errors import AnsibleConnectionFailure, AnsibleError

from kubeproof.install import host_python, look
from kubeproof.install.action import Action, plain
from kubeproof.preflight.questions import of_cluster, questions


class ActionModule(Action):
    """Run the module between two looks at the controller's clock, from which the host's can be judged."""

    OF_HOSTS = False
    _VALID_ARGS = frozenset(
        (
            "paths",
            "backup_directory",
            "containerd_root_directory",
            "crio_root_directory",
            "docker_root_directory",
            "etcd_data_directory",
            "etcd_disk",
            "sysctls",
            "programs",
            "trusted",
            "again",
        )
    )

    def act(self) -> dict[str, Any]:
        """Always succeeds; ``kubeproof_host`` has a shape of ``kubeproof.settings.host_report``."""
        if self._arguments.get("again"):
            return self._again()
        before = time.time()
        try:
            answer = self._module(self._questions())
        except AnsibleConnectionFailure as error:
            return _unexamined(unreachable=True, problem=str(error))
        except AnsibleError as error:
            # sudo's password is missing or wrong.
            return _unexamined(unreachable=False, problem=str(error))
        after = time.time()
        if answer.get("unreachable") or answer.get("failed"):
            unexamined = _unexamined(unreachable=bool(answer.get("unreachable")), problem=_complaint(answer))
            lacking = "" if answer.get("unreachable") else host_python.lacking(answer)
            # A host that is only looked at is given none.
            if lacking and of_cluster(self._variables.get("group_names", ())):
                unexamined["ansible_facts"]["kubeproof_host"]["lacks_python"] = lacking
            return unexamined
        report = answer["ansible_facts"]["kubeproof_host"]
        report["asked"] = {"before": before, "after": after}
        if not self._arguments.get("trusted"):
            report.pop("settled")
        return answer

    def _questions(self) -> dict[str, Any]:
        """The module's options: what the task does not say, the host's settings do."""
        given = {name: value for name, value in self._arguments.items() if name != "again"}
        return {**questions(self._variables.get("group_names", ()), self._setting), **given}

    def _again(self) -> dict[str, Any]:
        """What is settled now, after changes of this run; the rest of the fact stays as the preflight has judged it."""
        self._look.renew()
        answer = self._module(self._questions())
        if answer.get("unreachable") or answer.get("failed"):
            return answer
        settled = answer["ansible_facts"]["kubeproof_host"][look.FACT]
        answer["ansible_facts"]["kubeproof_host"] = {**plain(self._report), look.FACT: settled}
        return answer


def _unexamined(*, unreachable: bool, problem: str) -> dict[str, Any]:
    # Of ssh's plugin's long message only what ssh itself said.
    fact = {"unreachable": unreachable, "problem": problem.rpartition("can be reached over ssh: ")[2].strip()}
    return {"changed": False, "ansible_facts": {"kubeproof_host": fact}}


def _complaint(answer: dict[str, Any]) -> str:
    """What a failed module says: its standard error tells more than Ansible's general message (``sudo: …``)."""
    return str(answer.get("module_stderr") or answer.get("module_stdout") or answer.get("msg") or "it gave no answer")
