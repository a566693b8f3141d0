#!/usr/bin/python
"""See to it that nodes have a taint, or have it not."""

from __future__ import annotations

from typing import Any, Dict, List

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.kube_client import ARGUMENTS, ApiError, Client

DOCUMENTATION = r"""
module: node_taints
short_description: Give nodes a taint, and take it from others
description:
  - A kubelet gives its node taints when it registers, and never again; this keeps one taint right afterwards, when a
    host's duties change. Other taints stay as they are.
  - Taints are one list to the API server, and controllers write it too, so that a write names the version of the node
    that it starts from and is tried again if there is a newer one.
options:
  server:
    description: URL of the API server.
    type: str
    required: true
  ca:
    description: File with the CA of the server's certificate.
    type: path
    required: true
  certificate:
    description: File with the client certificate.
    type: path
    required: true
  key:
    description: File with the client certificate's key.
    type: path
    required: true
  taint:
    description: Key of the taint.
    type: str
    required: true
  effect:
    description: Effect of the taint, such as C(NoSchedule).
    type: str
    required: true
  present:
    description: Nodes that have it.
    type: list
    elements: str
    required: true
  absent:
    description: Nodes that don't.
    type: list
    elements: str
    required: true
author: [The kubeproof authors]
"""

CONFLICT = 409
ATTEMPTS = 10

Taint = Dict[str, Any]


def wanted_taints(taints: List[Taint], key: str, effect: str, present: bool) -> List[Taint]:
    """A node's taints as they should be; the very list if they are."""
    has = any(taint["key"] == key and taint["effect"] == effect for taint in taints)
    if has == present:
        return taints
    if present:
        return [*taints, {"key": key, "effect": effect}]
    return [taint for taint in taints if (taint["key"], taint["effect"]) != (key, effect)]


def converge_node(client: Client, name: str, parameters: Dict[str, Any], present: bool, dry_run: bool) -> bool:
    """Bring one node's taints to what they should be; returns whether they were not."""
    for attempt in range(ATTEMPTS):
        node = client.get("/api/v1/nodes/" + name)
        before = node["spec"].get("taints") or []
        after = wanted_taints(before, parameters["taint"], parameters["effect"], present)
        if after == before:
            return False
        metadata = {"resourceVersion": node["metadata"]["resourceVersion"]}
        try:
            client.merge("/api/v1/nodes/" + name, {"metadata": metadata, "spec": {"taints": after}}, dry_run)
        except ApiError as error:
            if error.code != CONFLICT or attempt == ATTEMPTS - 1:
                raise
        else:
            return True
    return False


def main() -> None:
    """Ansible's entry."""
    names = {"type": "list", "elements": "str", "required": True}
    module = AnsibleModule(
        argument_spec={
            **ARGUMENTS,
            "taint": {"type": "str", "required": True},
            "effect": {"type": "str", "required": True},
            "present": names,
            "absent": names,
        },
        supports_check_mode=True,
    )
    changes: List[Dict[str, str]] = []
    try:
        client = Client(module.params)
        for present in (True, False):
            what = "tainted" if present else "taint removed"
            for name in module.params["present" if present else "absent"]:
                if converge_node(client, name, module.params, present, module.check_mode):
                    changes += [{"path": "Node " + name, "what": what}]
    except (ApiError, OSError) as error:
        module.fail_json(msg=str(error), changes=changes)
    module.exit_json(changed=bool(changes), changes=changes)


if __name__ == "__main__":
    main()
