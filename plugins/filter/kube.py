"""Filters for tasks that speak to the Kubernetes API."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any


def api_questions(names: Iterable[str], prefix: str, **wanted: Any) -> list[dict[str, Any]]:
    """``kube_wait``'s ``objects`` for objects that differ only in name: each ``prefix`` + name, and what is wanted of it."""
    return [{"path": f"{prefix}{name}", **wanted} for name in names]


class FilterModule:
    """Registers the filters."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"api_questions": api_questions}
