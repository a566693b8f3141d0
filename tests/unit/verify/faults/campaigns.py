"""Campaigns that never were: a seed decides what was asked, answered, and broken."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterator
from typing import Any

from kubeproof.verify.faults.campaign import Outcome, Struck
from kubeproof.verify.faults.checker import History, violations
from kubeproof.verify.faults.kinds import KINDS, Kind

START = 1_760_000_000.0
_CALM = 3.0


def outcome(faults: int, *, seed: int = 1, rate: float = 3.0) -> Outcome:
    """So many faults that a cluster survived; ``rate``: answers per second of each writer and asker."""
    chance = random.Random(seed)  # noqa: S311 - a course of things, no secret
    struck: list[Struck] = []
    at = START + _CALM
    for number in range(faults):
        kind = KINDS[number % len(KINDS)]
        end = at + kind.hold + chance.uniform(0, 2)
        recovered = end + (chance.uniform(0.2, 1.5) if chance.random() < 0.8 else chance.uniform(4, 20))
        struck.append(Struck(kind, chance.choice(("cp1", "cp2", "cp3", "w2")), at, end, recovered, held=at))
        if kind.outside:
            struck[-1] = dataclasses.replace(struck[-1], outside_unavailable=chance.uniform(3, 7))
        at = recovered + 1.0 + chance.uniform(0, 1)
    entries = list(_entries(struck, at + _CALM, chance, rate))
    history = History(sorted(entries, key=lambda entry: float(entry["end"])))
    final = {number: max(e["value"] for e in entries if e.get("register") == number) for number in range(4)}
    found = violations(history, final)
    return Outcome(history, struck, {}, found, START, at + _CALM - START, seed, faults)


def _entries(struck: list[Struck], end: float, chance: random.Random, rate: float) -> Iterator[dict[str, Any]]:
    for register in range(4):
        yield from _register(register, struck, end, chance, rate)
    for _ in range(2):
        at = START
        while at < end:
            took = chance.uniform(0.002, 0.01)
            failed = any(each.begin < at < each.begin + 1.5 and "worker" in each.kind.name for each in struck)
            took = 2.0 if failed and chance.random() < 0.3 else took
            outcome_ = "failed" if took == 2.0 else "ok"
            yield {"op": "request", "start": at, "end": at + took, "outcome": outcome_}
            at += took + chance.expovariate(rate)


def _register(
    register: int, struck: list[Struck], end: float, chance: random.Random, rate: float
) -> Iterator[dict[str, Any]]:
    at, value = START, 0
    while at < end:
        value += 1
        stall = next((_stall(each.kind) for each in struck if each.begin < at < each.begin + 0.5), 0.0)
        took = chance.uniform(0.003, 0.02) + stall
        refused = any(each.kind.refuses and each.begin <= at <= each.end for each in struck)
        done = "unknown" if refused or (stall > 2 and chance.random() < 0.5) else "ok"
        entry = {"register": register, "value": value}
        yield {"op": "write", **entry, "start": at, "end": at + took, "outcome": done}
        at += took
        if done == "ok":
            yield {"op": "read", **entry, "start": at, "end": at + 0.003, "outcome": "ok"}
        at += 0.003 + chance.expovariate(rate)


def _stall(kind: Kind) -> float:
    return {"etcd-leader-frozen": 7.0, "control-plane-host-cut": 9.0, "etcd-leader-killed": 1.2}.get(kind.name, 0.1)
