"""Saboteurs: changes to a running cluster that make a claim false, each with its repair. They test the verification.

A saboteur is a generator function that breaks the cluster, yields, and repairs it::

    @saboteur("sched-binding", "sched-pending", breaks="The scheduler is stopped")
    def no_scheduler(lab: Cluster) -> Iterator[None]:
        with stopped_everywhere(lab.control_plane, "kube-scheduler"):
            yield

They live in ``tests/saboteurs``, one file per component, and never run against a cluster that anybody needs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from kubeproof.verify.cluster import Cluster

Breaking = Callable[[Cluster], Iterator[None]]


@dataclass(frozen=True)
class Saboteur:
    """One way to make claims false.

    ``claims`` must all be refuted while it is at work, ``says`` (a regular expression) found in a reason that is given.
    ``quick`` ones are of the fixed list that every run of kubeproof's own tests includes.
    """

    name: str
    claims: tuple[str, ...]
    breaks: str
    says: str
    quick: bool
    breaking: Breaking

    def at_work(self, lab: Cluster) -> AbstractContextManager[None]:
        """Break the cluster for the time of a ``with`` block."""
        return contextmanager(self.breaking)(lab)


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
