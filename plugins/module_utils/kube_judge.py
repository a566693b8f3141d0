"""Whether an API object is as somebody waits for it to be. Standard library only; Python 3.8 and newer."""

from __future__ import annotations

from typing import Any, Dict, List, Tuple

from ansible.module_utils.kube_client import Client, condition

NODES = "/api/v1/nodes"


def field(document: Dict[str, Any], dotted: str) -> Any:
    """The value at a dotted path; None if it is not there."""
    value: Any = document
    for part in dotted.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def not_ready(client: Client, nodes: List[str]) -> int:
    """How many of these nodes are not ready. Of one without a Node object there are no pods either. Raises ApiError."""
    found = client.get(NODES)["items"] if nodes else []
    return sum(each["metadata"]["name"] in nodes and condition(each, "Ready").get("status") != "True" for each in found)


def judge(document: Dict[str, Any], wanted: Dict[str, Any], may_lack: int = 0) -> Tuple[bool, Any]:
    """Whether an object is as wanted, and what was seen.

    ``may_lack``: by how much a field may be less than another one, if that counts pods on nodes (``nodes_lost``).
    """
    observed = document.get("status", {}).get("observedGeneration")
    if observed is not None and observed < document["metadata"]["generation"]:
        return False, "its controller has not seen its last change yet"
    if wanted.get("condition"):
        seen = condition(document, wanted["condition"])
        return seen.get("status") == "True", seen.get("message") or seen.get("reason") or "not reported yet"
    value = field(document, wanted["field"])
    if wanted.get("as_field"):
        other = field(document, wanted["as_field"])
        lacking = may_lack if wanted.get("nodes_lost") else 0
        good = (value or 0) >= (other or 0) - lacking if lacking else (value or 0) == (other or 0)
        return good, "%s of %s" % (value or 0, other or 0)
    if wanted.get("at_least") is not None:
        return (value or 0) >= wanted["at_least"], "%s of %s" % (value or 0, wanted["at_least"])
    if wanted.get("value") is None:
        return value is not None, value
    return value == wanted["value"], value
