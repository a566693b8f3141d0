"""What would go wrong, found before anything is changed: pure functions from settings and reports to findings.

Two stages: :func:`check_settings` needs no host; :func:`check_hosts` needs a report of each.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Sequence

from kubeproof.preflight import (
    firewalls,
    fleet,
    identity,
    installed,
    joining,
    members,
    networks,
    placement,
    ports,
    runs,
    speaker,
    unreachable,
    versions,
)
from kubeproof.preflight.findings import Finding, as_data, count, errors, relevant, render
from kubeproof.preflight.hosts import check_host
from kubeproof.preflight.identity import Kept
from kubeproof.preflight.model import CONTROL_PLANE, ETCD, GROUPS, KEEPING, PURPOSES, Host, Purpose, Rules, Run
from kubeproof.preflight.packages import check_packages
from kubeproof.preflight.ports import check_connections
from kubeproof.preflight.settings import Variables, check_late, check_settings, check_templates
from kubeproof.preflight.tags import refuse_unknown
from kubeproof.preflight.topology import check_even
from kubeproof.preflight.unreachable import left_behind
from kubeproof.preflight.versions import Wanted
from kubeproof.settings import families, specs

__all__ = [
    "GROUPS",
    "PURPOSES",
    "Finding",
    "Host",
    "Kept",
    "Purpose",
    "Rules",
    "Run",
    "Variables",
    "Wanted",
    "as_data",
    "check_connections",
    "check_even",
    "check_hosts",
    "check_settings",
    "count",
    "errors",
    "left_behind",
    "probes",
    "refuse_unknown",
    "relevant",
    "render",
]


def check_hosts(hosts: Sequence[Variables], wanted: Wanted, run: Run) -> Iterator[Finding]:
    """All that reports tell, once settings are right. ``wanted``: versions that the run would install.

    Each host is judged by the settings that hold for it, and hosts are compared by the first one's. One that is left
    behind counts as one that --limit leaves out.
    """
    absent = left_behind([entry.host for entry in hosts], run)
    yield from (unreachable.warning(entry.host) for entry in hosts if entry.host.name in absent)
    hosts = [entry for entry in hosts if entry.host.name not in absent]
    wrong = [*check_templates(hosts), *check_late(hosts, specs.load())]
    yield from wrong
    unsound = {finding.host for finding in wrong}
    sound = [entry for entry in hosts if entry.host.name not in unsound]
    if not sound:
        return
    everyone = [entry.host for entry in sound]
    addresses = [host.address for host in everyone]
    for entry in sound:
        rules = Rules.parse(entry.values)
        yield from check_host(entry.host, rules)
        pods = [families.of_family(entry.values["cluster_pod_network"], family) for family in (4, 6)]
        ipv6 = pods[1] if pods[0] else "", [host.address_ipv6 for host in everyone]
        yield from firewalls.check_firewall(entry.host, rules, pods[0] or pods[1], addresses, ipv6)
        yield from check_packages(entry.host, entry.values)
    cluster = networks.cluster_networks(sound[0].values)
    yield from fleet.check_fleet(everyone, Rules.parse(sound[0].values))
    yield from networks.check_addresses(everyone, cluster)
    yield from networks.check_ipv6_addresses(everyone, cluster, dual=networks.dual_stack(sound[0].values))
    yield from networks.check_interfaces(everyone, cluster)
    yield from networks.check_balanced_hosts(sound[0].values, everyone)
    # An upgrade plans by what runs, and has an order of its own.
    if run.purpose != "upgrade":
        yield from versions.check_versions(everyone, wanted)
    yield from runs.check_runs([entry.host for entry in hosts], run.active)
    yield from speaker.check_speaker(run)
    if run.purpose == "converge":
        yield from runs.check_upgrade(run.kept)
    yield from _check_installed(hosts, run)


def probes(hosts: Sequence[Variables]) -> dict[str, ports.Probe]:
    """What hosts have to probe of each other's ports, by name; empty if none of them is new."""
    return ports.probes([(entry.host, Rules.parse(entry.values)) for entry in hosts if not entry.broken])


def _check_installed(hosts: Sequence[Variables], run: Run) -> Iterator[Finding]:
    """The settings and what the controller keeps against what is installed."""
    yield from installed.check_installed(hosts)
    carried = {entry.host.name: entry.host.report["identity"] for entry in hosts if entry.host.report is not None}
    restoring = run.purpose == "restore"
    # A restore brings what the controller has lost, before anything is made.
    yield from identity.check_identity(carried, run.kept, may_lack=restoring)
    yield from identity.check_ends(run.kept, datetime.datetime.now(datetime.UTC))
    if not restoring:
        asked = [entry.host.name for entry in hosts]
        yield from identity.check_beginning(run.hosts(ETCD, CONTROL_PLANE), asked, run.kept)
    # A replacement adds a member of etcd, and no node.
    if run.purpose != "replace-member":
        yield from joining.check_joining([entry.host for entry in hosts], run)
    # A restore and a replacement remediate these, and check by themselves what they may do.
    if run.purpose in KEEPING:
        yield from placement.check_placement([entry.host for entry in hosts], run.ungrouped, run.kept)
        yield from members.check_members(hosts, run.hosts(ETCD), run.forks)
