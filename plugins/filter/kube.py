"""Filters for tasks that speak to the Kubernetes API."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError

_DEFAULT_SCHEDULER = "default-scheduler"
_SCHEDULER_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")


def api_questions(names: Iterable[str], prefix: str, **wanted: Any) -> list[dict[str, Any]]:
    """``kube_wait``'s ``objects`` for objects that differ only in name: ``prefix`` + name, and what is wanted."""
    return [{"path": f"{prefix}{name}", **wanted} for name in names]


def node_role_objects(names: Iterable[str], role: str) -> list[dict[str, Any]]:
    """Node objects that carry only the label of a role, as ``kubectl get nodes`` shows it; for server-side apply.

    A kubelet may not give itself such a label: the NodeRestriction admission plugin refuses it.
    """
    label = {f"node-role.kubernetes.io/{role}": ""}
    return [{"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": label}} for name in names]


def scheduler_instances(
    more: dict[str, dict[str, Any]], port: int, config: dict[str, Any], args: dict[str, Any]
) -> list[dict[str, Any]]:
    """All schedulers of a host: the default one, and those of ``scheduler_more``."""
    found = [_scheduler(_DEFAULT_SCHEDULER, {"port": port, "config": config, "args": args})]
    for name, given in sorted(more.items()):
        _check_scheduler(name, given, [scheduler["port"] for scheduler in found])
        found.append(_scheduler(name, given))
    return found


def _scheduler(name: str, given: dict[str, Any]) -> dict[str, Any]:
    suffix = "" if name == _DEFAULT_SCHEDULER else name
    return {
        "name": name,
        "unit": "-".join(filter(None, ["kube-scheduler", suffix])) + ".service",
        "directory": "-".join(filter(None, ["/etc/kubernetes/scheduler", suffix])),
        "user": ":".join(filter(None, ["system:kube-scheduler", suffix])),
        "lease": "-".join(filter(None, ["kube-scheduler", suffix])),
        "port": given["port"],
        "health": "healthz" if suffix else "readyz",
        "config": given.get("config", {}),
        "args": given.get("args", {}),
    }


def _check_scheduler(name: str, given: Any, taken: list[int]) -> None:
    if not _SCHEDULER_NAME.fullmatch(name) or name == _DEFAULT_SCHEDULER:
        raise AnsibleFilterError(
            f"scheduler_more: {name!r} is no name for a scheduler: lower-case letters, digits and -"
        )
    unknown = set(given) - {"port", "config", "args"} if isinstance(given, Mapping) else {str(given)}
    if unknown or not isinstance(given.get("port"), int):
        raise AnsibleFilterError(f"scheduler_more: {name} takes port (a number, needed), config and args")
    if given["port"] in taken:
        raise AnsibleFilterError(f"scheduler_more: {name} has port {given['port']}, which another scheduler has")


def scheduler_units(units: Iterable[str]) -> list[str]:
    """Those of the units that are schedulers."""
    return [unit for unit in units if unit == "kube-scheduler.service" or unit.startswith("kube-scheduler-")]


class FilterModule:
    """Registers the filters."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {
            "api_questions": api_questions,
            "node_role_objects": node_role_objects,
            "scheduler_instances": scheduler_instances,
            "scheduler_units": scheduler_units,
        }
