#!/usr/bin/python
"""Wait until API objects are as they should be, and return what was asked of them."""

from __future__ import annotations

import time
from typing import Any, Dict, List, Tuple

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.kube_client import ARGUMENTS, ApiError, Client, condition, connect, unanswered
from ansible.module_utils.kube_judge import judge, not_ready

DOCUMENTATION = r"""
module: kube_wait
short_description: Wait for conditions or fields of Kubernetes objects
description:
  - Polls objects until all of them have the given condition, field or value. Also waits for objects that do not exist
    yet, and for controllers that have not observed the latest generation of an object.
  - Fails after O(timeout), or as soon as an object has O(objects.failed), with the last values of the remaining
    objects. Changes nothing.
options:
  objects:
    description: Objects to wait for. Each needs O(objects.condition) or O(objects.field).
    type: list
    elements: dict
    required: true
    suboptions:
      path:
        description: API path of the object, for example V(/api/v1/nodes/w1).
        type: str
        required: true
      condition:
        description: Type of a status condition that must be V(True).
        type: str
      failed:
        description:
          - Type of a status condition with which the object has failed for good, for example V(Failed) of a Job. The
            task then fails at once, with its reason.
        type: str
      field:
        description: Field that must exist, with dots, for example V(spec.podCIDR).
        type: str
      optional:
        description: Whether an object that does not exist is left out of RV(values) instead of being waited for.
        type: bool
        default: false
      value:
        description: Value that O(objects.field) must have. By default, any value.
        type: raw
      renewed:
        description: Whether O(objects.field) must get another value than it has at first, as of a Lease that is held.
        type: bool
        default: false
      at_least:
        description: Number that O(objects.field) must come to. What does not exist counts as 0.
        type: int
      as_field:
        description:
          - Field of the same object, with dots, whose value O(objects.field) must have, for example V(spec.replicas).
            What does not exist counts as 0, which the API leaves out of a status.
        type: str
      nodes_lost:
        description:
          - Names of nodes that the run leaves out or has not reached. By as many of them as are not ready at that
            moment O(objects.field) may be less than O(objects.as_field), since pods may be there.
        type: list
        elements: str
        default: []
  timeout:
    description: Longest time to wait for all objects together, in seconds.
    type: int
    default: 120
extends_documentation_fragment: [attributes, kube_api]
attributes:
  check_mode: {support: partial, details: Looks once and warns of what is missing.}
  diff_mode: {support: none}
seealso:
  - plugin: api_questions
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Wait until the nodes are ready
  kube_wait:
    server: https://127.0.0.1:6443
    ca: /etc/kubernetes/pki/ca.crt
    certificate: /etc/kubernetes/operator/client.crt
    key: /etc/kubernetes/operator/client.key
    objects: "{{ groups['workers'] | api_questions('/api/v1/nodes/', condition='Ready') }}"
    timeout: 300
"""

RETURN = r"""
values:
  description: Values of fields, and messages of conditions, by path.
  type: dict
  returned: success
  sample: {/api/v1/nodes/w1: 10.244.1.0/24}
complete:
  description: Whether all objects are as wanted; false only in check mode.
  type: bool
  returned: success
step:
  description: What a plan says the run waits for here, as C(gate.after), a list of texts.
  type: dict
  returned: in check mode, if O(timeout) is not 0
"""

POLL_SECONDS = 0.2
# Of more objects of a kind only their number is reported.
NAMED = 4


def look(client: Client, wanted: Dict[str, Any]) -> Tuple[bool, Any, str]:
    """Ask once: whether it is as wanted, what was seen, and why it never will be; empty if it may.

    An object that is not there is not an error, yet.
    """
    try:
        document = client.get(wanted["path"])
    except ApiError as error:
        if error.code == 404:
            return False, None if wanted.get("optional") else "it does not exist", ""
        raise
    good, seen = judge(document, wanted)
    if not good and wanted.get("nodes_lost"):
        good, seen = judge(document, wanted, not_ready(client, wanted["nodes_lost"]))
    ended = condition(document, wanted["failed"]) if wanted.get("failed") and not good else {}
    if ended.get("status") != "True":
        return good, seen, ""
    reason = ": ".join(part for part in (ended.get("reason"), ended.get("message")) if part) or "it gives no reason"
    return False, reason, reason


def wait(client: Client, objects: List[Dict[str, Any]], timeout: float) -> Tuple[Dict[str, Any], List[str]]:
    """Poll until all are as wanted; returns what was seen by path, and the complaints.

    There are some if time ran out, or as soon as one has failed for good: then only about such ones.
    """
    deadline = time.monotonic() + timeout
    values: Dict[str, Any] = {}
    first: Dict[str, Any] = {}
    pending = list(objects)
    while True:
        missing = []
        hopeless = []
        for wanted in pending:
            good, seen, ended = look(client, wanted)
            if seen is None and wanted.get("optional"):
                continue
            if wanted.get("renewed") and good:
                good = first.setdefault(wanted["path"], seen) != seen
            values[wanted["path"]] = seen
            if ended:
                hopeless.append("%s: %s: %s" % (wanted["path"], wanted["failed"], ended))
            if not good:
                missing.append((wanted, seen))
        pending = [wanted for wanted, _ in missing]
        if hopeless or not pending:
            return values, hopeless
        if time.monotonic() > deadline:
            complaints = [
                "%s: %s: %s" % (item["path"], item.get("condition") or item["field"], seen) for item, seen in missing
            ]
            return values, complaints
        time.sleep(POLL_SECONDS)


def waited_for(objects: List[Dict[str, Any]]) -> List[str]:
    """What is waited for, in words, objects of a kind together. A field that is only read, whatever it is, is not."""
    found: Dict[Tuple[str, str], List[str]] = {}
    for wanted in objects:
        state = wanted_state(wanted)
        if state:
            kind, name = wanted["path"].rstrip("/").split("/")[-2:]
            names = found.setdefault((kind, state), [])
            names += [] if name in names else [name]
    return [
        "%s %s" % (" ".join([kind, ", ".join(names)]) if len(names) <= NAMED else "%d %s" % (len(names), kind), state)
        for (kind, state), names in found.items()
    ]


def wanted_state(wanted: Dict[str, Any]) -> str:
    """How an object has to be; empty if a field only has to be there."""
    if wanted.get("condition"):
        return str(wanted["condition"])
    if wanted.get("as_field"):
        # Numbers of a workload's pods: updated, ready, and no more than these.
        return "rolled out"
    if wanted.get("renewed"):
        return "renewed"
    if wanted.get("at_least") is not None:
        return "%s at least %s" % (wanted["field"], wanted["at_least"])
    return "%s %s" % (wanted["field"], wanted["value"]) if wanted.get("value") is not None else ""


def main() -> None:
    """Ansible's entry."""
    suboptions = {
        "path": {"type": "str", "required": True},
        "condition": {"type": "str"},
        "failed": {"type": "str"},
        "field": {"type": "str"},
        "value": {"type": "raw"},
        "as_field": {"type": "str"},
        "at_least": {"type": "int"},
        "renewed": {"type": "bool", "default": False},
        "nodes_lost": {"type": "list", "elements": "str", "default": []},
        "optional": {"type": "bool", "default": False},
    }
    module = AnsibleModule(
        argument_spec={
            **ARGUMENTS,
            "objects": {"type": "list", "elements": "dict", "required": True, "options": suboptions},
            "timeout": {"type": "int", "default": 120},
        },
        supports_check_mode=True,
    )
    begun = time.monotonic()
    try:
        client = connect(module)
        # What a run would bring about does not come in check mode.
        timeout = 0 if module.check_mode else module.params["timeout"]
        values, complaints = wait(client, module.params["objects"], timeout)
    except (ApiError, OSError) as error:
        if not (module.check_mode and unanswered(error)):
            module.fail_json(msg=str(error))
        values, complaints = {}, [str(error)]
    if module.check_mode:
        if complaints:
            module.warn("Not yet as the run would wait for it: %s" % "; ".join(complaints))
        gate = waited_for(module.params["objects"]) if module.params["timeout"] else []
        step = {"step": {"gate": {"after": gate}}} if gate else {}
        module.exit_json(changed=False, values=values, complete=not complaints, **step)
    if complaints:
        module.fail_json(msg="not there after %d s:\n%s" % (time.monotonic() - begun, "\n".join(complaints)))
    module.exit_json(changed=False, values=values, complete=True)


if __name__ == "__main__":
    main()
