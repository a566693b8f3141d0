"""What would go wrong, found before anything is changed: pure functions from settings and reports to findings.

Two stages: :func:`check_settings` needs no host; :func:`check_hosts` needs a report of each.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from kubeproof.preflight import fleet, members, networks, versions
from kubeproof.preflight.findings import Finding, as_data, count, errors, relevant, render
from kubeproof.preflight.hosts import check_host
from kubeproof.preflight.model import ETCD, GROUPS, PURPOSES, Host, Purpose, Rules
from kubeproof.preflight.packages import check_packages
from kubeproof.preflight.settings import Variables, check_settings, check_templates

__all__ = [
    "GROUPS",
    "PURPOSES",
    "Finding",
    "Host",
    "Purpose",
    "Rules",
    "Variables",
    "as_data",
    "check_hosts",
    "check_settings",
    "count",
    "errors",
    "relevant",
    "render",
]


def check_hosts(
    hosts: Sequence[Variables],
    wanted: Mapping[str, str],
    groups: Mapping[str, Sequence[str]],
    purpose: Purpose = "converge",
) -> Iterator[Finding]:
    """All that reports tell, once settings are right. ``wanted``: versions by program, as pinned.

    ``groups``: the inventory's by name, each with all its hosts. ``purpose``: what the run is about to do.
    Each host is judged by the settings that hold for it, and hosts are compared by the first one's.
    """
    broken = list(check_templates(hosts))
    yield from broken
    sound = [entry for entry in hosts if not entry.broken]
    if not sound:
        return
    for entry in sound:
        yield from check_host(entry.host, Rules.parse(entry.values))
        yield from check_packages(entry.host, entry.values)
    everyone = [entry.host for entry in sound]
    cluster = networks.cluster_networks(sound[0].values)
    yield from fleet.check_fleet(everyone, Rules.parse(sound[0].values))
    yield from networks.check_addresses(everyone, cluster)
    yield from networks.check_interfaces(everyone, cluster)
    yield from versions.check_versions(everyone, wanted)
    # A restore and a replacement are what mends these, and judge by themselves what they may do.
    if purpose == "converge":
        yield from members.check_members(hosts, groups.get(ETCD, ()))
