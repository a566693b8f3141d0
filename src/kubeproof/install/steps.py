"""The steps of a run, in its order, from what check mode's tasks report: pure functions, no Ansible.

A step is what one task does, on all hosts on which it does the same for the same reason. Of a rolling restart it has
the sizes of the batches in which hosts follow each other. Which host is in which batch is decided in the run, by which
one is the first to be ready for it: that no plan can say.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kubeproof.install.gates import OPEN, Gate
from kubeproof.install.reasons import Reason, of_changes

# Of numbers in names of hosts.
_DIGITS = 12

PLANNED = "step"
"""In a task's result in check mode: what the plan has to know besides the changes, as ``planned`` makes it."""


@dataclass(frozen=True)
class Place:
    """Where in a run a task is. ``number``: of the task, in the order in which the run comes to them."""

    number: int
    phase: str
    role: str
    task: str
    action: str = ""


NOWHERE = Place(0, "", "", "")
"""Of a task of which no plan is made."""


@dataclass(frozen=True)
class Report:
    """What a task would do on one host. ``at_once``: hosts in a batch; 0 if hosts do not wait for each other.

    ``does`` is empty where a task changes nothing and is only waited for.
    """

    place: Place
    host: str
    does: tuple[str, ...]
    reason: Reason | None
    restarts: tuple[str, ...] = ()
    gate: Gate = OPEN
    at_once: int = 0


@dataclass(frozen=True)
class Because:
    """A reason, and the hosts of the step that have it."""

    reason: Reason
    hosts: tuple[str, ...]


@dataclass(frozen=True)
class Step:
    """What a run does next: ``does`` on ``hosts``, in ``batches``, whose numbers add up to that of the hosts.

    ``restarts``: units of which running processes are ended. ``does`` is empty if the run only waits for the gate.
    """

    place: Place
    hosts: tuple[str, ...]
    does: tuple[str, ...]
    reasons: tuple[Because, ...]
    restarts: tuple[str, ...]
    batches: tuple[int, ...]
    gate: Gate

    @property
    def waits_only(self) -> bool:
        """Whether nothing is changed."""
        return not self.does

    def data(self, number: int) -> dict[str, Any]:
        """As docs/plan.schema.json describes it. ``number``: its place among the steps, from 1."""
        return {
            "number": number,
            "phase": self.place.phase,
            "role": self.place.role,
            "task": self.place.task,
            "hosts": list(self.hosts),
            "does": list(self.does),
            "reasons": [{**each.reason.data(), "hosts": list(each.hosts)} for each in self.reasons],
            "restarts": list(self.restarts),
            "batches": list(self.batches),
            "gate": self.gate.data(),
        }

    @classmethod
    def parse(cls, given: Mapping[str, Any]) -> Step:
        """From ``data``."""
        place = Place(int(given["number"]), given["phase"], given["role"], given["task"])
        reasons = tuple(Because(Reason.parse(each), tuple(each["hosts"])) for each in given["reasons"])
        hosts, does, restarts, batches = (tuple(given[name]) for name in ("hosts", "does", "restarts", "batches"))
        return cls(place, hosts, does, reasons, restarts, batches, Gate.parse(given["gate"]))


def planned(
    reason: Reason | None = None, *, restarts: Sequence[str] = (), gate: Gate | None = None, at_once: int = 0
) -> dict[str, Any]:
    """What an action plugin adds to its result in check mode, under ``PLANNED``."""
    return {
        "reason": reason.data() if reason else None,
        "restarts": list(restarts),
        "gate": (gate or OPEN).data(),
        "at_once": at_once,
    }


def reports(place: Place, host: str, result: Mapping[str, Any]) -> Iterator[Report]:
    """What a result of check mode says, of a loop one for each item; none where nothing is done or waited for."""
    items = [item for item in result.get("results") or () if isinstance(item, Mapping)]
    if items:
        for item in items:
            yield from reports(place, host, item)
        return
    known = result.get(PLANNED) or {}
    gate = Gate.parse(known.get("gate") or {})
    if not result.get("changed"):
        if gate != OPEN:
            yield Report(place, host, (), None, gate=gate)
        return
    does = tuple(_done(result)) or (place.task,)
    reason = Reason.parse(known["reason"]) if known.get("reason") else of_changes(place.action, does)
    restarts, at_once = tuple(known.get("restarts") or ()), int(known.get("at_once") or 0)
    yield Report(place, host, does, reason, restarts, gate, at_once)


def changes_of(result: Mapping[str, Any]) -> list[str]:
    """The changes that a result lists, of files, objects, packages …: ``path: what``."""
    listed = [
        f"{each['path']}: {each['what']}" if isinstance(each, Mapping) else str(each)
        for each in result.get("changes") or ()
    ]
    return [*listed, *(f"{what}: created" for what in result.get("made") or ())]


def _done(result: Mapping[str, Any]) -> list[str]:
    # Of a unit without its reason, which the step has.
    acts = [str(act).partition(": ")[0] for act in result.get("done") or ()]
    return [*changes_of(result), *(f"{result['unit']}: {act}" for act in acts)]


def steps(found: Sequence[Report]) -> list[Step]:
    """The steps of a run, in its order. Waits at the end of the run belong to it only if anything precedes them."""
    groups: dict[tuple[Any, ...], list[Report]] = {}
    for report in found:
        groups.setdefault(_alike(report), []).append(report)
    # Of one task, hosts that need no turn are done while the others wait for theirs.
    sorted_by_host = (sorted(group, key=lambda report: _numbers(report.host)) for group in groups.values())
    ordered = sorted(
        sorted_by_host,
        key=lambda group: (group[0].place.number, bool(group[0].at_once), _numbers(group[0].host)),
    )
    made = [_step(group) for group in ordered]
    first = next((index for index, step in enumerate(made) if not step.waits_only), len(made))
    return made[first:]


def data(made: Sequence[Step]) -> list[dict[str, Any]]:
    """Steps as JSON has them, numbered."""
    return [step.data(number) for number, step in enumerate(made, 1)]


def _alike(report: Report) -> tuple[Any, ...]:
    """What reports of one step have in common. In a rolling restart hosts wait for each other whatever their reason."""
    own = () if report.at_once else (report.does, report.reason)
    return report.place, report.restarts, report.gate, report.at_once, own


def _step(group: Sequence[Report]) -> Step:
    first, hosts = group[0], _in_order(report.host for report in group)
    reasons: dict[Reason, list[str]] = {}
    for report in group:
        if report.reason:
            reasons.setdefault(report.reason, []).append(report.host)
    because = tuple(Because(reason, _in_order(names)) for reason, names in reasons.items())
    does = tuple(dict.fromkeys(act for report in group for act in report.does))
    return Step(first.place, hosts, does, because, first.restarts, batches(len(hosts), first.at_once), first.gate)


def _in_order(hosts: Iterable[str]) -> tuple[str, ...]:
    """Each once, ``w2`` before ``w10``."""
    return tuple(sorted(set(hosts), key=_numbers))


def _numbers(host: str) -> list[str]:
    """What a host is sorted by."""
    return [part.zfill(_DIGITS) if part.isdigit() else part for part in re.split(r"(\d+)", host)]


def batches(hosts: int, at_once: int) -> tuple[int, ...]:
    """How many hosts are worked on at a time, batch after batch. As in ``Turns.turn``, the first one goes alone."""
    if not at_once:
        return (hosts,)
    full, rest = divmod(hosts - 1, at_once)
    return (1, *[at_once] * full, *([rest] if rest else []))
