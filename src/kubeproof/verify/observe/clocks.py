"""Clocks of hosts against the controller's: the order of records of several hosts is only as accurate as these."""

from __future__ import annotations

import time
from dataclasses import dataclass

from kubeproof.verify.observe.hosts import Host

CONTROLLER = "controller"
_TRIES = 5


@dataclass(frozen=True)
class Clock:
    """How many seconds a clock is ahead of the controller's, and how far from it the truth may be."""

    ahead: float
    uncertainty: float


THIS = Clock(0.0, 0.0)
"""The controller's own."""


def measure(host: Host) -> Clock:
    """Ask a host for the time. It answered between question and answer, so half of that is not known."""
    return min((_once(host) for _ in range(_TRIES)), key=lambda clock: clock.uncertainty)


def _once(host: Host) -> Clock:
    asked = time.time()
    told = float(host.run("date +%s.%N"))
    answered = time.time()
    return Clock(told - (asked + answered) / 2, (answered - asked) / 2)
