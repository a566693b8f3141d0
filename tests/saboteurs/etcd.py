"""What makes the claims about etcd false."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager

from tests.saboteurs.framework.mutations import changed_file, done, etcdctl, everywhere, stopped
from tests.saboteurs.framework.registry import saboteur

from kubeproof.verify.etcd_backups import survey
from kubeproof.verify.observe.cluster import Cluster
from kubeproof.verify.observe.hosts import Host

# In no network of a cluster: nothing is there, and nothing gets there.
_GHOST = "https://192.0.2.1:2380"


@saboteur(
    "etcd-replicated",
    breaks="etcd has a member, a learner, that does not exist",
    says="etcd has 2 members",
    quick=True,
)
def ghost_member(lab: Cluster) -> Iterator[None]:
    ctl = etcdctl(lab)
    remove = f"{ctl} member list | grep {_GHOST} | cut -d, -f1 | xargs -r {ctl} member remove"
    with done(lab.etcd.host, f"{ctl} member add ghost --learner --peer-urls={_GHOST}", remove):
        yield


@saboteur(
    "etcd-private",
    breaks="etcd asks its clients for no certificate",
    says="answers a caller with https and no certificate",
)
def etcd_open_to_everybody(lab: Cluster) -> Iterator[None]:
    def without_authority(text: str) -> str:
        client, peers = text.split("\nlisten-peer-urls")
        client = re.sub(r"\n  (trusted-ca-file|client-cert-auth):.*", "", client)
        return f"{client}\nlisten-peer-urls{peers}"

    with everywhere(lab.etcd_hosts, lambda host: changed_file(host, "/etc/etcd/etcd.yaml", without_authority, "etcd")):
        yield


@saboteur(
    "etcd-backup", breaks="The timer of the backup is off on a host of etcd", says="etcd-backup.timer on .* is inactive"
)
def no_timer(lab: Cluster) -> Iterator[None]:
    with stopped(lab.etcd_hosts[0], survey.TIMER):
        yield


@saboteur(
    "etcd-backup",
    breaks="The newest snapshot ends too early",
    says="etcdutl cannot read the snapshot|is not what was written",
)
def truncated_snapshot(lab: Cluster) -> Iterator[None]:
    with _damaged_newest(lab.etcd_hosts[0], "truncate --size=-4096"):
        yield


@saboteur("etcd-backup", breaks="A few bits of the newest snapshot are others", says="is not what was written")
def flipped_bits(lab: Cluster) -> Iterator[None]:
    flip = 'python3 -c \'import sys; f = open(sys.argv[1], "r+b"); f.seek(-5000, 2); f.write(b"\\x55")\''
    with _damaged_newest(lab.etcd_hosts[0], flip):
        yield


@saboteur(
    "etcd-backup",
    breaks="Retention removes the backup that was just made",
    says="the last good backup, .*, is not on .* any more",
)
def retention_eats_the_newest(lab: Cluster) -> Iterator[None]:
    """The program is another one, which removes what it has made. What it ate is not missed: it was made for it."""
    host = lab.etcd_hosts[0]
    program, real = "/usr/local/bin/kubeproof-backup", "/run/kubeproof-backup.real"
    hungry = f'#!/bin/sh\n{real} "$@"\n{_NEWEST}\nrm -r "$newest"\n'
    patch = f"mv {program} {real} && printf %s {shlex.quote(hungry)} > {program} && chmod 0755 {program}"
    # etcd's record of the last good backup is made true again by making one.
    repair = f"mv {real} {program} && {program} save --trigger hand"
    with done(host, f"{patch} && {program} save --trigger hand", repair):
        yield


@saboteur(
    "etcd-private",
    breaks="The backups on a host can be read by any user of it",
    says="can be read by any user",
)
def backups_open_to_everybody(lab: Cluster) -> Iterator[None]:
    host = lab.etcd_hosts[0]
    _have_one(host)
    with done(host, "chmod -R a+rX /var/backups/etcd", "chmod -R go-rwx /var/backups/etcd"):
        yield


# The directory of the newest backup.
_NEWEST = "newest=$(ls -d /var/backups/etcd/2* | sort | tail -n 1)"


def _have_one(host: Host) -> None:
    host.run("kubeproof-backup save --trigger hand")


@contextmanager
def _damaged_newest(host: Host, command: str) -> Iterator[None]:
    """Spoil the newest backup's snapshot by a command that takes its path; it is put back as it was."""
    _have_one(host)
    spoil = f'{_NEWEST}; cp -p "$newest/snapshot.db" /run/kubeproof-saboteur.db && {command} "$newest/snapshot.db"'
    # A cp over it keeps its owner and mode.
    repair = f'{_NEWEST}; cp /run/kubeproof-saboteur.db "$newest/snapshot.db" && rm /run/kubeproof-saboteur.db'
    with done(host, spoil, repair):
        yield
