"""Install one component on a host: users, directories, certificates and files.

One round trip, two when certificates are to be issued. Arguments, all lists optional:

``users``: names of system users to make, each with a group of the same name.
``directories``: ``{path, owner: root, group: owner's, mode: "0755", data: false}``; a reset empties those with
  ``data: true``.
``certificates``: ``{path, authority, common_name, usages, organizations, names, addresses, owner, group,
  mode: "0644"}``; makes ``PATH.key`` on the host (0600) and ``PATH.crt`` signed by the CA. CAs:
  ``kubernetes``, ``etcd``, ``front-proxy``.
``files``: each with one source and ``{owner: root, group: owner's, mode: "0644", validate}``:
  ``template`` (a file under the role's ``templates/``, which lies there where it lands:
  ``etc/etcd/etcd.yaml.j2`` becomes ``/etc/etcd/etcd.yaml``, unless ``dest`` says otherwise), with ``merge`` (a
  dictionary merged over the rendered YAML); ``content`` (text) with ``dest``; ``kubeconfig`` (``{cluster, user,
  server, authority, certificate, key}``) with ``dest``; ``authority`` (a CA's certificate), ``authority_key``, or
  ``service_account`` (``public`` or ``private``) with ``dest``; ``program`` (a package of this project, which becomes
  one executable file) with ``dest``; ``cluster_keys`` (``{how, recipients}``: the cluster's keys for its backups) with
  ``dest``.
``modules``: kernel modules to load. ``sysctls``: ``{name: value}``. ``absent``: paths to remove.
``settings``: ``{name: value}`` of the component's settings that a cluster keeps for its life: the host remembers them,
  and the preflight refuses others (``kubeproof.settings.fixed``).
``remember``: ``{sysctls: [name], firewall: false}``, what components change on their own: kept as it is now, so that a
  reset can put it back.

Returns ``changes`` (``{path, what}`` each) and honours check mode and ``--diff``.
"""

from __future__ import annotations

import base64
import json
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible.template import trust_as_template

from kubeproof.core.errors import KubeproofError
from kubeproof.install import request as install
from kubeproof.pki.authorities import PkiError


class ActionModule(ActionBase):  # type: ignore[misc]
    """Render on the controller, converge on the host, sign what the host asks for."""

    _supports_check_mode = True
    _supports_async = False
    _VALID_ARGS = frozenset(install.ARGUMENTS)

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        variables = task_vars or {}
        try:
            request = install.Request.parse(self._task.args, self._state_directory())
            payload = request.payload(lambda name: self._render(name, variables))
            answer = self._install(payload, variables)
            result.update(self._public(answer))
            if not answer.get("failed"):
                self._certify(request, answer, result, variables)
        except (install.RequestError, PkiError, KubeproofError) as error:
            raise AnsibleActionFail(str(error)) from error
        return result

    def _certify(
        self, request: install.Request, answer: dict[str, Any], result: dict[str, Any], variables: dict[str, Any]
    ) -> None:
        issued = request.issue(answer["certificates"], pretend=self._task.check_mode)
        if not issued.files:
            return
        result["changed"] = True
        result["changes"] = [*result["changes"], *issued.changes]
        if self._task.check_mode:
            return
        second = self._install({"files": issued.files}, variables)
        if second.get("failed"):
            result.update(self._public(second))

    def _install(self, payload: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
        encoded = base64.b64encode(json.dumps(payload).encode()).decode()
        answer: dict[str, Any] = self._execute_module(
            module_name="install_component", module_args={"payload": encoded}, task_vars=variables
        )
        return answer

    @staticmethod
    def _public(answer: dict[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in answer.items() if key not in ("certificates", "invocation")}

    def _state_directory(self) -> str:
        return str(self._templar.template(trust_as_template("{{ cluster_state_directory }}")))

    def _render(self, name: str, variables: dict[str, Any]) -> str:
        path = self._find_needle("templates", name)
        text = self._loader.get_text_file_contents(path)
        templar = self._templar.copy_with_new_env(available_variables=variables)
        overrides = {"trim_blocks": True, "lstrip_blocks": True}
        return str(templar.template(trust_as_template(text), escape_backslashes=False, overrides=overrides))
