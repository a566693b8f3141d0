#!/usr/bin/python
"""Have the pods of a node leave it, within their budgets, or let pods come back."""

from __future__ import annotations

import time
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from ansible.module_utils import field_managers
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.kube_client import ARGUMENTS, NOT_FOUND, ApiError, Client

DOCUMENTATION = r"""
module: node_drain
short_description: Cordon and drain a node, or uncordon it
description:
  - With O(state=drained) cordons the node, evicts its pods with the Eviction API, which respects disruption budgets,
    and waits until they are gone. Pods of DaemonSets, static pods and pods that have ended stay. The annotation
    C(kubeproof.dev/cordoned-by) says who has cordoned the node.
  - With O(state=uncordoned) lets pods be scheduled again, if the annotation says that O(by) has cordoned the node. What
    an operator has cordoned stays cordoned in both states.
  - Fails before the first eviction if pods would lose what they have in emptyDir volumes other than those in memory, or
    if they have no controller that creates them again, unless O(local_data) and O(bare_pods) allow that.
  - Fails after O(timeout) with the pods that are left, and what the API says of them. The node stays cordoned.
options:
  node:
    description: Name of the node.
    type: str
    required: true
  state:
    description: Wanted state.
    type: str
    choices: [drained, uncordoned]
    default: drained
  by:
    description: Who cordons, as the annotation says it.
    type: str
    default: upgrade
  timeout:
    description: Longest time for all pods to leave, in seconds.
    type: int
    default: 300
  local_data:
    description: Whether pods with emptyDir volumes may be evicted, which lose what they have in them.
    type: bool
    default: false
  bare_pods:
    description: Whether pods without a controller may be evicted, which are not created again elsewhere.
    type: bool
    default: false
extends_documentation_fragment: [attributes, kube_api]
attributes:
  check_mode: {support: full}
  diff_mode: {support: none}
"""

EXAMPLES = r"""
- name: Drain the node
  node_drain:
    server: https://127.0.0.1:6443
    ca: /etc/kubernetes/pki/ca.crt
    certificate: /etc/kubernetes/operator/client.crt
    key: /etc/kubernetes/operator/client.key
    node: "{{ inventory_hostname }}"
    timeout: 600
  delegate_to: "{{ groups['control_plane'][0] }}"
"""

RETURN = r"""
changes:
  description: What was changed; in check mode what would be.
  type: list
  elements: dict
  returned: success
  contains:
    path: {description: "Node or pod, for example V(Pod default/web-0).", type: str}
    what: {description: "V(cordoned), V(evicted) or V(uncordoned).", type: str}
  sample: [{path: Node w1, what: cordoned}]
"""

# As src/kubeproof/upgrade/look.py has it.
CORDONED_BY = "kubeproof.dev/cordoned-by"
MANAGER = "kubeproof-upgrade"
MIRROR = "kubernetes.io/config.mirror"
CREATED = 201
PAUSE = 0.5
# For pods that are no controller's and end by themselves: those that make a volume's directory on the node.
SOON = 15.0

Item = Dict[str, Any]
Change = Dict[str, str]


class Remaining(Exception):
    """Pods that did not leave, or that may not."""


class Allowed(NamedTuple):
    """What pods may lose by their eviction: what they have in emptyDir volumes, or themselves."""

    local_data: bool = False
    bare_pods: bool = False


def stays(pod: Item) -> bool:
    """Whether a drain leaves a pod where it is."""
    metadata = pod["metadata"]
    daemon = any(owner["kind"] == "DaemonSet" for owner in metadata.get("ownerReferences") or [])
    ended = pod.get("status", {}).get("phase") in ("Succeeded", "Failed")
    return daemon or ended or MIRROR in (metadata.get("annotations") or {})


def cordoned(node: Item, by: str) -> bool:
    """Whether a node is cordoned by the same.

    The note outlives an operator's C(kubectl uncordon), so that it alone would claim what an operator cordons later.
    """
    noted = (node["metadata"].get("annotations") or {}).get(CORDONED_BY) == by
    return noted and (MANAGER, field_managers.UPDATE) in field_managers.of(node, ("spec", "unschedulable"))


def cordon(client: Client, node: str, by: str, dry_run: bool) -> List[Change]:
    """Let no pod be scheduled to a node, and note who wants that; what an operator has cordoned is left so."""
    path = "/api/v1/nodes/" + node
    if client.get(path)["spec"].get("unschedulable"):
        return []
    change = {"metadata": {"annotations": {CORDONED_BY: by}}, "spec": {"unschedulable": True}}
    client.merge(path, change, MANAGER, dry_run)
    return [{"path": "Node " + node, "what": "cordoned"}]


def uncordon(client: Client, node: str, by: str, dry_run: bool) -> List[Change]:
    """Let pods be scheduled to a node again, if it was cordoned by the same."""
    path = "/api/v1/nodes/" + node
    if not cordoned(client.get(path), by):
        return []
    change = {"metadata": {"annotations": {CORDONED_BY: None}}, "spec": {"unschedulable": None}}
    client.merge(path, change, MANAGER, dry_run)
    return [{"path": "Node " + node, "what": "uncordoned"}]


def pods(client: Client, node: str) -> List[Item]:
    """The pods that have to leave."""
    found: List[Item] = client.get("/api/v1/pods?fieldSelector=spec.nodeName%3D" + node)["items"]
    return [pod for pod in found if not stays(pod)]


def refuse(client: Client, node: str, allowed: Allowed, seconds: float) -> None:
    """Raise Remaining if pods would lose what they may not, after a while in which those that soon end have ended.

    A plan has asked that before the first turn, and pods may have come since, from nodes with an earlier turn for one.
    """
    deadline = time.monotonic() + seconds
    while True:
        found = ["%s: %s" % (title(pod), lost(pod, allowed)) for pod in pods(client, node) if lost(pod, allowed)]
        if not found:
            return
        if time.monotonic() > deadline:
            raise Remaining("no pod of %s is evicted: %s" % (node, "; ".join(found)))
        time.sleep(PAUSE)


def lost(pod: Item, allowed: Allowed) -> str:
    """What a pod would lose by its eviction, and may not; as ``kubeproof.upgrade.questions`` has it for the plan."""
    if pod["metadata"].get("deletionTimestamp"):
        return ""
    if not pod["metadata"].get("ownerReferences") and not allowed.bare_pods:
        return "it has no controller that creates it again elsewhere; upgrade_delete_bare_pods allows that"
    if holds(pod) and not allowed.local_data:
        return "it would lose what it has in emptyDir volumes; upgrade_delete_local_data allows that"
    return ""


def holds(pod: Item) -> bool:
    """Whether a pod has an emptyDir volume on a disk."""
    volumes = pod.get("spec", {}).get("volumes") or []
    return any("emptyDir" in each and not (each["emptyDir"] or {}).get("medium") for each in volumes)


def drain(client: Client, node: str, timeout: float, allowed: Allowed) -> List[Change]:
    """Evict pods until none is left. Raises Remaining."""
    deadline = time.monotonic() + timeout
    refuse(client, node, allowed, min(timeout, SOON))
    evicted: Dict[str, str] = {}
    while True:
        left = pods(client, node)
        problems = {}
        for pod in left:
            name, uid = title(pod), pod["metadata"]["uid"]
            if evicted.get(name) != uid:
                problem = lost(pod, allowed) or evict(client, pod)
                if problem is None:
                    evicted[name] = uid
                else:
                    problems[name] = problem
        if not left:
            return [{"path": "Pod " + name, "what": "evicted"} for name in evicted]
        if time.monotonic() > deadline:
            why = [problems.get(title(pod), "it was evicted, and does not end") for pod in left]
            told = ["%s: %s" % (title(pod), reason) for pod, reason in zip(left, why)]
            raise Remaining("after %d s there are still pods on %s: %s" % (timeout, node, "; ".join(told)))
        time.sleep(PAUSE)


def evict(client: Client, pod: Item) -> Optional[str]:
    """Evict a pod; returns why not, if a budget or something that may pass was in the way."""
    metadata = pod["metadata"]
    body = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": metadata["name"], "namespace": metadata["namespace"]},
        # Not another pod that has got the name since.
        "deleteOptions": {"preconditions": {"uid": metadata["uid"]}},
    }
    path = "/api/v1/namespaces/%(namespace)s/pods/%(name)s/eviction" % metadata
    code, answer = answered(client, path, body)
    if code in (200, CREATED, NOT_FOUND):
        return None
    causes = [cause.get("message", "") for cause in (answer.get("details") or {}).get("causes") or []]
    return " ".join([str(answer.get("message", code))] + [cause for cause in causes if cause])


def answered(client: Client, path: str, body: Item) -> Tuple[int, Item]:
    """What the API answers; that it does not is something that may pass, too."""
    try:
        answer: Tuple[int, Item] = client.ask("POST", path, body)
    except ApiError as error:
        return error.code, {"message": str(error)}
    return answer


def title(pod: Item) -> str:
    """A pod's namespace and name."""
    return "%(namespace)s/%(name)s" % pod["metadata"]


def main() -> None:
    """Ansible's entry."""
    module = AnsibleModule(
        argument_spec={
            **ARGUMENTS,
            "node": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["drained", "uncordoned"], "default": "drained"},
            "by": {"type": "str", "default": "upgrade"},
            "timeout": {"type": "int", "default": 300},
            "local_data": {"type": "bool", "default": False},
            "bare_pods": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    node, by, dry_run = module.params["node"], module.params["by"], module.check_mode
    try:
        client = Client(module.params)
        if module.params["state"] == "uncordoned":
            changes = uncordon(client, node, by, dry_run)
        else:
            allowed = Allowed(module.params["local_data"], module.params["bare_pods"])
            changes = cordon(client, node, by, dry_run)
            if dry_run:
                refuse(client, node, allowed, 0)
                changes += [{"path": "Pod " + title(pod), "what": "evicted"} for pod in pods(client, node)]
            else:
                changes += drain(client, node, module.params["timeout"], allowed)
    except (ApiError, OSError, Remaining) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=bool(changes), changes=changes)


if __name__ == "__main__":
    main()
