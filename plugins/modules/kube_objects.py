#!/usr/bin/python
"""Bring API objects into a wanted state by server-side apply."""

from __future__ import annotations

from typing import Any, Dict, List

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.kube_client import ARGUMENTS, ApiError, Client

DOCUMENTATION = r"""
module: kube_objects
short_description: Apply API objects, server-side
description:
  - Applies each object as field manager C(kubeproof). Changed is what differs afterwards, so that a second run is
    silent. In check mode the server is asked what would happen (C(dryRun)).
options:
  server:
    description: URL of the API server.
    type: str
    required: true
  ca:
    description: File with the authority of the server's certificate.
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
  objects:
    description: The objects, in the order in which they are to be applied.
    type: list
    elements: dict
    required: true
author: [The kubeproof authors]
"""

MANAGER = "kubeproof"


def title(document: Dict[str, Any]) -> str:
    """Kind, namespace and name, for people."""
    metadata = document["metadata"]
    return "%s %s" % (document["kind"], "/".join(filter(None, [metadata.get("namespace"), metadata["name"]])))


def apply(client: Client, document: Dict[str, Any], dry_run: bool) -> str:
    """Apply one object; returns what happened to it, empty if nothing."""
    try:
        before = client.get(client.path(document))
    except ApiError as error:
        if error.code != 404:
            raise
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


def main() -> None:
    """Ansible's entry."""
    module = AnsibleModule(
        argument_spec={**ARGUMENTS, "objects": {"type": "list", "elements": "dict", "required": True}},
        supports_check_mode=True,
    )
    changes: List[Dict[str, str]] = []
    try:
        client = Client(module.params)
        for document in module.params["objects"]:
            what = apply(client, document, module.check_mode)
            if what:
                changes.append({"path": title(document), "what": what})
    except (ApiError, OSError) as error:
        module.fail_json(msg=str(error), changes=changes)
    module.exit_json(changed=bool(changes), changes=changes)


if __name__ == "__main__":
    main()
