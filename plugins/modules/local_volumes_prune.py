#!/usr/bin/python
"""Remove local volumes that are not set any more, and keep those that a claim has."""

from __future__ import annotations

from typing import Any, Dict, Iterator, List, Tuple

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.kube_client import ARGUMENTS, NOT_COMPARED, ApiError, Client, connect, unanswered

DOCUMENTATION = r"""
module: local_volumes_prune
short_description: Remove local volumes that are not set any more
description:
  - Deletes the PersistentVolumes with the label C(kubeproof.io/local-volume) that are not in O(volumes), unless a claim
    has them (phase C(Bound)), and then the StorageClasses with that label that are not in O(storage_classes), if no
    volume of theirs is left. A volume that a claim has is kept, with a warning that names the claim.
  - Directories and what is in them stay on their hosts.
options:
  volumes:
    description: Names of the volumes that are set.
    type: list
    elements: str
    required: true
  storage_classes:
    description: Names of the StorageClasses that are set.
    type: list
    elements: str
    required: true
extends_documentation_fragment: [attributes, kube_api]
attributes:
  check_mode: {support: partial, details: Compares nothing if no API server answers and says so.}
  diff_mode: {support: none}
"""

EXAMPLES = r"""
- name: Remove all local volumes that no claim has
  local_volumes_prune:
    server: https://127.0.0.1:6443
    ca: /etc/kubernetes/pki/ca.crt
    certificate: /etc/kubernetes/operator/client.crt
    key: /etc/kubernetes/operator/client.key
    volumes: []
    storage_classes: []
"""

RETURN = r"""
changes:
  description: What was removed; in check mode what would be.
  type: list
  elements: dict
  returned: always
  contains:
    path: {description: "Kind and name of the object.", type: str}
    what: {description: V(removed)., type: str}
  sample: [{path: PersistentVolume data-w1-96b53e47, what: removed}]
kept:
  description: Volumes that are not set any more and are kept, since a claim has them.
  type: list
  elements: str
  returned: always
  sample: [data-w1-96b53e47]
"""

SELECTOR = "?labelSelector=kubeproof.io/local-volume"
VOLUMES = "/api/v1/persistentvolumes"
CLASSES = "/apis/storage.k8s.io/v1/storageclasses"
KEPT = (
    "PersistentVolume %s is not in local_volumes_directories any more, and is kept: claim %s has it. Its data stays. "
    "To remove the volume, delete its pods and the claim, and run again; or set it there again"
)

Item = Dict[str, Any]


def judge(found: List[Item], wanted: List[str]) -> Tuple[List[str], List[Item]]:
    """Of volumes that are there: names of those to remove, and those that are kept though they are not set."""
    removed, kept = [], []
    for item in found:
        # One that is going needs no more than time.
        if item["metadata"]["name"] in wanted or "deletionTimestamp" in item["metadata"]:
            continue
        if item.get("status", {}).get("phase") == "Bound":
            kept.append(item)
        else:
            removed.append(item["metadata"]["name"])
    return removed, kept


def unused(classes: List[Item], wanted: List[str], kept: List[Item]) -> Iterator[str]:
    """The classes to remove: nobody wants them, and no volume that is kept is of them."""
    needed = {item["spec"].get("storageClassName") for item in kept}
    for item in classes:
        name = item["metadata"]["name"]
        if name not in wanted and name not in needed:
            yield name


def told(item: Item) -> str:
    """Why a volume is kept."""
    claim = item["spec"].get("claimRef") or {}
    return KEPT % (item["metadata"]["name"], "%s/%s" % (claim.get("namespace", ""), claim.get("name", "")))


def prune(client: Client, parameters: Dict[str, Any], dry_run: bool, changes: List[Dict[str, str]]) -> List[Item]:
    """Remove what is to go, and note it in ``changes``; the volumes that are kept."""
    gone, kept = judge(client.items(VOLUMES + SELECTOR), parameters["volumes"])
    for name in gone:
        client.delete("%s/%s" % (VOLUMES, name), dry_run)
        changes.append({"path": "PersistentVolume " + name, "what": "removed"})
    for name in unused(client.items(CLASSES + SELECTOR), parameters["storage_classes"], kept):
        client.delete("%s/%s" % (CLASSES, name), dry_run)
        changes.append({"path": "StorageClass " + name, "what": "removed"})
    return kept


def main() -> None:
    """Ansible's entry."""
    names = {"type": "list", "elements": "str", "required": True}
    module = AnsibleModule(
        argument_spec={**ARGUMENTS, "volumes": names, "storage_classes": names}, supports_check_mode=True
    )
    changes: List[Dict[str, str]] = []
    kept: List[Item] = []
    try:
        kept = prune(connect(module), module.params, module.check_mode, changes)
    except (ApiError, OSError) as error:
        if not (module.check_mode and unanswered(error)):
            module.fail_json(msg=str(error), changes=changes)
        module.warn(NOT_COMPARED % error)
    for item in kept:
        module.warn(told(item))
    module.exit_json(changed=bool(changes), changes=changes, kept=[item["metadata"]["name"] for item in kept])


if __name__ == "__main__":
    main()
