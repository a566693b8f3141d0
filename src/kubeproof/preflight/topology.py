"""Checks of the inventory's groups."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence

from kubeproof.preflight.findings import Finding, Severity
from kubeproof.preflight.model import CONTROL_PLANE, ETCD, GROUPS, WORKERS, Purpose

# What it means for a group to be empty.
EMPTY: Mapping[str, tuple[str, Severity]] = {
    ETCD: ("there would be no etcd", "error"),
    CONTROL_PLANE: ("there would be no API server", "error"),
    WORKERS: ("no node would run workloads", "warning"),
}
# https://etcd.io/docs/v3.6/faq/ (maximum cluster size): more members make writes slower, and little else.
MANY_MEMBERS = 7


def check_groups(
    groups: Mapping[str, Sequence[str]], purpose: Purpose = "converge", *, installed: bool = False
) -> Iterator[Finding]:
    """The inventory's groups by name, each with all its hosts. ``purpose``: what the run is about to do.

    ``installed``: a host that was taken out of ``etcd`` may still have a member. How that is removed only hosts tell:
    :func:`check_even` goes with what they do.
    """
    for group, (consequence, severity) in EMPTY.items():
        if not groups.get(group):
            problem = f"the group `{group}` is empty: {consequence}"
            yield Finding("empty-group", problem, _filled(group, groups), group, severity=severity)
    if not installed:
        yield from check_even(groups, purpose)
    number = len(groups.get(ETCD, ()))
    if number > MANY_MEMBERS:
        problem = f"etcd would have {number} members, with a quorum of {_quorum(number)} for each write"
        yield Finding("etcd-members", problem, "Use 3 or 5 members, 7 at most.", severity="warning")


def _filled(group: str, groups: Mapping[str, Sequence[str]]) -> str:
    others = [name for name, hosts in groups.items() if hosts and name not in (*GROUPS, "all", "ungrouped")]
    close = difflib.get_close_matches(group, others, n=1)
    return f"Should the group `{close[0]}` be `{group}`?" if close else f"Put hosts into the group `{group}`."


def check_even(groups: Mapping[str, Sequence[str]], purpose: Purpose = "converge") -> Iterator[Finding]:
    """An even number of members. Where one host of three is gone, a restore takes the two that there are."""
    number = len(groups.get(ETCD, ()))
    if number and number % 2 == 0:
        problem = (
            f"etcd would have {number} members, with a quorum of {_quorum(number)}: no more fault tolerant than "
            f"{number - 1}, and slower"
        )
        remediation = f"Put {number - 1} or {number + 1} hosts into the group `{ETCD}`."
        yield Finding("etcd-members", problem, remediation, severity="warning" if purpose == "restore" else "error")


def _quorum(number: int) -> int:
    return number // 2 + 1
