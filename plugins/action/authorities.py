"""Make the cluster's certificate authorities and the admin's kubeconfig in the state directory on the controller.

Arguments: ``directory`` (the state directory), ``cluster`` (its name), ``days`` (the authorities' validity), ``server``
(the URL for the kubeconfig). What is there and right stays as it is. Touches no host.
"""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from kubeproof import admin, pki
from kubeproof import state as states


class ActionModule(ActionBase):  # type: ignore[misc]
    """Thin: all of it is in ``kubeproof.pki`` and ``kubeproof.admin``."""

    _supports_check_mode = True
    _VALID_ARGS = frozenset(("directory", "cluster", "days", "server"))

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        arguments = self._task.args
        state = Path(str(arguments["directory"]))
        cluster, server = str(arguments["cluster"]), str(arguments["server"])
        lifetime = datetime.timedelta(days=int(arguments["days"]))
        if self._task.check_mode:
            made = [] if (state / "pki").is_dir() else ["authorities"]
            return {**result, "changed": bool(made), "made": made}
        try:
            made = pki.ensure_authorities(states.prepare(state) / "pki", cluster, lifetime)
            if admin.ensure_kubeconfig(state, cluster, server):
                made.append("admin.kubeconfig")
        except pki.PkiError as error:
            raise AnsibleActionFail(str(error)) from error
        return {**result, "changed": bool(made), "made": made}
