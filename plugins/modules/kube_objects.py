#!/usr/bin/python
"""Bring API objects into a wanted state by server-side apply."""

from __future__ import annotations

from typing import Any, Dict, List
from urllib.parse import quote

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.kube_client import ARGUMENTS, ApiError, Client

DOCUMENTATION = r"""
module: kube_objects
short_description: Apply and remove Kubernetes objects, server-side
description:
  - Applies each object by server-side apply, as the field manager C(kubeproof) and with force
    (U(https://kubernetes.io/docs/reference/using-api/server-side-apply/)). An object counts as changed if its spec,
    data, labels, annotations or owners differ afterwards, so that a second run changes nothing.
  - Runs on a host that reaches the API server, with nothing but Python. In check mode the server is asked what would
    happen (C(dryRun=All)).
  - Fails on the first object that the server refuses. Those before it stay applied.
options:
  objects:
    description: The objects, in the order in which they are applied.
    type: list
    elements: dict
    required: true
  create:
    description: Whether objects that do not exist are created. If not, they are passed over.
    type: bool
    default: true
  absent:
    description: Objects to delete, of which C(apiVersion), C(kind) and C(metadata) are enough.
    type: list
    elements: dict
    default: []
  prune:
    description:
      - Paths of collections in the API, each with a label selector. What they list is deleted unless it is among
        O(objects). For objects whose names follow from settings.
    type: list
    elements: str
    default: []
extends_documentation_fragment: [attributes, kube_api]
attributes:
  check_mode: {support: full}
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

- name: Keep the role bindings that are wanted, and delete others of ours
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
  description: What was changed, or in check mode would be, in order.
  type: list
  elements: dict
  returned: always
  contains:
    path: {description: "Kind, namespace and name of the object.", type: str}
    what: {description: "V(created), V(changed) or V(removed).", type: str}
  sample: [{path: ConfigMap kube-system/coredns, what: created}]
"""

MANAGER = "kubeproof"


def title(document: Dict[str, Any]) -> str:
    """Kind, namespace and name, for people."""
    metadata = document["metadata"]
    return "%s %s" % (document["kind"], "/".join(filter(None, [metadata.get("namespace"), metadata["name"]])))


def apply(client: Client, document: Dict[str, Any], dry_run: bool, create: bool = True) -> str:
    """Apply one object; returns what happened to it, empty if nothing."""
    try:
        before = client.get(client.path(document))
    except ApiError as error:
        if error.code != 404:
            raise
        if not create:
            return ""
        client.apply(document, MANAGER, dry_run)
        return "created"
    after = client.apply(document, MANAGER, dry_run)
    return "" if same(before, after) else "changed"


def same(before: Dict[str, Any], after: Dict[str, Any]) -> bool:
    """Whether an apply moved anything that its author wrote: spec, data, labels; not a status that moves by itself."""

    def essence(document: Dict[str, Any]) -> Dict[str, Any]:
        metadata = document["metadata"]
        kept = {key: value for key, value in document.items() if key not in ("metadata", "status")}
        kept["metadata"] = {key: metadata.get(key) for key in ("labels", "annotations", "ownerReferences")}
        return kept

    return essence(before) == essence(after)


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


def remove(client: Client, path: str, dry_run: bool) -> bool:
    """Delete an object if it is there; returns whether it was."""
    try:
        client.get(path)
        client.delete(path, dry_run)
    except ApiError as error:
        if error.code != 404:
            raise
        return False
    return True


def main() -> None:
    """Ansible's entry."""
    module = AnsibleModule(
        argument_spec={
            **ARGUMENTS,
            "objects": {"type": "list", "elements": "dict", "required": True},
            "create": {"type": "bool", "default": True},
            "absent": {"type": "list", "elements": "dict", "default": []},
            "prune": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    changes: List[Dict[str, str]] = []
    try:
        client = Client(module.params)
        for document in module.params["objects"]:
            what = apply(client, document, module.check_mode, module.params["create"])
            if what:
                changes.append({"path": title(document), "what": what})
        for path, name in unwanted(client, module.params).items():
            if remove(client, path, module.check_mode):
                changes.append({"path": name, "what": "removed"})
    except (ApiError, OSError) as error:
        module.fail_json(msg=str(error), changes=changes)
    module.exit_json(changed=bool(changes), changes=changes)


if __name__ == "__main__":
    main()
