"""Preflight: what would go wrong, found before anything is changed. Pure functions from settings and reports to findings.

Two stages: :func:`check_settings` needs no host; :func:`check_hosts` needs a report of each.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kubeproof.preflight import fleet, hosts, networks, versions
from kubeproof.preflight.findings import SETTINGS, Finding, as_data, count, errors, relevant, render
from kubeproof.preflight.model import GROUPS, Host, Rules
from kubeproof.preflight.settings import Variables, check_settings, of

__all__ = [
    "GROUPS", "SETTINGS", "Finding", "Host", "Rules", "Variables", "as_data", "check_hosts", "check_settings", "count",
    "errors", "of", "relevant", "render",
]  # fmt: skip


def check_hosts(
    found: Sequence[tuple[Host, Rules]], cluster: Mapping[str, Any], wanted: Mapping[str, str]
) -> Iterator[Finding]:
    """All that reports tell. ``cluster``: the ``cluster_`` settings without prefix; ``wanted``: versions by component.

    Each host comes with the rules that hold for it; hosts are compared by the first one's.
    """
    for host, rules in found:
        yield from hosts.check_host(host, rules)
    everyone = [host for host, _ in found]
    if found:
        yield from fleet.check_fleet(everyone, found[0][1])
    yield from networks.check_interfaces(everyone, networks.cluster_networks(cluster))
    yield from versions.check_versions(everyone, wanted)
