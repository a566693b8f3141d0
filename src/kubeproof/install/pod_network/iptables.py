"""Jumps that iptables made, be it nftables in disguise or the older one, which nftables does not see."""

from __future__ import annotations

from pathlib import Path

from kubeproof.install.pod_network.commands import run
from kubeproof.install.pod_network.ruleset import Ruleset

_LEGACY_TABLES = Path("/proc/net/ip_tables_names")


def leads(ruleset: Ruleset, table: str, chain: str, target: str) -> bool:
    """Whether a rule of a chain jumps to another one. Raises PodNetworkError."""
    if any(rule.leads_to(target) for rule in ruleset.rules(table, chain)):
        return True
    if not _legacy(table):
        return False
    listed = run("iptables-legacy", "--wait", "5", "--table", table, "--list-rules", chain)
    return any(line.endswith(" -j " + target) for line in listed.splitlines())


def _legacy(table: str) -> bool:
    try:
        return table in _LEGACY_TABLES.read_text(encoding="ascii").split()
    except OSError:
        return False
