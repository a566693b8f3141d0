"""Standard output of the playbooks that ``kubeproof`` runs; all logic is in ``kubeproof.install.run_record``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible import context
from ansible.plugins.callback import CallbackBase

from kubeproof.core import console
from kubeproof.install.reporter import RunReporter
from kubeproof.install.run_record import Recorder, write_profile

DOCUMENTATION = r"""
name: kubeproof
type: stdout
short_description: Show one line per role, and write a profile of the run
description:
  - Shows one line per role with its hosts, changes and duration, and for a failure the task, the host, the error and
    its remediation.
  - Used by C(./kubeproof) for its playbooks.
options:
  log:
    description: File to which all events are appended as they happen, so that the log of a killed run is complete.
    type: str
    default: /dev/null
    env: [{name: KUBEPROOF_LOG}]
  profile:
    description:
      - File for the durations of all tasks in seconds, as JSON, written at the end of the run; in check mode with the
        steps that the run would do.
    type: str
    env: [{name: KUBEPROOF_PROFILE}]
  quiet:
    description: Whether to leave out the lines of roles without a failure.
    type: bool
    default: false
    env: [{name: KUBEPROOF_QUIET}]
author: [The kubeproof authors]
"""

EXAMPLES = r"""
# ANSIBLE_STDOUT_CALLBACK=kubeproof KUBEPROOF_LOG=run.log ansible-playbook -i inventory/mine playbooks/cluster.yml
"""


class CallbackModule(CallbackBase):  # type: ignore[misc]
    """Hands Ansible's events on."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "kubeproof"

    def set_options(self, task_keys: Any = None, var_options: Any = None, direct: Any = None) -> None:
        super().set_options(task_keys=task_keys, var_options=var_options, direct=direct)
        log = str(self.get_option("log"))
        # Line by line, so that a run that is killed leaves all that it did.
        self._file = Path(log).open("a", buffering=1, encoding="utf-8")  # noqa: SIM115 - open as long as the run is
        reporter = RunReporter(console.console(), log, quiet=bool(self.get_option("quiet")))
        planning = bool(context.CLIARGS.get("check"))
        self._recorder = Recorder(reporter, lambda line: print(line, file=self._file), planning=planning)

    def v2_playbook_on_play_start(self, play: Any) -> None:
        self._recorder.play(play.get_name(), as_one=bool(play.vars.get("__run_told_as_one")))

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:  # noqa: ARG002
        self._start(task)

    def v2_playbook_on_handler_task_start(self, task: Any) -> None:
        self._start(task)

    def v2_runner_on_ok(self, result: Any) -> None:
        self._end("changed" if result.is_changed() else "ok", result)

    def v2_runner_on_skipped(self, result: Any) -> None:
        self._end("skipped", result)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        self._end("ignored" if ignore_errors else "failed", result)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        # No failure: the run was meant to continue without it.
        self._end("left" if result.result.get("left_behind") else "unreachable", result)

    def v2_on_file_diff(self, result: Any) -> None:
        # What a loop did is shown by item, as Ansible's own output does.
        for each in result.result.get("results") or [result.result]:
            text = self._get_diff(each["diff"]) if each.get("changed") and each.get("diff") else ""
            if text:
                self._recorder.diff(_identity(result.task), result.host.get_name(), text)

    def v2_playbook_on_stats(self, stats: Any) -> None:  # noqa: ARG002
        self._recorder.end()
        profile = self.get_option("profile")
        if profile:
            write_profile(self._recorder, Path(str(profile)))

    def _start(self, task: Any) -> None:
        role = task._role.get_name() if task._role else ""  # noqa: SLF001 - there is no public way to it
        name = task.name or task.action
        self._recorder.task(_identity(task), name, role, task.get_path() or "", task.action)

    def _end(self, outcome: str, result: Any) -> None:
        self._recorder.outcome(_identity(result.task), result.host.get_name(), outcome, result.result)


def _identity(task: Any) -> str:
    """What tells a task from others of its name."""
    return str(task._uuid)  # noqa: SLF001 - there is no public way to it
