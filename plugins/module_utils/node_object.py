"""This host's Node object, as its kubelet is shown it, and the pod network that the host was given.

Standard library only; Python 3.8 and newer.
"""

from __future__ import annotations

import json
from typing import Any, Dict, List, Optional

from ansible.module_utils.component_unit import STATE_DIRECTORY, Health, Record

CONFIGURATION = "/etc/cni/net.d/10-kubeproof.conflist"
OK = 200
NOT_FOUND = 404


def report(root: str = "") -> Optional[Dict[str, Any]]:
    """Ask with the kubelet's own certificate; None without a kubelet of ours, and without an answer.

    The address is the one that ``component_service`` was given for the kubelet (``registers``). Its shape is that of
    ``kubeproof.settings.host_report.Node``.
    """
    request = Record("kubelet.service", root + STATE_DIRECTORY).data.get("request")
    registers = request.get("registers") if isinstance(request, dict) else None
    if not isinstance(registers, dict) or not registers.get("url"):
        return None
    question = Health(registers)
    question.good()
    if question.code == NOT_FOUND:
        return {"there": False, "networks": [], "given": given(root)}
    networks = of_node(question.body) if question.code == OK else None
    return None if networks is None else {"there": True, "networks": networks, "given": given(root)}


def of_node(text: str) -> Optional[List[str]]:
    """Pod networks of a Node; None for what is no object of the API."""
    try:
        spec = json.loads(text)["spec"]
        return list(spec.get("podCIDRs") or ([spec["podCIDR"]] if spec.get("podCIDR") else []))
    except (ValueError, LookupError, TypeError, AttributeError):
        return None


def given(root: str = "") -> List[str]:
    """Pod networks of the CNI configuration that the role pod_network has made; none if it has made none."""
    try:
        with open(root + CONFIGURATION, encoding="utf-8") as stream:
            ranges = json.load(stream)["plugins"][0]["ipam"]["ranges"]
        return [str(each["subnet"]) for entries in ranges for each in entries]
    except (OSError, ValueError, LookupError, TypeError):
        return []
