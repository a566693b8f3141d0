"""What a fetch tells whoever shows it: one event each time something moves."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Protocol


class Phase(Enum):
    """What is being done to a component. Every component ends with CACHED or DONE, unless the fetch fails."""

    PROBE = "asking the release hosts"
    DOWNLOAD = "downloading"
    BUILD = "building"
    PACK = "packing"
    CACHED = "cached"
    DONE = "done"


@dataclass(frozen=True)
class Event:
    """One step. ``done`` and ``total`` count ``unit`` (bytes, packages); 0 as ``total``: not known.

    ``elapsed`` is in seconds since the phase began, ``typical`` what the phase takes at most on a small machine (0: not
    known). ``detail`` is a text for people: a URL, a package, the reason for a retry.
    """

    component: str
    phase: Phase
    done: int = 0
    total: int = 0
    unit: str = "bytes"
    elapsed: float = 0.0
    typical: float = 0.0
    detail: str = ""


class Progress(Protocol):
    """Called with each event, from several threads at once."""

    def __call__(self, event: Event, /) -> None:
        """Show an event; must not raise."""


def silent(_event: Event, /) -> None:
    """Show nothing."""
