#!/usr/bin/python
"""See to it that nodes have a taint, or have it not any more."""

from __future__ import annotations

from typing import Any, Dict, List

from ansible.module_utils import field_managers
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.kube_apply import MANAGER
from ansible.module_utils.kube_client import ARGUMENTS, NOT_COMPARED, ApiError, Client, connect, unanswered

DOCUMENTATION = r"""
module: node_taints
short_description: Add a taint to nodes, and remove it from others
description:
  - A kubelet sets the taints of its node only when it registers. This module updates one taint later, when the groups
    of a host have changed. Other taints are not changed.
  - Controllers write to the same list of taints. So updates contain the resource version of the node, and are retried
    up to ten times on a conflict.
  - Fails if a node of O(present) or O(absent) does not exist, unless it is one of O(unseen).
options:
  taint:
    description: Key of the taint, and of the label of nodes that have that role.
    type: str
    required: true
  effect:
    description: Effect of the taint, for example V(NoSchedule).
    type: str
    required: true
  present:
    description: Names of nodes that must have the taint.
    type: list
    elements: str
    required: true
  absent:
    description: Names of nodes that must not have the taint.
    type: list
    elements: str
    required: true
  former:
    description:
      - Names of nodes that must have neither the taint nor the label, if the label is one that M(kube_objects) has
        applied. So a taint or label that somebody else has given to a node is kept.
      - Nodes that do not exist are skipped.
    type: list
    elements: str
    default: []
  unseen:
    description: Names of nodes whose hosts the run has not seen. Those of them that do not exist are skipped.
    type: list
    elements: str
    default: []
extends_documentation_fragment: [attributes, kube_api]
attributes:
  check_mode: {support: partial, details: Compares nothing if no API server answers and says so.}
  diff_mode: {support: none}
"""

EXAMPLES = r"""
- name: Keep workloads off control-plane nodes that are not workers
  node_taints:
    server: https://127.0.0.1:6443
    ca: /etc/kubernetes/pki/ca.crt
    certificate: /etc/kubernetes/operator/client.crt
    key: /etc/kubernetes/operator/client.key
    taint: node-role.kubernetes.io/control-plane
    effect: NoSchedule
    present: "{{ groups['control_plane'] | difference(groups['workers']) }}"
    absent: "{{ groups['control_plane'] | intersect(groups['workers']) }}"
    former: "{{ groups['workers'] | difference(groups['control_plane']) }}"
"""

RETURN = r"""
changes:
  description: Changed nodes; in check mode those that would be changed.
  type: list
  elements: dict
  returned: always
  contains:
    path: {description: "The node, as V(Node NAME).", type: str}
    what: {description: "V(tainted), V(taint removed) or V(label and taint removed).", type: str}
  sample: [{path: Node cp1, what: tainted}]
"""

CONFLICT = 409
NOT_FOUND = 404
ATTEMPTS = 10
# What becomes of nodes, by the option that names them.
WHAT = {"present": "tainted", "absent": "taint removed", "former": "label and taint removed"}

Taint = Dict[str, Any]


def wanted_taints(taints: List[Taint], key: str, effect: str, present: bool) -> List[Taint]:
    """A node's taints as they should be; the very list if they are."""
    has = any(taint["key"] == key and taint["effect"] == effect for taint in taints)
    if has == present:
        return taints
    if present:
        return [*taints, {"key": key, "effect": effect}]
    return [taint for taint in taints if (taint["key"], taint["effect"]) != (key, effect)]


def wanted_change(node: Dict[str, Any], parameters: Dict[str, Any], option: str) -> Dict[str, Any]:
    """What has to be merged into a node that an option names; nothing if it is as it should be."""
    key, labels = parameters["taint"], {}
    if option == "former":
        # Where the label is ours, so is the taint, whoever has written that list last.
        if (MANAGER, field_managers.APPLY) not in field_managers.of(node, ["metadata", "labels", key]):
            return {}
        labels = {"labels": {key: None}}
    before = node["spec"].get("taints") or []
    after = wanted_taints(before, key, parameters["effect"], option == "present")
    if after == before and not labels:
        return {}
    metadata = {"resourceVersion": node["metadata"]["resourceVersion"], **labels}
    return {"metadata": metadata, "spec": {"taints": after}}


def converge_node(client: Client, name: str, parameters: Dict[str, Any], option: str, dry_run: bool) -> bool:
    """Bring one node's taints to what they should be; returns whether they were not."""
    for attempt in range(ATTEMPTS):
        try:
            change = wanted_change(client.get("/api/v1/nodes/" + name), parameters, option)
        except ApiError as error:
            if error.code == NOT_FOUND and (option == "former" or name in parameters["unseen"]):
                return False
            raise
        if not change:
            return False
        try:
            client.merge("/api/v1/nodes/" + name, change, MANAGER, dry_run)
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
            "former": {"type": "list", "elements": "str", "default": []},
            "unseen": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    changes: List[Dict[str, str]] = []
    try:
        client = connect(module)
        for option, what in WHAT.items():
            for name in module.params[option]:
                if converge_node(client, name, module.params, option, module.check_mode):
                    changes += [{"path": "Node " + name, "what": what}]
    except (ApiError, OSError) as error:
        if not (module.check_mode and unanswered(error)):
            module.fail_json(msg=str(error), changes=changes)
        module.warn(NOT_COMPARED % error)
    module.exit_json(changed=bool(changes), changes=changes)


if __name__ == "__main__":
    main()
