"""Whether an API object is as somebody waits for it to be. Standard library only; Python 3.8 and newer."""

from __future__ import annotations

from typing import Any, Dict, Tuple

from ansible.module_utils.kube_client import condition


def field(document: Dict[str, Any], dotted: str) -> Any:
    """The value at a dotted path; None if it is not there."""
    value: Any = document
    for part in dotted.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def judge(document: Dict[str, Any], wanted: Dict[str, Any]) -> Tuple[bool, Any]:
    """Whether an object is as wanted, and what was seen."""
    observed = document.get("status", {}).get("observedGeneration")
    if observed is not None and observed < document["metadata"]["generation"]:
        return False, "its controller has not seen its last change yet"
    if wanted.get("condition"):
        seen = condition(document, wanted["condition"])
        return seen.get("status") == "True", seen.get("message") or seen.get("reason") or "not reported yet"
    value = field(document, wanted["field"])
    if wanted.get("as_field"):
        other = field(document, wanted["as_field"])
        lacking = wanted.get("may_lack") or 0
        good = (value or 0) >= (other or 0) - lacking if lacking else (value or 0) == (other or 0)
        return good, "%s of %s" % (value or 0, other or 0)
    if wanted.get("at_least") is not None:
        return (value or 0) >= wanted["at_least"], "%s of %s" % (value or 0, wanted["at_least"])
    if wanted.get("value") is None:
        return value is not None, value
    return value == wanted["value"], value
