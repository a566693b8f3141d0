"""Filters on persistent volumes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kubeproof.settings import local_volumes


def local_volumes_by_host(
    entries: Sequence[Mapping[str, Any]], groups: Mapping[str, Sequence[str]]
) -> list[dict[str, str]]:
    """Volumes of ``local_volumes_directories``, by entry and host: ``volume``, ``host``, ``path``, ``size``."""
    return [dataclasses.asdict(volume) for volume in local_volumes.by_host(entries, groups)]


class FilterModule:
    """Registers the filters."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"local_volumes_by_host": local_volumes_by_host}
