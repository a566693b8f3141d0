"""Who has set a field of an object, as an API server records it.

https://kubernetes.io/docs/reference/using-api/server-side-apply/#field-management

Standard library only, Python 3.8 and newer, and nothing of this package: Ansible's modules on the host have it too, as
``plugins/module_utils/field_managers.py``, which is a link to this file.
"""

from __future__ import annotations

from typing import Any, List, Mapping, Sequence, Tuple

# The way of a change that is no apply.
UPDATE = "Update"
APPLY = "Apply"


def of(document: Mapping[str, Any], field: Sequence[str]) -> List[Tuple[str, str]]:
    """The managers of a field, each with the operation by which it has set it; empty if nobody has.

    ``field`` is the way to it, such as ``("spec", "unschedulable")``. Whoever removes a field takes it from all others.
    """
    found = []
    for entry in document["metadata"].get("managedFields") or []:
        owned: Any = entry.get("fieldsV1")
        for part in field:
            owned = owned.get("f:" + part) if isinstance(owned, dict) else None
        if owned is not None:
            found.append((entry.get("manager", ""), entry.get("operation", "")))
    return found
