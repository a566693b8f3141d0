"""Saboteurs: changes to a running cluster that make a claim false, each with its repair. They test the verification.

A saboteur is a generator function that breaks the cluster, yields, and repairs it::

    @saboteur("sched-resources", "sched-pending", breaks="The scheduler is stopped", says="is bound: not within")
    def no_scheduler(cluster: Cluster) -> Iterator[None]:
        with stopped_everywhere(cluster.control_plane, "kube-scheduler"):
            yield

They are in ``tests/saboteurs/COMPONENT.py``, by the component of their first claim, and never run against a cluster
that anybody needs. ``mutations.py`` and ``disruption.py`` have the tools; what these break, the host itself repairs if
nobody else does.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from kubeproof.core import paths
from kubeproof.core.errors import KubeproofError
from kubeproof.verify.engine.results import Verdict
from kubeproof.verify.observe.cluster import Cluster

Breaking = Callable[[Cluster], Iterator[None]]
DIRECTORY = paths.PROJECT / "tests" / "saboteurs"
_NO_SABOTEURS = {"conftest"}


@dataclass(frozen=True)
class Saboteur:
    """One way to make claims false.

    ``claims`` must all be refuted while it is at work, each for a reason in which ``says``, a regular expression, is
    found. ``quick`` ones are of the fixed list that every run of kubeproof's own tests includes.
    """

    name: str
    claims: tuple[str, ...]
    breaks: str
    says: str
    quick: bool
    breaking: Breaking

    @contextmanager
    def at_work(self, cluster: Cluster) -> Iterator[None]:
        """Break the cluster for the time of a ``with`` block, and repair it whatever happens in the block."""
        steps = self.breaking(cluster)
        next(steps)
        try:
            yield
        finally:
            for _ in steps:
                raise RuntimeError(f"saboteur {self.name} yields more than once")


@dataclass(frozen=True)
class Finding:
    """What a verification says of a claim, the tests that it did for it, and those of them that failed."""

    verdict: str
    reason: str
    tests: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()


SABOTEURS: dict[str, Saboteur] = {}


def saboteur(*claims: str, breaks: str, says: str = "", quick: bool = False) -> Callable[[Breaking], Breaking]:
    """Enter a generator function into the list of saboteurs, under its own name."""

    def enter(breaking: Breaking) -> Breaking:
        name = breaking.__name__
        if name in SABOTEURS:
            raise ValueError(f"there are two saboteurs named {name}")
        SABOTEURS[name] = Saboteur(name, claims, breaks, says, quick, breaking)
        return breaking

    return enter


def load(directory: Path = DIRECTORY) -> Sequence[Saboteur]:
    """All saboteurs, file by file."""
    for path in sorted(directory.glob("*.py")):
        if path.stem not in _NO_SABOTEURS and not path.stem.startswith(("test_", "_")):
            importlib.import_module(f"tests.saboteurs.{path.stem}")
    # One that somebody has imported before would otherwise be the first.
    return tuple(sorted(SABOTEURS.values(), key=lambda each: each.breaking.__module__))


def select(saboteurs: Sequence[Saboteur], names: Iterable[str], *, quick: bool = False) -> tuple[Saboteur, ...]:
    """Those that have one of the names or claims; of these, if ``quick``, those of the short list. No names: all."""
    wanted = set(names)
    unknown = wanted - {name for each in saboteurs for name in (each.name, *each.claims)}
    if unknown:
        raise KubeproofError(f"there is no saboteur or claim with one that is named {', '.join(sorted(unknown))}")
    chosen = (each for each in saboteurs if not wanted or wanted & {each.name, *each.claims})
    return tuple(each for each in chosen if each.quick or not quick)


def missed(at_work: Saboteur, findings: Mapping[str, Finding]) -> list[str]:
    """What a verification did not notice of a saboteur at work, a line for each claim."""
    complaints = []
    for claim in at_work.claims:
        found = findings.get(claim, Finding(Verdict.NOT_PROVEN, "it was not looked at"))
        if found.verdict != Verdict.REFUTED:
            complaints.append(f"{claim} is {found.verdict}, not refuted, though: {at_work.breaks}. {found.reason}")
        elif not re.search(at_work.says, found.reason):
            complaints.append(f"{claim} is refuted, but not because of /{at_work.says}/: {found.reason}")
    return complaints


def not_restored(repaired: Saboteur, findings: Mapping[str, Finding]) -> list[str]:
    """What a verification finds wrong after a saboteur was repaired, a line for each claim."""
    complaints = []
    for claim in repaired.claims:
        found = findings.get(claim, Finding(Verdict.NOT_PROVEN, "it was not looked at"))
        if found.verdict != Verdict.PROVEN:
            complaints.append(f"{claim} is {found.verdict} after the repair: {found.reason}")
    return complaints
