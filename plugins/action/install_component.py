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

from ansible.template import trust_as_template

from kubeproof.install import request as install
from kubeproof.install.action import Action


class ActionModule(Action):
    """Render on the controller, converge on the host, sign what the host asks for."""

    _VALID_ARGS = frozenset(install.ARGUMENTS)

    def act(self) -> dict[str, Any]:
        request = install.Request.parse(self._arguments, str(self._state_directory))
        answer = self._install(request.payload(self._render))
        if answer.get("failed"):
            return _public(answer)
        issued = request.issue(answer["certificates"], pretend=self._task.check_mode)
        result = _public(answer)
        if issued.files:
            result |= {"changed": True, "changes": [*result["changes"], *issued.changes]}
            second = {} if self._task.check_mode else self._install({"files": issued.files})
            result |= _public(second) if second.get("failed") else {}
        return result

    def _install(self, payload: dict[str, Any]) -> dict[str, Any]:
        return self._module({"_payload": base64.b64encode(json.dumps(payload).encode()).decode()})

    def _render(self, name: str) -> str:
        path = self._find_needle("templates", name)
        text = self._loader.get_text_file_contents(path)
        templar = self._templar.copy_with_new_env(available_variables=self._variables)
        overrides = {"trim_blocks": True, "lstrip_blocks": True}
        return str(templar.template(trust_as_template(text), escape_backslashes=False, overrides=overrides))


def _public(answer: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in answer.items() if key not in ("certificates", "invocation")}
