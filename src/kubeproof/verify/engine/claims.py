"""What is claimed of a cluster: data, read from ``tests/architecture/claims.yml``."""

from __future__ import annotations

import difflib
import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kubeproof.core import fast_yaml, paths
from kubeproof.core.errors import KubeproofError

PATH = paths.PROJECT / "tests" / "architecture" / "claims.yml"
_SCHEMA = 1
_NEEDED = {"id", "statement", "why", "source", "level"}
_ALLOWED = _NEEDED | {"untested"}


class Level(enum.IntEnum):
    """How much a test asks of a cluster. A level includes those below it."""

    QUICK = 0
    STANDARD = 1
    DISRUPTIVE = 2

    @classmethod
    def named(cls, name: str) -> Level:
        """The level of this name."""
        try:
            return cls[name.upper()]
        except KeyError:
            raise KubeproofError(f"there is no level {name!r}", hint=f"there are {', '.join(cls.names())}") from None

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """All names, from the gentlest."""
        return tuple(str(level) for level in cls)

    def __str__(self) -> str:
        return self.name.lower()


@dataclass(frozen=True)
class Claim:
    """One statement about a cluster. ``untested`` says why there is no test, if there is none."""

    id: str
    component: str
    statement: str
    why: str
    source: tuple[int, ...]
    level: Level
    untested: str = ""


@dataclass(frozen=True)
class Component:
    """A part of a cluster, and what is claimed of it."""

    id: str
    title: str
    claims: tuple[Claim, ...]


@dataclass(frozen=True)
class Catalogue:
    """All claims, in the order of a report."""

    components: tuple[Component, ...]

    @property
    def claims(self) -> tuple[Claim, ...]:
        """All claims, whatever their component."""
        return tuple(claim for component in self.components for claim in component.claims)

    def claim(self, claim_id: str) -> Claim:
        """The claim of this id."""
        for claim in self.claims:
            if claim.id == claim_id:
                return claim
        raise KubeproofError(
            f"there is no claim {claim_id!r}", hint=_nearest(claim_id, [each.id for each in self.claims])
        )

    def select(self, names: Iterable[str]) -> frozenset[str]:
        """The ids of the claims that are named, each by itself or by its component. Without names: all."""
        by_name = {claim.id: {claim.id} for claim in self.claims}
        by_name |= {component.id: {claim.id for claim in component.claims} for component in self.components}
        wanted = list(names)
        for name in wanted:
            if name not in by_name:
                raise KubeproofError(f"there is no claim or component {name!r}", hint=_nearest(name, by_name))
        return frozenset().union(*(by_name[name] for name in wanted or by_name))


def load(path: Path = PATH) -> Catalogue:
    """Read and check the claims."""
    document = fast_yaml.load(path.read_text())
    if not isinstance(document, Mapping) or document.get("schema") != _SCHEMA:
        raise KubeproofError(f"{path} does not say schema: {_SCHEMA}")
    catalogue = Catalogue(tuple(_component(item, path) for item in document["components"]))
    _refuse_doubles(path, [component.id for component in catalogue.components] + [each.id for each in catalogue.claims])
    return catalogue


def _component(item: Mapping[str, Any], path: Path) -> Component:
    component_id = str(item["id"])
    claims = tuple(_claim(claim, component_id, path) for claim in item["claims"])
    return Component(component_id, str(item["title"]), claims)


def _claim(item: Mapping[str, Any], component: str, path: Path) -> Claim:
    missing, unknown = _NEEDED - item.keys(), item.keys() - _ALLOWED
    if missing or unknown:
        raise KubeproofError(f"{path}: claim {item.get('id')}: missing {sorted(missing)}, unknown {sorted(unknown)}")
    return Claim(
        id=str(item["id"]),
        component=component,
        statement=str(item["statement"]),
        why=str(item["why"]),
        source=tuple(int(number) for number in item["source"]),
        level=Level.named(str(item["level"])),
        untested=str(item.get("untested", "")),
    )


def _refuse_doubles(path: Path, names: list[str]) -> None:
    """Claims and components are chosen by name, so that all names are of one space."""
    doubles = sorted({name for name in names if names.count(name) > 1})
    if doubles:
        raise KubeproofError(f"{path}: used twice: {', '.join(doubles)}")


def _nearest(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=3)
    return f"did you mean {' or '.join(close)}?" if close else "tests/architecture/claims.yml lists them"
