"""What all action plugins have in common: they run modules, render expressions, and fail with a remediation.

An action plugin and the module that does its work on a host have one name, which is that of the task: whoever reads a
task finds both, and ``ansible-doc NAME`` has its options.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible.template import trust_as_template

from kubeproof.core.errors import KubeproofError


class Action(ActionBase):  # type: ignore[misc]
    """An action plugin: ``act`` does what its task says, on one host."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Ansible's entry. Raises AnsibleActionFail with the message and the hint of a KubeproofError."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        self._variables: dict[str, Any] = task_vars or {}
        try:
            return result | self.act()
        except KubeproofError as error:
            raise AnsibleActionFail(str(error)) from error

    @abstractmethod
    def act(self) -> dict[str, Any]:
        """Do it; returns the task's result. Raises KubeproofError."""

    @property
    def _arguments(self) -> Mapping[str, Any]:
        """The task's options."""
        arguments: Mapping[str, Any] = self._task.args
        return arguments

    @property
    def _host(self) -> str:
        """The host that the task is for."""
        return str(self._variables["inventory_hostname"])

    @property
    def _state_directory(self) -> Path:
        """Where the cluster of this host has its state on the controller."""
        return Path(str(self._value("{{ cluster_state_directory }}")))

    def _value(self, expression: str) -> Any:
        """An expression of ours, rendered with the host's variables."""
        return self._templar.template(trust_as_template(expression))

    def _variable(self, host: str, name: str) -> Mapping[str, Any]:
        """What a task has registered as ``name`` on a host."""
        variable: Mapping[str, Any] = self._variables["hostvars"][host][name]
        return variable

    def _module(self, arguments: Mapping[str, Any] | None = None, name: str | None = None) -> dict[str, Any]:
        """Run a module on the host; without a name the one of this action, without arguments with the task's."""
        answer: dict[str, Any] = self._execute_module(
            module_name=name, module_args=arguments, task_vars=self._variables
        )
        return answer

    def _command(self, command: str, data: bytes | None = None) -> str:
        """Standard output of a command on the host, with ``data`` as its input. Raises KubeproofError if it fails."""
        done = self._low_level_execute_command(command, in_data=data)
        # The first program of a pipe may have failed though its last has not.
        if done["rc"] or (data is None and not done["stdout"] and done["stderr"].strip()):
            raise KubeproofError(f"`{command}` failed on the host: {done['stderr'].strip() or done['stdout'].strip()}")
        return str(done["stdout"])
