"""Jumps that iptables made, be it nftables in disguise or the older one, which nftables does not see."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import List, Mapping

from kubeproof.install.pod_network.commands import run
from kubeproof.install.pod_network.ruleset import Rule, Ruleset

# By IP family.
_LEGACY_TABLES: Mapping[int, Path] = {
    socket.AF_INET: Path("/proc/net/ip_tables_names"),
    socket.AF_INET6: Path("/proc/net/ip6_tables_names"),
}
_LEGACY: Mapping[int, str] = {socket.AF_INET: "iptables-legacy", socket.AF_INET6: "ip6tables-legacy"}


class Jumps:
    """Where the rules of a chain lead to, read once for many questions."""

    def __init__(self, rules: List[Rule], legacy: List[str]) -> None:
        self._rules = rules
        self._legacy = legacy

    def to(self, target: str) -> bool:
        """Whether one of them leads to that chain."""
        return any(rule.leads_to(target) for rule in self._rules) or any(
            line.endswith(" -j " + target) for line in self._legacy
        )


def jumps(ruleset: Ruleset, table: str, chain: str) -> Jumps:
    """Those of a chain that need not be there. Raises PodNetworkError."""
    legacy: List[str] = []
    if _legacy(ruleset.family, table):
        # Of the whole table: asked for a chain that is not there, iptables fails.
        listed = run(_LEGACY[ruleset.family], "--wait", "5", "--table", table, "--list-rules")
        legacy = [line for line in listed.splitlines() if line.startswith("-A %s " % chain)]
    return Jumps(ruleset.rules(table, chain), legacy)


def leads(ruleset: Ruleset, table: str, chain: str, target: str) -> bool:
    """Whether a rule of a chain jumps to another one. Raises PodNetworkError."""
    if any(rule.leads_to(target) for rule in ruleset.rules(table, chain)):
        return True
    if not _legacy(ruleset.family, table):
        return False
    listed = run(_LEGACY[ruleset.family], "--wait", "5", "--table", table, "--list-rules", chain)
    return any(line.endswith(" -j " + target) for line in listed.splitlines())


def _legacy(family: int, table: str) -> bool:
    try:
        return table in _LEGACY_TABLES[family].read_text(encoding="ascii").split()
    except OSError:
        return False
