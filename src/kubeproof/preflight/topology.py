"""Checks of who is in which group."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence

from kubeproof.preflight.findings import SETTINGS, Finding, Severity
from kubeproof.preflight.model import CONTROL_PLANE, ETCD, GROUPS, WORKERS

# etcd's own advice (etcd.io, FAQ "maximum cluster size"): more members make writes slower, not safer.
MANY_MEMBERS = 7


def check_groups(groups: Mapping[str, Sequence[str]]) -> Iterator[Finding]:
    """The inventory's groups with their hosts, nested groups included."""
    for group, consequence, severity in (
        (ETCD, "there would be nowhere to store the cluster's state", "error"),
        (CONTROL_PLANE, "there would be no API server", "error"),
        (WORKERS, "no host would take workloads", "warning"),
    ):
        if not groups.get(group):
            yield _empty(group, consequence, "error" if severity == "error" else "warning", groups)
    yield from _members(groups.get(ETCD, ()))


def _empty(group: str, consequence: str, severity: Severity, groups: Mapping[str, Sequence[str]]) -> Finding:
    others = [name for name, hosts in groups.items() if hosts and name not in (*GROUPS, "all", "ungrouped")]
    close = difflib.get_close_matches(group, others, n=1)
    mend = f"Did you mean the group `{close[0]}` to be `{group}`?" if close else f"Put hosts into the group `{group}`."
    return Finding("empty-group", group, SETTINGS, f"the group `{group}` is empty: {consequence}", mend, severity)


def _members(members: Sequence[str]) -> Iterator[Finding]:
    number = len(members)
    if number and number % 2 == 0:
        wrong = f"`{ETCD}` has {number} members: it needs {number // 2 + 1} of them alive, so it survives no more losses than {number - 1}"
        yield Finding("etcd-members", str(number), SETTINGS, wrong, f"Make it {number - 1} or {number + 1}.")
    if number > MANY_MEMBERS:
        wrong = f"`{ETCD}` has {number} members; each write waits for {number // 2 + 1} of them"
        yield Finding("etcd-members", str(number), SETTINGS, wrong, "3 or 5 are enough; 7 at most.", "warning")
