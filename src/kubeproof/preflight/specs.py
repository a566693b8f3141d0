"""The settings that there are: every role's ``meta/argument_specs.yml``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

ROLES = Path(__file__).resolve().parents[3] / "roles"


@dataclass(frozen=True)
class Specs:
    """Options by variable name, each as in an argument spec, and the prefixes of the roles' variables."""

    options: Mapping[str, Mapping[str, Any]]
    prefixes: tuple[str, ...]

    @cached_property
    def names(self) -> frozenset[str]:
        """All variables that can be set."""
        return frozenset(self.options)

    def ours(self, name: str) -> bool:
        """Whether a name can only be meant for one of the roles: it begins as theirs do."""
        return name.startswith(self.prefixes)


def load(roles: Path = ROLES, extra: Mapping[str, Mapping[str, Any]] | None = None) -> Specs:
    """Read all roles' specs. ``extra``: documented settings of what is not a role, by name."""
    options: dict[str, Mapping[str, Any]] = dict(extra or {})
    for path in sorted(roles.glob("*/meta/argument_specs.yml")):
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
        for entry_point in document["argument_specs"].values():
            options.update(entry_point.get("options") or {})
    return Specs(options=options, prefixes=tuple(sorted(_prefixes(roles))))


def _prefixes(roles: Path) -> set[str]:
    return {path.name.replace("-", "_") + "_" for path in roles.iterdir() if path.is_dir()}
