"""Start a component's unit, or restart it if its inputs changed: with several hosts, as a rolling restart.

Takes the arguments of the module of the same name, and ``rolling``: ``hosts`` (which have the component), ``at_once``
(how many of them may be down, a number or a percentage like ``25%``; default 1), ``gate`` (what must be healthy before
a restart), ``waits`` (a host for which this check holds is left running: the result has ``waits``, and another task
restarts it). ``timeout`` is for an ordinary machine: a slow host gets longer, by what ``host_report`` has measured.
``form`` is ``services`` (default) or ``static-pods``; for the latter ``pod`` says what the pod runs, see
``kubeproof.install.static_pods.Program``. A task may give it in both forms. All hosts are checked, and stopped units
started, in parallel; only running ones that need a restart wait for each other. When one does not become healthy, those
after it are left running as they are.

``cluster_rolling`` set to false restarts all at once, without health gates.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible.template import trust_as_template

from kubeproof.core.errors import KubeproofError
from kubeproof.core.patience import factor
from kubeproof.install import static_pods
from kubeproof.install.rolling import Rolling, Turns, this_run


class ActionModule(ActionBase):  # type: ignore[misc]
    """Check all hosts at once, restart them one after the other."""

    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        variables = task_vars or {}
        arguments = dict(self._task.args)
        try:
            arguments = _in_form(arguments, variables)
            arguments = _patient(arguments, variables)
            rolling = Rolling.parse(arguments.pop("rolling", {"hosts": ()}))
            in_turns = rolling.needed and self._value("{{ cluster_rolling | bool }}")
            result.update(self._module({**arguments, "restart": not in_turns, "waits": rolling.waits}, variables))
            if result.get("restart_needed") and not result.get("failed") and not result.get("waits"):
                result.update(self._in_turn(arguments, rolling, variables))
        except KubeproofError as error:
            raise AnsibleActionFail(str(error)) from error
        return result

    def _in_turn(self, arguments: dict[str, Any], rolling: Rolling, variables: dict[str, Any]) -> dict[str, Any]:
        host = str(variables["inventory_hostname"])
        state = Path(self._value("{{ cluster_state_directory }}"))
        turns = Turns(state / "rolling", str(arguments["unit"]), this_run())
        with turns.turn(host, rolling.at_once):
            answer = self._module({**arguments, "gate": list(rolling.gate)}, variables)
            if answer.get("failed"):
                turns.halt(host, str(answer.get("msg", "")))
        return answer

    def _value(self, expression: str) -> Any:
        return self._templar.template(trust_as_template(expression))

    def _module(self, arguments: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
        answer: dict[str, Any] = self._execute_module(
            module_name="component_service", module_args=arguments, task_vars=variables
        )
        return answer


def _patient(arguments: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
    """With the time that the host needs."""
    report = variables.get("ansible_facts", {}).get("kubeproof_host", {})
    if "timeout" not in arguments or "work_seconds" not in report:
        return arguments
    return {**arguments, "timeout": round(int(arguments["timeout"]) * factor(report["work_seconds"]))}


def _in_form(arguments: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
    """The module's arguments: with the manifest of a static pod if the component is to be one, and else without."""
    form, pod = arguments.pop("form", "services"), arguments.pop("pod", None)
    if form not in static_pods.FORMS:
        raise KubeproofError(f"form is one of {', '.join(static_pods.FORMS)}, not {form!r}")
    if form == "services" or arguments.get("state") == "absent":
        return arguments
    program = static_pods.Program.parse(pod or {})
    url, timeout = arguments["health"]["url"], int(arguments["timeout"])
    components = variables["ansible_facts"]["kubeproof_components"]
    return {**arguments, "pod": static_pods.manifest(arguments["unit"], program, url, timeout, components)}
