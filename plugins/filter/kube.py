"""Filters for tasks that speak to the Kubernetes API."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from kubeproof.settings import flags, schedulers


def api_questions(names: Iterable[str], prefix: str, **wanted: Any) -> list[dict[str, Any]]:
    """``kube_wait``'s ``objects`` for objects that differ only in name: ``prefix`` + name, and what is wanted."""
    return [{"path": f"{prefix}{name}", **wanted} for name in names]


def node_role_objects(names: Iterable[str], role: str) -> list[dict[str, Any]]:
    """Node objects that carry only the label of a role, as ``kubectl get nodes`` shows it; for server-side apply.

    A kubelet may not give itself such a label: the NodeRestriction admission plugin refuses it.
    """
    label = {f"node-role.kubernetes.io/{role}": ""}
    return [{"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": label}} for name in names]


class FilterModule:
    """Registers the filters."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {
            "api_questions": api_questions,
            "node_role_objects": node_role_objects,
            "scheduler_instances": schedulers.instances,
            "scheduler_directory": schedulers.directory,
            "scheduler_units": schedulers.units,
            "unit_command": flags.unit_command,
            "with_flags": flags.together,
        }
