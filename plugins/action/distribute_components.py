"""Bring to a host what it needs of the fetched components: one round trip to ask, and only if something is missing, a
transfer and one more to put it in place.

Arguments:

``state_directory``: where ``fetch_components`` left its lock.
``directories``: ``{bin: PATH, cni: PATH}``, where binaries go on the host.
``versions``: as for ``fetch_components``.

Sets the fact ``kubeproof_components``: ``versions`` and ``images`` (reference) by name, ``binaries`` (``{path, sha256}``) by
name, ``image_archives`` (``{reference, archive, digest}`` each) to be imported. Returns ``changes`` (``{path, what}`` each)
and honours check mode and ``--diff``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from kubeproof.components import cache as caching
from kubeproof.components import distribution, pins
from kubeproof.components.lock import Lock
from kubeproof.errors import KubeproofError


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
            answer = self._module({"files": [file.wanted() for file in wanted.files]}, variables)
            if answer.get("changes") and not self._task.check_mode:
                answer = self._install(wanted, answer["changes"], variables)
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
        self, wanted: distribution.Distribution, changes: list[dict[str, str]], variables: dict[str, Any]
    ) -> dict[str, Any]:
        """Send the missing files one by one (no archive of them would be smaller, or sooner there) and install them."""
        self._make_tmp_path()
        directory = self._connection._shell.tmpdir
        missing = {change["sha256"] for change in changes if change["what"] != "attributes"}
        staged = {digest: self._connection._shell.join_path(directory, digest) for digest in sorted(missing)}
        with caching.Cache() as cache:
            for digest, path in staged.items():
                self._connection.put_file(str(distribution.blob_path(digest, cache)), path)
        try:
            return self._module({"files": [file.wanted() for file in wanted.files], "staged": staged}, variables)
        finally:
            self._remove_tmp_path(directory)

    def _module(self, arguments: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
        answer: dict[str, Any] = self._execute_module(
            module_name="host_components", module_args=arguments, task_vars=variables
        )
        return answer


def _diff(change: dict[str, str]) -> dict[str, str]:
    after = f"sha256 {change['sha256']}\n"
    return {"before_header": change["path"], "after_header": change["path"], "before": change["what"] + "\n", "after": after}
