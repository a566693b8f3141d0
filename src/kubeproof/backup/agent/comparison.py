"""What two versions of the API server have read of the same data: what one of them cannot, or has lost."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Dict, Iterator, Mapping

# API servers remove such objects by themselves: they expire, or are made again by the one that runs.
PASSING = frozenset(
    {"events", "events.events.k8s.io", "leases.coordination.k8s.io", "apiservices.apiregistration.k8s.io"}
)
SHOWN = 200
"""So many problems are named; there may be one for each object."""


@dataclass(frozen=True)
class Listing:
    """What an API server reads. ``objects``: UID by namespace/name, by resource.

    ``broken``: what cannot be read, and why, by resource and name; the name is empty where it is not known.
    ``skipped``: resources that cannot be read here by any version, and why.
    """

    objects: Dict[str, Dict[str, str]] = field(default_factory=dict)
    broken: Dict[str, Dict[str, str]] = field(default_factory=dict)
    skipped: Dict[str, str] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """How many objects it has read."""
        return sum(map(len, self.objects.values()))

    @property
    def kinds(self) -> int:
        """Of how many resources it has read objects."""
        return sum(map(bool, self.objects.values()))


@dataclass(frozen=True)
class Problem:
    """``phase``: ``read`` and ``write`` by the target, ``back`` by the present version afterwards."""

    phase: str
    resource: str
    name: str
    problem: str

    def document(self) -> Dict[str, Any]:
        """As data."""
        return {"phase": self.phase, "resource": self.resource, "name": self.name, "problem": self.problem}


def read_by_target(before: Listing, after: Listing, *, unserved: bool) -> Iterator[Problem]:
    """What the present version reads, and the target does not. ``unserved``: whether each resource has to be served.

    What neither reads is a problem too: of it nobody can say what it becomes.
    """
    for resource, objects in before.objects.items():
        if resource in {**before.skipped, **after.skipped}:
            continue
        if resource not in after.objects:
            if unserved and objects:
                for name in objects:
                    yield Problem("read", resource, name, "the target does not serve this resource")
            continue
        yield from _lost("read", resource, objects, after)
    for resource, broken in after.broken.items():
        also = before.broken.get(resource, {})
        for name, why in broken.items():
            yield Problem("read", resource, name, "neither version reads it: %s" % why if also else why)


def read_again(before: Listing, again: Listing) -> Iterator[Problem]:
    """What the present version has read before the target has written, and does not read any more."""
    for resource, objects in before.objects.items():
        if resource in PASSING or resource in {**before.skipped, **again.skipped}:
            continue
        if resource not in again.objects:
            for name in objects:
                yield Problem("back", resource, name, "the present version no longer serves this resource")
            continue
        yield from _lost("back", resource, objects, again)
    for resource, broken in again.broken.items():
        for name, why in broken.items():
            if name not in before.broken.get(resource, {}):
                yield Problem("back", resource, name, why)


def _lost(phase: str, resource: str, objects: Mapping[str, str], now: Listing) -> Iterator[Problem]:
    """Objects that are missing, or are others, but not those that are reported as broken."""
    found, broken = now.objects[resource], now.broken.get(resource, {})
    if "" in broken:
        return
    for name, uid in objects.items():
        if name not in found and name not in broken:
            yield Problem(phase, resource, name, "it is not listed")
        elif name in found and found[name] != uid:
            yield Problem(phase, resource, name, "its UID is %s, not %s" % (found[name], uid))
