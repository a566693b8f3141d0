"""Install one component on a host: render on the controller, converge on the host, sign the keys of the host.

One round trip, two if certificates are issued.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from ansible.template import trust_as_template

from kubeproof.install import reasons, steps
from kubeproof.install import request as install
from kubeproof.install.action import Action

# Of the module's answer, what is no result of the task.
_PRIVATE = ("certificates", "invocation", "asked_before")


class ActionModule(Action):
    """Render on the controller, converge on the host, sign what the host asks for."""

    _VALID_ARGS = frozenset(install.ARGUMENTS)

    def act(self) -> dict[str, Any]:
        request = install.Request.parse(self._arguments, str(self._state_directory), self._python)
        result = self._converge(request, request.payload(self._render))
        warnings = [*result.get("warnings", ()), *request.warnings]
        return {**result, **({"warnings": warnings} if warnings else {})}

    def _converge(self, request: install.Request, payload: dict[str, Any]) -> dict[str, Any]:
        settle = {**self._settle(payload, request.subject(payload)), "keys": payload["keys"]}
        known = self._look.task(settle["digest"])
        if known is not None and not request.issue(known, pretend=True).files:
            return {"changed": False, "changes": []}
        answer = self._install({**payload, "settle": settle})
        if answer.get("failed"):
            return _public(answer)
        issued = request.issue(answer["certificates"], pretend=self._task.check_mode)
        result = _public(answer)
        if issued.files:
            result |= {"changed": True, "changes": [*result["changes"], *issued.changes]}
            second = {} if self._task.check_mode else self._install({"files": issued.files, "settle": settle})
            result |= _public(second) if second.get("failed") else {}
        if self._task.check_mode:
            contents = {file["path"]: base64.b64decode(file["content"]) for file in payload["files"]}
            changes = self._pending.news(result["changes"], contents)
            self._pending.add(changes, contents)
            reason = reasons.of_installation(changes, str(answer.get("asked_before")), new_host=self._is_new)
            step = {steps.PLANNED: steps.planned(reason)} if changes else {}
            result |= {"changed": bool(changes), "changes": changes, **step}
        return result

    def _install(self, payload: dict[str, Any]) -> dict[str, Any]:
        encoded = base64.b64encode(json.dumps(payload).encode()).decode()
        return self._module({"_payload": encoded, "_run": self._active_run()})

    def _render(self, name: str) -> str:
        text = self._loader.get_text_file_contents(self._template(name))
        templar = self._templar.copy_with_new_env(available_variables=self._variables)
        overrides = {"trim_blocks": True, "lstrip_blocks": True}
        return str(templar.template(trust_as_template(text), escape_backslashes=False, overrides=overrides))

    def _template(self, name: str) -> str:
        """Where a template of the role is: in the role, unless the cluster has its own."""
        own = str(self._value("{{ cluster_template_overrides | default('') }}"))
        role = self._task._role  # noqa: SLF001 - Ansible has no other way to it
        path = Path(own) / role.get_name() / name if own and role else None
        return str(path) if path and path.is_file() else str(self._find_needle("templates", name))


def _public(answer: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in answer.items() if key not in _PRIVATE}
