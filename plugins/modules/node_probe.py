#!/usr/bin/python
"""A pod on a node, to see that the node runs pods that can be reached.

Standard library only; Python 3.8 and newer.
"""

from __future__ import annotations

import time
from typing import Any, Dict

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.kube_client import ARGUMENTS, NOT_FOUND, ApiError, Client, condition

DOCUMENTATION = r"""
module: node_probe
short_description: Start a pod on a node, to be reached from elsewhere
description:
  - Starts a pod with a web server in C(kube-system) on a node, without the scheduler, so that the node may be cordoned,
    and waits until it is ready. A pod of this name that an earlier run has left is replaced.
  - A NetworkPolicy lets everybody reach such pods as long as there is one, whatever other NetworkPolicies of the
    namespace say.
  - Fails if the pod does not become ready. That a node has no room for it, or that a quota or an admission policy
    refuses it, is no failure.
options:
  node:
    description: Name of the node.
    type: str
    required: true
  state:
    description: Whether there is to be such a pod.
    type: str
    choices: [started, absent]
    default: started
  image:
    description: Image of agnhost, for O(state=started).
    type: str
    default: ""
  timeout:
    description: Timeout, in seconds, for the pod to become ready.
    type: int
    default: 60
extends_documentation_fragment: [attributes, kube_api]
attributes:
  check_mode: {support: none}
  diff_mode: {support: none}
seealso:
  - module: node_drain
"""

EXAMPLES = r"""
- name: Start a pod on the node
  node_probe:
    server: https://127.0.0.1:6443
    ca: /etc/kubernetes/pki/ca.crt
    certificate: /etc/kubernetes/operator/client.crt
    key: /etc/kubernetes/operator/client.key
    node: w1
    image: localhost/kubeproof/agnhost:2.66.1
  register: probe
"""

RETURN = r"""
name:
  description: Name of the pod, which it also says at C(/hostname).
  type: str
  returned: success
address:
  description: Address of the pod; empty with O(state=absent), and if there is none.
  type: str
  returned: success
port:
  description: Port of its web server.
  type: int
  returned: success
no_room:
  description: Why there is no pod, if the node has no room for it, or the API refuses it; empty otherwise.
  type: str
  returned: success
"""

NAMESPACE = "kube-system"
LABELS = {"app.kubernetes.io/name": "kubeproof-probe", "app.kubernetes.io/managed-by": "kubeproof"}
# What quotas, admission webhooks and the admission of pods' security answer, and what admission policies do.
REFUSED = (403, 422)
PORT = 8080
POLL_SECONDS = 0.3
GONE_SECONDS = 60.0
LIFE_SECONDS = 900
NOBODY = 65534

Item = Dict[str, Any]


class NotReady(Exception):
    """The pod does not become ready; the message is for the operator."""


def manifest(node: str, uid: str, image: str) -> Item:
    """A pod that tolerates whatever keeps others away, and asks for nothing.

    It belongs to its node, like a static pod's, so that one that is left behind is in the way of no drain, and ends by
    itself after a while.
    """
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata(node, uid),
        "spec": {
            "nodeName": node,
            "activeDeadlineSeconds": LIFE_SECONDS,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": 0,
            "tolerations": [{"operator": "Exists"}],
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": NOBODY,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [
                {
                    "name": "server",
                    "image": image,
                    "args": ["netexec", "--http-port=%d" % PORT],
                    "readinessProbe": {"httpGet": {"path": "/hostname", "port": PORT}, "periodSeconds": 1},
                    "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
                }
            ],
        },
    }


def policy(node: str, uid: str) -> Item:
    """What lets everybody reach the pod: policies add up, and one that denies by default would be taken for a fault."""
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata(node, uid),
        "spec": {"podSelector": {"matchLabels": LABELS}, "policyTypes": ["Ingress"], "ingress": [{}]},
    }


def metadata(node: str, uid: str) -> Item:
    """Of the pod and its policy, which go with their node."""
    return {
        "name": name_for(node),
        "namespace": NAMESPACE,
        "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": node, "uid": uid}],
        "labels": LABELS,
    }


def name_for(node: str) -> str:
    """The name of a node's pod. A container's host name has 63 characters at most."""
    return ("kubeproof-probe-" + node)[:63].rstrip("-.")


def path(node: str = "") -> str:
    """The path of all pods, or of a node's."""
    pods = "/api/v1/namespaces/%s/pods" % NAMESPACE
    return "%s/%s" % (pods, name_for(node)) if node else pods


def policies(node: str = "") -> str:
    """The path of all policies, or of that of a node's pod."""
    found = "/apis/networking.k8s.io/v1/namespaces/%s/networkpolicies" % NAMESPACE
    return "%s/%s" % (found, name_for(node)) if node else found


def remove(client: Client, node: str) -> bool:
    """Delete the pod and its policy, and wait until the pod is gone; returns whether there was one."""
    client.ask("DELETE", policies(node))
    deadline = time.monotonic() + GONE_SECONDS
    there = False
    while True:
        try:
            client.get(path(node))
        except ApiError as error:
            if error.code == NOT_FOUND:
                return there
            raise
        if not there or time.monotonic() > deadline:
            # After a while by force: a kubelet that hangs ends nothing.
            client.ask("DELETE", path(node) + "?gracePeriodSeconds=0")
        if time.monotonic() > deadline + GONE_SECONDS:
            raise NotReady("%s/%s cannot be removed" % (NAMESPACE, name_for(node)))
        there = True
        time.sleep(POLL_SECONDS)


def start(client: Client, node: str, image: str, timeout: float) -> Dict[str, str]:
    """Create the pod, and wait until it is ready; its address, or why there is none. Raises NotReady."""
    uid = client.get("/api/v1/nodes/" + node)["metadata"]["uid"]
    # Where it is refused the pod may be reached all the same.
    client.ask("POST", policies(), policy(node, uid))
    code, answer = client.ask("POST", path(), manifest(node, uid, image))
    if code in REFUSED:
        return {"address": "", "no_room": "the API refuses it: %s" % answer.get("message", code)}
    if code >= 300:
        raise NotReady("no pod can be created on %s: %s" % (node, answer.get("message", code)))
    deadline = time.monotonic() + timeout
    while True:
        pod = client.get(path(node))
        status = pod.get("status", {})
        reason = str(status.get("reason") or "")
        if status.get("phase") == "Failed" and reason.startswith("OutOf"):
            return {"address": "", "no_room": "%s: %s" % (reason, status.get("message", ""))}
        if status.get("phase") == "Failed":
            raise NotReady("a pod on %s has failed: %s %s" % (node, reason, status.get("message", "")))
        if condition(pod, "Ready").get("status") == "True" and status.get("podIP"):
            return {"address": status["podIP"], "no_room": ""}
        if time.monotonic() > deadline:
            raise NotReady("a pod on %s is not ready after %d s: %s" % (node, timeout, told(status)))
        time.sleep(POLL_SECONDS)


def told(status: Item) -> str:
    """What a pod's status says of its being not ready."""
    waiting = [
        "%(reason)s %(message)s" % {"reason": state.get("reason", ""), "message": state.get("message", "")}
        for each in status.get("containerStatuses") or []
        for state in [each.get("state", {}).get("waiting") or {}]
    ]
    return "%s, %s" % (status.get("phase", "unknown"), " ".join(waiting).strip() or "its kubelet says no more")


def main() -> None:
    """Ansible's entry."""
    module = AnsibleModule(
        argument_spec={
            **ARGUMENTS,
            "node": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["started", "absent"], "default": "started"},
            "image": {"type": "str", "default": ""},
            "timeout": {"type": "int", "default": 60},
        },
    )
    node = module.params["node"]
    found = {"address": "", "no_room": ""}
    try:
        client = Client(module.params)
        changed = remove(client, node)
        if module.params["state"] == "started":
            changed = True
            found = start(client, node, module.params["image"], module.params["timeout"])
    except (ApiError, OSError, NotReady) as error:
        module.fail_json(msg=str(error))
    if found["no_room"]:
        module.warn("there is no pod on %s that could be reached: %s" % (node, found["no_room"]))
    module.exit_json(changed=changed, name=name_for(node), port=PORT, **found)


if __name__ == "__main__":
    main()
