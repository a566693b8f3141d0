"""A plan for operators: steps by phase, in the order of the run, within 80 columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from rich.console import RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from kubeproof.install.steps import Step

# Of more hosts than this not all are named: the data of the plan has them.
_NAMED = 8
# And of more changes not all are listed.
_LISTED = 12
_LABEL = 7


def lines(steps: Sequence[Step]) -> Iterator[RenderableType]:
    """A line for each step and batch of hosts; below it what is changed, why, and what is waited for."""
    numbered = list(enumerate(steps, 1))
    for phase, group in groupby(numbered, key=lambda each: each[1].place.phase):
        yield Text(phase, style="bold")
        for number, step in group:
            yield _row(str(number), _title(step))
            for label, text in _details(step):
                yield Padding(_row(label, Text(text, style="" if label else "dim"), _LABEL), (0, 0, 0, 4))


def conclusion(steps: Sequence[Step], *, refused: bool, hosts: int = 0, command: str = "") -> Iterator[RenderableType]:
    """The plan and its last line. ``hosts``: how many were compared; ``command`` is what a run is started with."""
    if refused:
        yield Text("A run would be refused for this reason, or end here. Nothing was changed.")
        return
    if not steps:
        where = f" on {count(hosts, 'host')}" if hosts else ""
        yield Text(f"Nothing to change{where}.")
        return
    yield from lines(steps)
    does = f"; `{command}` does it" if command else ""
    yield Text(f"{total(steps)}. Nothing was changed{does}.")


def total(steps: Sequence[Step]) -> str:
    """``3 steps on 2 hosts, 1 restart``."""
    hosts = {host for step in steps for host in step.hosts if not step.waits_only}
    restarts = sum(len(step.restarts) * len(step.hosts) for step in steps)
    return f"{count(len(steps), 'step')} on {count(len(hosts), 'host')}, {count(restarts, 'restart')}"


def count(number: int, noun: str) -> str:
    """``1 host``, ``2 hosts``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _row(left: str, right: Text, width: int = 4) -> Table:
    """What does not fit into a line continues where it began."""
    row = Table.grid(padding=(0, 1), expand=True)
    row.add_column(width=width, no_wrap=True, justify="right" if left.isdigit() else "left")
    row.add_column(ratio=1, overflow="fold")
    row.add_row(left, right)
    return row


def _title(step: Step) -> Text:
    if step.waits_only:
        return Text(f"the run waits for {'; '.join(step.gate.before + step.gate.after)}")
    acts = _acts(step.does)
    what = acts[0] if len(acts) == 1 else f"{step.place.role or step.place.task}: {len(acts)} changes"
    return Text.assemble((what, "yellow" if step.restarts else ""), "  ", (_who(step), "bold"))


def _acts(does: Sequence[str]) -> list[str]:
    """What is done to one thing in one line: ``etcd.service: enabled, started``."""
    acts: dict[str, list[str]] = {}
    for each in does:
        thing, _, act = each.partition(": ")
        acts.setdefault(thing, []).extend([act] if act else [])
    return [f"{thing}: {', '.join(what)}" if what else thing for thing, what in acts.items()]


def _who(step: Step) -> str:
    names = _names(step.hosts)
    if len(step.batches) > 1:
        return f"one of {names} first"
    return f"{names}, all at once" if step.restarts and len(step.hosts) > 1 else names


def _names(hosts: Sequence[str]) -> str:
    if len(hosts) <= _NAMED:
        return ", ".join(hosts)
    return f"{', '.join(hosts[: _NAMED - 1])} and {len(hosts) - _NAMED + 1} more"


def _details(step: Step) -> Iterator[tuple[str, str]]:
    if step.waits_only:
        return
    acts = _acts(step.does)
    if len(acts) > 1:
        yield from (("", act) for act in acts[:_LISTED])
    if len(acts) > _LISTED:
        yield "", f"and {len(acts) - _LISTED} more"
    for because in step.reasons:
        whose = f"{_names(because.hosts)}: " if len(step.reasons) > 1 else ""
        yield "why", f"{whose}{because.reason.text}"
    if step.gate.before:
        yield "before", "; ".join(step.gate.before)
    if step.gate.after:
        yield "after", "; ".join(step.gate.after)
    if len(step.batches) > 1:
        yield "then", f"{_others(len(step.hosts) - 1, max(step.batches[1:]))}, with the same gate"


def _others(number: int, at_once: int) -> str:
    if number == 1:
        return "the other one"
    return f"the other {number}, {'one' if at_once == 1 else f'at most {at_once}'} at a time"
