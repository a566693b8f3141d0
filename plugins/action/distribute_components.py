"""Bring to a host what it needs of the fetched components: one round trip to ask, and only if something is missing, a
transfer and one more to put it in place.

Files go through the standard input of a command rather than through SFTP: it takes the same time, and they arrive as root's,
on the file system that they are for, where SFTP would leave them to be copied out of the home of whoever logs in.

Arguments:

``state_directory``: where ``fetch_components`` left its lock.
``directories``: ``{bin: PATH, cni: PATH}``, where binaries go on the host.
``versions``: as for ``fetch_components``.

Sets the fact ``kubeproof_components``: ``versions`` and ``images`` (reference) by name, ``binaries`` (``{path, sha256}``) by
name, ``image_archives`` (``{reference, archive, digest}`` each) to be imported. Returns ``changes`` (``{path, what}`` each)
and honours check mode and ``--diff``.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from kubeproof.components import cache as caching
from kubeproof.components import distribution, pins
from kubeproof.components.lock import Lock
from kubeproof.errors import KubeproofError

# What a command is given at once, in bytes: Ansible keeps it in memory, for as many hosts as it has forks.
_SLICE = 32 << 20


class ActionModule(ActionBase):  # type: ignore[misc]
    """Ask the host, send what it lacks, have it installed."""

    _supports_check_mode = True
    _supports_async = False
    _VALID_ARGS = frozenset(("state_directory", "directories", "versions"))

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        variables = task_vars or {}
        try:
            wanted = self._plan(variables)
            answer = self._module(wanted, "compared", variables)
            if answer.get("changes") and not self._task.check_mode:
                answer = self._install(wanted, answer, variables)
        except KubeproofError as error:
            raise AnsibleActionFail(str(error)) from error
        if answer.get("failed"):
            return result | answer
        changes = [{"path": change["path"], "what": change["what"]} for change in answer["changes"]]
        return result | {
            "changed": bool(changes),
            "changes": changes,
            "diff": [_diff(change) for change in answer["changes"]],
            "ansible_facts": {"kubeproof_components": dict(wanted.facts)},
        }

    def _plan(self, variables: dict[str, Any]) -> distribution.Distribution:
        arguments = self._task.args
        pinned = pins.load().with_versions(arguments.get("versions") or {})
        arch = variables["ansible_facts"]["kubeproof_host"]["arch"]
        lock = Lock(Path(arguments["state_directory"]))
        return distribution.plan(pinned, lock, variables["group_names"], arch, arguments["directories"])

    def _install(
        self, wanted: distribution.Distribution, answer: dict[str, Any], variables: dict[str, Any]
    ) -> dict[str, Any]:
        missing = {change["sha256"] for change in answer["changes"] if change["what"] != "attributes"}
        with caching.Cache() as cache:
            for digest in sorted(missing):
                self._send(distribution.blob_path(digest, cache), f"{answer['staging']}/{digest}")
        return self._module(wanted, "installed", variables)

    def _send(self, source: Path, target: str) -> None:
        redirection = ">"
        with source.open("rb") as stream:
            while data := stream.read(_SLICE):
                done = self._low_level_execute_command(f"cat {redirection} {shlex.quote(target)}", in_data=data)
                if done["rc"]:
                    raise KubeproofError(f"sending {target} failed: {done['stderr'].strip() or done['stdout'].strip()}")
                redirection = ">>"

    def _module(
        self, wanted: distribution.Distribution, state: str, variables: dict[str, Any]
    ) -> dict[str, Any]:
        arguments = {"files": [file.wanted() for file in wanted.files], "state": state}
        answer: dict[str, Any] = self._execute_module(
            module_name="host_components", module_args=arguments, task_vars=variables
        )
        return answer


def _diff(change: dict[str, str]) -> dict[str, str]:
    after = f"sha256 {change['sha256']}\n"
    return {"before_header": change["path"], "after_header": change["path"], "before": change["what"] + "\n", "after": after}
