"""The base class of action plugins: it runs modules and commands, renders expressions, and reports errors.

An action plugin and the module that it runs on a host have the same name, the one in the task, and ``ansible-doc NAME``
shows their options.
"""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible.template import trust_as_template

from kubeproof.core import active_run
from kubeproof.core.errors import KubeproofError
from kubeproof.install import look
from kubeproof.install.at_rest import AtRest
from kubeproof.install.pending import Pending
from kubeproof.install.preloading import preload
from kubeproof.install.rolling import this_run
from kubeproof.settings import portable_python, resolve

# Ansible imports an action plugin in its own process, before it forks one for each host.
preload()


class Action(ActionBase):  # type: ignore[misc]
    """An action plugin: ``act`` carries out the task for one host.

    ``OF_HOSTS``: whether a module that it runs asks a host what the host report might have said. Not so if it asks the
    API or the controller, is the report, or is about the run itself.
    """

    OF_HOSTS: ClassVar[bool] = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Ansible's entry. Raises AnsibleActionFail with the message and the hint of a KubeproofError."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        self._variables: dict[str, Any] = task_vars or {}
        try:
            result |= self.act()
        except KubeproofError as error:
            raise AnsibleActionFail(str(error)) from error
        # Where no report is trusted, there is none to outdate.
        if result.get("changed") and not self._task.check_mode and look.FACT in self._report:
            self._look.outdate()
        return result

    @abstractmethod
    def act(self) -> dict[str, Any]:
        """Carry out the task; returns its result. Raises KubeproofError."""

    @property
    def _arguments(self) -> Mapping[str, Any]:
        """The task's options."""
        arguments: Mapping[str, Any] = self._task.args
        return arguments

    @property
    def _host(self) -> str:
        """The host of the task."""
        return str(self._variables["inventory_hostname"])

    # What the host report says, what check mode would have changed, and who has its turn is all in there.
    @cached_property
    def _state_directory(self) -> Path:
        """The state directory of the host's cluster."""
        return Path(str(self._setting("cluster_state_directory")))

    @property
    def _report(self) -> Mapping[str, Any]:
        """The facts that were gathered about the host."""
        report: Mapping[str, Any] = self._variables.get("ansible_facts", {}).get("kubeproof_host", {})
        return report

    @property
    def _is_new(self) -> bool:
        """Whether the host has reported that no run has installed anything on it."""
        return not self._report.get("installed", {"manifest": True})["manifest"]

    @property
    def _python(self) -> str:
        """The path of the Python that services of the host run by."""
        return str(self._report.get("service_python_path", portable_python.USUAL))

    @property
    def _look(self) -> look.Look:
        """What the host report says is as an earlier run left it."""
        return look.Look(self._report, self._state_directory / "rolling", this_run(), self._host)

    @property
    def _rest(self) -> AtRest:
        """Whether hosts have to be asked at all."""
        return AtRest(self._state_directory / "rolling", this_run())

    def _settle(self, request: Mapping[str, Any], subject: Mapping[str, list[str]]) -> dict[str, Any]:
        """What the host is to keep about this task, for the next run's look. ``subject``: by ``settled.py``'s kinds."""
        role = self._task._role  # noqa: SLF001 - Ansible has no other way to it
        # A task in a loop is about something else each time.
        first = next((name for names in subject.values() for name in names), "")
        task = f"{role.get_name() if role else ''}: {self._task.name}: {first}"
        return {"task": task, "digest": look.digest(request), "subject": dict(subject)}

    @property
    def _pending(self) -> Pending:
        """What check mode would have changed on the host so far."""
        return Pending(self._state_directory / "rolling" / "pending", self._host, this_run())

    def _value(self, expression: str) -> Any:
        """A trusted expression, rendered with the host's variables."""
        return self._templar.template(trust_as_template(expression))

    def _setting(self, name: str) -> Any:
        """A setting of any role, rendered with the host's variables; the play need not have the role."""
        known = {**resolve.defaults(), **self._variables}
        return self._templar.copy_with_new_env(available_variables=known).template(known[name])

    def _variable(self, host: str, name: str) -> Mapping[str, Any]:
        """What a task has registered as ``name`` on a host."""
        variable: Mapping[str, Any] = self._variables["hostvars"][host][name]
        return variable

    def _module(self, arguments: Mapping[str, Any] | None = None, name: str | None = None) -> dict[str, Any]:
        """Run a module on the host. Defaults: the module of the action's name, and the task's options."""
        if self.OF_HOSTS and look.FACT in self._report and not self._task.check_mode:
            self._rest.asks()
        answer: dict[str, Any] = self._execute_module(
            module_name=name, module_args=arguments, task_vars=self._variables
        )
        return answer

    def _active_run(self) -> dict[str, Any] | None:
        """What modules that change a host need to notice other runs there: this run, and those that are over.

        The preflight has judged the runs that the host's report has, or the operator has ignored them.
        """
        state = str(self._value("{{ cluster_state_directory | default('') }}"))
        run = active_run.own(Path(state), os.getppid()) if state and not self._task.check_mode else None
        over = [str(entry["id"]) for entry in self._report.get("runs", ())]
        if run:
            self._note_claim(run.id)
        return {"record": run.data(), "over": over} if run else None

    def _note_claim(self, run: str) -> None:
        """Note that a run may have left its record on the host, so that it is removed there at the run's end."""
        self._claims.mkdir(parents=True, exist_ok=True)
        (self._claims / self._host).write_text(run)

    def _claimed_by(self, run: str) -> list[str]:
        """Hosts on which a run may have left its record: not those where everything was settled."""
        noted = sorted(self._claims.iterdir()) if self._claims.is_dir() else []
        return [path.name for path in noted if path.read_text() == run]

    @property
    def _claims(self) -> Path:
        return self._state_directory / "rolling" / "claims"

    def _command(self, command: str, data: bytes | None = None) -> str:
        """Standard output of a command on the host, with ``data`` as its input. Raises KubeproofError if it fails."""
        done = self._low_level_execute_command(command, in_data=data)
        # The first program of a pipe may have failed though its last has not.
        if done["rc"] or (data is None and not done["stdout"] and done["stderr"].strip()):
            raise KubeproofError(f"`{command}` failed on the host: {done['stderr'].strip() or done['stdout'].strip()}")
        return str(done["stdout"])


def plain(value: Any) -> Any:
    """A copy free of Ansible's tags and lazy containers, so that others deal with Python's own types."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    kind = next((kind for kind in (bool, int, float, str) if isinstance(value, kind)), None)
    return kind(value) if kind else value
