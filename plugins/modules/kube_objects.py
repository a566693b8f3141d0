#!/usr/bin/python
"""Bring API objects into a wanted state by server-side apply."""

from __future__ import annotations

from typing import Any, Dict, List
from urllib.parse import quote

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.kube_apply import apply, remove, title
from ansible.module_utils.kube_client import ARGUMENTS, NOT_COMPARED, ApiError, Client, connect, unanswered

DOCUMENTATION = r"""
module: kube_objects
short_description: Apply and delete Kubernetes objects
description:
  - Applies each object with server-side apply, as field manager C(kubeproof) and with C(force)
    (U(https://kubernetes.io/docs/reference/using-api/server-side-apply/)). An object counts as changed if its spec,
    data, labels, annotations or owners differ afterwards, so that a second run changes nothing.
  - Needs only Python on the host. In check mode, requests are sent with C(dryRun=All).
  - A StorageClass whose immutable fields differ is deleted and created again; volumes and claims stay.
  - Fails on the first object that the server rejects. Objects before it stay applied.
options:
  objects:
    description: Objects to apply, in this order.
    type: list
    elements: dict
    required: true
  create:
    description: Whether to create objects that do not exist. If false, they are skipped.
    type: bool
    default: true
  keep:
    description:
      - Fields of O(objects), with dots, that are left out of objects that exist if another field manager has set them,
        for example C(spec.replicas) of an autoscaler. Otherwise they would be put back (C(force)).
    type: list
    elements: str
    default: []
  absent:
    description: Objects to delete. Only C(apiVersion), C(kind) and C(metadata) are used.
    type: list
    elements: dict
    default: []
  prune:
    description:
      - API paths of collections with a label selector. Objects in them that are not in O(objects) are deleted. Useful
        if names of objects depend on settings.
    type: list
    elements: str
    default: []
extends_documentation_fragment: [attributes, kube_api]
attributes:
  check_mode: {support: partial, details: Compares nothing if no API server answers and says so.}
  diff_mode: {support: none}
"""

EXAMPLES = r"""
- name: Label a node, if its kubelet has registered it
  kube_objects:
    server: https://127.0.0.1:6443
    ca: /etc/kubernetes/pki/ca.crt
    certificate: /etc/kubernetes/operator/client.crt
    key: /etc/kubernetes/operator/client.key
    objects: "{{ ['cp1'] | node_role_objects('control-plane') }}"
    create: false

- name: Apply a deployment, and leave its size to an autoscaler if it has one
  kube_objects:
    server: https://127.0.0.1:6443
    ca: /etc/kubernetes/pki/ca.crt
    certificate: /etc/kubernetes/operator/client.crt
    key: /etc/kubernetes/operator/client.key
    objects: "{{ lookup('ansible.builtin.template', 'coredns.yaml.j2') | from_yaml_all | list }}"
    keep: [spec.replicas]

- name: Apply role bindings, and delete those that are no longer in the template
  kube_objects:
    server: https://127.0.0.1:6443
    ca: /etc/kubernetes/pki/ca.crt
    certificate: /etc/kubernetes/operator/client.crt
    key: /etc/kubernetes/operator/client.key
    objects: "{{ lookup('ansible.builtin.template', 'access.yaml.j2') | from_yaml_all | list }}"
    prune: ["/apis/rbac.authorization.k8s.io/v1/clusterrolebindings?labelSelector=app.kubernetes.io%2Fname%3Dexample"]
"""

RETURN = r"""
changes:
  description: Changes, in order; in check mode those that would be made.
  type: list
  elements: dict
  returned: always
  contains:
    path: {description: "Kind, namespace and name of the object.", type: str}
    what: {description: "V(created), V(changed) or V(removed).", type: str}
  sample: [{path: ConfigMap kube-system/coredns, what: created}]
"""


def unwanted(client: Client, params: Dict[str, Any]) -> Dict[str, str]:
    """What has to be deleted: titles by path."""
    found = {client.path(document): title(document) for document in params["absent"]}
    wanted = {client.path(document) for document in params["objects"]}
    for collection in params["prune"]:
        listed = client.get(collection)
        for item in listed["items"]:
            kind = listed["kind"][: -len("List")]
            path = "%s/%s" % (collection.partition("?")[0], quote(item["metadata"]["name"]))
            found[path] = title({"kind": kind, "metadata": item["metadata"]})
    return {path: what for path, what in found.items() if path not in wanted}


def main() -> None:
    """Ansible's entry."""
    module = AnsibleModule(
        argument_spec={
            **ARGUMENTS,
            "objects": {"type": "list", "elements": "dict", "required": True},
            "create": {"type": "bool", "default": True},
            "keep": {"type": "list", "elements": "str", "default": []},
            "absent": {"type": "list", "elements": "dict", "default": []},
            "prune": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    changes: List[Dict[str, str]] = []
    try:
        client = connect(module)
        for document in module.params["objects"]:
            what = apply(client, document, module.check_mode, module.params["create"], module.params["keep"])
            if what:
                changes.append({"path": title(document), "what": what})
        for path, name in unwanted(client, module.params).items():
            if remove(client, path, module.check_mode):
                changes.append({"path": name, "what": "removed"})
    except (ApiError, OSError) as error:
        if not (module.check_mode and unanswered(error)):
            module.fail_json(msg=str(error), changes=changes)
        module.warn(NOT_COMPARED % error)
    module.exit_json(changed=bool(changes), changes=changes)


if __name__ == "__main__":
    main()
