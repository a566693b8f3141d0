"""Take a Python to a host that has none, or remove it: by the host's shell alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.errors import AnsibleError

from kubeproof.components import fetch, pins, portable_python
from kubeproof.core.errors import KubeproofError
from kubeproof.install import host_python
from kubeproof.install.action import Action
from kubeproof.settings.portable_python import DIRECTORY

_STATES = ("present", "absent", "asked")


class ActionModule(Action):
    """The logic is in ``kubeproof.install.host_python``."""

    _VALID_ARGS = frozenset(("state", "source", "mirror", "versions", "state_directory", "why"))

    def act(self) -> dict[str, Any]:
        """Raises KubeproofError; where a Python is wanted, the reason is the host's fact instead."""
        state = str(self._arguments.get("state", "present"))
        if state not in _STATES:
            raise KubeproofError(f"host_python: state is {state!r}; it must be one of {', '.join(_STATES)}")
        if state == "present":
            return self._present()
        found = host_python.answered(self._command(host_python.ask()))
        if state == "asked":
            ours = bool(found.digest) or found.partial
            return {"changed": False, "python": found.python, "installed": found.installed, "ours": ours}
        if not (found.digest or found.partial):
            return {"changed": False}
        if not self._task.check_mode:
            self._command(host_python.remove())
        return {"changed": True, "changes": [{"path": DIRECTORY, "what": "removed"}]}

    def _present(self) -> dict[str, Any]:
        """No other task can say why there is none: the preflight lists the problems of all hosts together."""
        try:
            return self._bring()
        except KubeproofError as error:
            return self._failed(str(error.args[0]), error.hint)
        except AnsibleError as error:
            return self._failed(str(error), "")

    def _bring(self) -> dict[str, Any]:
        named = host_python.named(self._variables.get("ansible_python_interpreter"))
        if named:
            raise KubeproofError(
                f"ansible_python_interpreter is {named}, which is not there, or too old",
                hint=f"correct it; without it kubeproof takes a Python to {DIRECTORY} on hosts that have none",
            )
        found = host_python.answered(self._command(host_python.ask()))
        host_python.check(found)
        if self._task.check_mode:
            raise KubeproofError(
                f"{self._arguments.get('why') or 'it has no Python'}; a run first puts one into {DIRECTORY}, without "
                "which nothing else can be said of it",
                hint=f"run it, or leave the host out: --limit '!{self._host}'",
            )
        archive = self._archive(found.arch)
        if found.digest != archive.sha256 or not found.python:
            self._command(host_python.receive(archive.sha256), archive.path.read_bytes())
        return {"changed": True, "brought": True, "changes": [{"path": DIRECTORY, "what": "missing"}]}

    def _archive(self, arch: str) -> Any:
        given = self._arguments
        pinned = pins.load()
        if pinned.python is None:
            raise KubeproofError("components.yml has no Python")
        state = Path(str(given["state_directory"]))
        # Where components come from is decided by what all clusters have: this runs before others are looked for.
        request = fetch.Request(
            source=str(given.get("source") or "auto"),
            mirror=str(given.get("mirror") or ""),
            versions=given.get("versions") or {},
            architectures=(arch,),
        )
        chosen = fetch.choose(request, pinned, state).source
        origin = portable_python.Origin(chosen, request.mirror)
        return portable_python.obtain(pinned.python, origin, arch, state)

    def _failed(self, problem: str, hint: str) -> dict[str, Any]:
        why = str(self._arguments.get("why") or "it has no Python")
        told = problem if self._task.check_mode or problem.startswith(why) else f"{why}, and {problem}"
        fact = {"unreachable": False, "problem": told, "remediation": hint}
        return {"changed": False, "brought": False, "ansible_facts": {"kubeproof_host": fact}}
