"""Checks of who is in which group."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence

from kubeproof.preflight.findings import Finding, Severity
from kubeproof.preflight.model import CONTROL_PLANE, ETCD, GROUPS, WORKERS

# What it means for a group to be empty.
EMPTY: Mapping[str, tuple[str, Severity]] = {
    ETCD: ("the cluster's state would be stored nowhere", "error"),
    CONTROL_PLANE: ("there would be no API server", "error"),
    WORKERS: ("no host would take workloads", "warning"),
}
# https://etcd.io/docs/v3.6/faq/ (maximum cluster size): more members make writes slower, and little else.
MANY_MEMBERS = 7


def check_groups(groups: Mapping[str, Sequence[str]]) -> Iterator[Finding]:
    """The inventory's groups by name, each with all its hosts."""
    for group, (consequence, severity) in EMPTY.items():
        if not groups.get(group):
            wrong = f"the group `{group}` is empty: {consequence}"
            yield Finding("empty-group", wrong, _filled(group, groups), group, severity=severity)
    yield from _members(len(groups.get(ETCD, ())))


def _filled(group: str, groups: Mapping[str, Sequence[str]]) -> str:
    others = [name for name, hosts in groups.items() if hosts and name not in (*GROUPS, "all", "ungrouped")]
    close = difflib.get_close_matches(group, others, n=1)
    return f"Should the group `{close[0]}` be `{group}`?" if close else f"Put hosts into the group `{group}`."


def _members(number: int) -> Iterator[Finding]:
    quorum = number // 2 + 1
    if number and number % 2 == 0:
        wrong = (
            f"etcd would have {number} members, {quorum} of which must be up: no safer than {number - 1}, and slower"
        )
        yield Finding("etcd-members", wrong, f"Put {number - 1} or {number + 1} hosts into the group `{ETCD}`.")
    if number > MANY_MEMBERS:
        wrong = f"etcd would have {number} members, {quorum} of which must store each write"
        yield Finding("etcd-members", wrong, "Take 3 or 5, and 7 at most.", severity="warning")
