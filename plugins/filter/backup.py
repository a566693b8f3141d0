"""Filters for the settings of backups."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kubeproof.backup import calendar


class FilterModule:
    """Registers the filters."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"calendar_interval": calendar.interval}
