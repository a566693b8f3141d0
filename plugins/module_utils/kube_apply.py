"""Server-side apply of Kubernetes objects, and what it changed. Standard library only; Python 3.8 and newer."""

from __future__ import annotations

import copy
from typing import Any, Dict, Sequence

from ansible.module_utils import field_managers
from ansible.module_utils.kube_client import ApiError, Client

MANAGER = "kubeproof"
INVALID = 422
# Most of its fields are immutable (ValidateStorageClassUpdate). Claims and volumes only name it, so that none of them
# minds that it is missing for a moment.
STORAGE_CLASS = "StorageClass"
# Of a name to which four characters are added.
LONGEST_NAME = 249


def title(document: Dict[str, Any]) -> str:
    """Kind, namespace and name, for people."""
    metadata = document["metadata"]
    return "%s %s" % (document["kind"], "/".join(filter(None, [metadata.get("namespace"), metadata["name"]])))


def apply(
    client: Client, document: Dict[str, Any], dry_run: bool, create: bool = True, keep: Sequence[str] = ()
) -> str:
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
    others = [field.split(".") for field in keep if set_by_others(before, field.split("."))]
    try:
        after = client.apply(without(document, others), MANAGER, dry_run)
    except ApiError as error:
        if error.code != INVALID or document["kind"] != STORAGE_CLASS:
            raise
        replace(client, document, dry_run)
        return "changed"
    return "" if same(before, after) else "changed"


def replace(client: Client, document: Dict[str, Any], dry_run: bool) -> None:
    """Delete an object that cannot be changed, and create it again. Raises ApiError before that if it is refused."""
    metadata = document["metadata"]
    other = {**document, "metadata": {**metadata, "name": metadata["name"][:LONGEST_NAME] + "-new"}}
    client.apply(other, MANAGER, True)
    if not dry_run:
        client.delete(client.path(document), dry_run)
        client.apply(document, MANAGER, dry_run)


def set_by_others(document: Dict[str, Any], field: Sequence[str]) -> bool:
    """Whether another field manager than ours has set a field, as the server records it (``managedFields``)."""
    return any(found != (MANAGER, field_managers.APPLY) for found in field_managers.of(document, field))


def without(document: Dict[str, Any], fields: Sequence[Sequence[str]]) -> Dict[str, Any]:
    """A copy of an object without some fields."""
    copied: Dict[str, Any] = copy.deepcopy(document)
    for *way, last in fields:
        parent: Any = copied
        for part in way:
            parent = parent.get(part) if isinstance(parent, dict) else None
        if isinstance(parent, dict):
            parent.pop(last, None)
    return copied


def same(before: Dict[str, Any], after: Dict[str, Any]) -> bool:
    """Whether an apply moved anything that its author wrote: spec, data, labels; not a status that moves by itself."""

    def essence(document: Dict[str, Any]) -> Dict[str, Any]:
        metadata = document["metadata"]
        kept = {key: value for key, value in document.items() if key not in ("metadata", "status")}
        kept["metadata"] = {key: metadata.get(key) for key in ("labels", "annotations", "ownerReferences")}
        return kept

    return essence(before) == essence(after)


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
