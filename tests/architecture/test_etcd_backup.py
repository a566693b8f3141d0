"""Backups of etcd: taken on schedule, whole, and closed to everybody but those who make them."""

from __future__ import annotations

import json

import pytest

from kubeproof.verify.engine.evidence import Evidence
from kubeproof.verify.etcd_backups import survey as backups
from kubeproof.verify.etcd_backups.survey import Survey
from kubeproof.verify.observe.cluster import Cluster
from kubeproof.verify.observe.hosts import Host, NotObservable, on_hosts

_ETCD_PKI = "/etc/etcd/pki"


@pytest.mark.claim("etcd-backup")
def test_a_backup_is_as_young_as_the_schedule_says_and_can_be_read(cluster: Cluster, evidence: Evidence) -> None:
    surveys = _survey(cluster)
    evidence["hosts"] = {host: list(each.found["backups"]) for host, each in surveys.items()}
    evidence["timers"] = {host: each.found["timers"][backups.TIMER] for host, each in surveys.items()}
    problems = list(backups.timer_problems(surveys))
    assert not problems, "; ".join(problems)
    late = backups.overdue(surveys)
    assert not late, late

    if backups.newest(surveys) is None:
        # The schedule's first run is yet to come: this is one like it, an hour early.
        host = next(host for host in cluster.etcd_hosts if host.name in surveys)
        evidence["made"] = f"there was none yet: {backups.SERVICE} on {host} was started as its timer would"
        _run(host)
        surveys = _survey(cluster)
    last = backups.newest(surveys)
    assert last, f"{backups.SERVICE} ended well, and made no backup"

    stored = cluster.etcd.get(backups.LAST)
    record = json.loads(stored.value) if stored else None
    evidence["record in etcd"] = record
    gone = backups.lost(surveys, record)
    assert not gone, gone
    evidence["newest"] = last.found["backups"][last.newest]
    damaged = backups.damage(last)
    assert not damaged, damaged
    revision, current = last.found["backups"][last.newest]["revision"], cluster.etcd.revision()
    assert revision <= current, f"{last.newest} has revision {revision}, etcd itself is only at {current}"
    late = backups.unproven(surveys)
    assert not late, late
    evidence.headline = backups.summary(last, surveys)


@pytest.mark.claim("etcd-private")
def test_nobody_else_on_its_hosts_reads_its_files_or_their_copies(cluster: Cluster, evidence: Evidence) -> None:
    tried = 0
    for host in cluster.etcd_hosts:
        # A user who may read what everybody may: without that, refusals would prove nothing.
        host.run("runuser -u nobody -- cat /etc/passwd > /dev/null")
        paths = _secrets_of_etcd(cluster, host)
        evidence[str(host)] = paths
        for path in paths:
            status, _, _ = host.attempt("runuser -u nobody -- head -c 1 -- %s", path)
            assert status != 0, (
                f"{path} on {host}, which holds the cluster's state or opens it, can be read by any user"
            )
        tried += len(paths)
    assert tried, "there is no file of etcd on its hosts that could be tried"
    evidence.headline = f"{tried} files of etcd, its keys and its backups closed to other users"


def _secrets_of_etcd(cluster: Cluster, host: Host) -> list[str]:
    """Files that hold the cluster's state, or open etcd: its data, private keys, and backups."""
    _, settings, _ = host.attempt("cat %s", backups.CONFIGURATION)
    kept = [json.loads(settings)["directory"], "/etc/kubeproof"] if settings else []
    places = [_ETCD_PKI, str(cluster.settings["etcd_data_directory"]), *kept]
    names = r"\( -name '*.key' -o -name '*.db' -o -name '*.wal' -o -name 'keys.tar*' \)"
    return host.run(f"find {' '.join('%s' for _ in places)} -type f {names}", *places).split()


def _survey(cluster: Cluster) -> dict[str, Survey]:
    found = {host: survey for host, survey in on_hosts(cluster.etcd_hosts, backups.survey).items() if survey}
    if not found:
        raise NotObservable(f"no host of etcd has {backups.CONFIGURATION}: kubeproof makes no backups here")
    return found


def _run(host: Host) -> None:
    status, _, said = host.attempt("systemctl start %s", backups.SERVICE)
    if status:
        _, log, _ = host.attempt("journalctl --quiet --output=cat --lines=3 --unit=%s", backups.SERVICE)
        raise AssertionError(f"{backups.SERVICE} on {host}, started as its timer would, failed: {log.strip() or said}")
