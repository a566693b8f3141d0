"""What makes the claims about etcd false."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from tests.saboteurs.apiserver import erased
from tests.saboteurs.framework.mutations import (
    changed_file,
    done,
    etcdctl,
    everywhere,
    flags,
    rules,
    running,
    stopped,
    three_members,
)
from tests.saboteurs.framework.registry import saboteur

from kubeproof.verify.etcd_backups import survey
from kubeproof.verify.observe.cluster import Cluster
from kubeproof.verify.observe.hosts import Host, NotObservable

# In no network of a cluster: nothing is there, and nothing gets there.
_GHOST = "https://192.0.2.1:2380"
_SCRATCH_PORT = 12379


@saboteur(
    "etcd-replicated",
    breaks="etcd has a member, a learner, that does not exist",
    says="etcd has 2 members",
    quick=True,
)
def ghost_member(cluster: Cluster) -> Iterator[None]:
    ctl = etcdctl(cluster)
    remove = f"{ctl} member list | grep {_GHOST} | cut -d, -f1 | xargs -r {ctl} member remove"
    with done(cluster.etcd.host, f"{ctl} member add ghost --learner --peer-urls={_GHOST}", remove):
        yield


@saboteur(
    "etcd-private",
    breaks="etcd asks its clients for no certificate",
    says="answers a caller with https and no certificate",
)
def etcd_open_to_everybody(cluster: Cluster) -> Iterator[None]:
    def without_ca(text: str) -> str:
        client, peers = text.split("\nlisten-peer-urls")
        client = re.sub(r"\n  (trusted-ca-file|client-cert-auth):.*", "", client)
        return f"{client}\nlisten-peer-urls{peers}"

    with everywhere(cluster.etcd_hosts, lambda host: changed_file(host, "/etc/etcd/etcd.yaml", without_ca, "etcd")):
        yield


@saboteur(
    "etcd-backup", breaks="The timer of the backup is off on a host of etcd", says="etcd-backup.timer on .* is inactive"
)
def no_timer(cluster: Cluster) -> Iterator[None]:
    with stopped(cluster.etcd_hosts[0], survey.TIMER):
        yield


@saboteur(
    "etcd-backup",
    breaks="The newest snapshot ends too early",
    says="etcdutl cannot read the snapshot|is not what was written",
)
def truncated_snapshot(cluster: Cluster) -> Iterator[None]:
    with _damaged_newest(cluster.etcd_hosts[0], "truncate --size=-4096"):
        yield


@saboteur("etcd-backup", breaks="A few bits of the newest snapshot are others", says="is not what was written")
def flipped_bits(cluster: Cluster) -> Iterator[None]:
    flip = 'python3 -c \'import sys; f = open(sys.argv[1], "r+b"); f.seek(-5000, 2); f.write(b"\\x55")\''
    with _damaged_newest(cluster.etcd_hosts[0], flip):
        yield


@saboteur(
    "etcd-backup",
    breaks="Retention removes the backup that was just made",
    says="the last good backup, .*, is not on .* any more",
)
def retention_eats_the_newest(cluster: Cluster) -> Iterator[None]:
    """The program is another one, which removes what it has made. What it ate is not missed: it was made for it."""
    host = cluster.etcd_hosts[0]
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
def backups_open_to_everybody(cluster: Cluster) -> Iterator[None]:
    host = cluster.etcd_hosts[0]
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


@saboteur(
    "etcd-consistent",
    breaks="Written keys are deleted, behind the API servers",
    says="was acknowledged, and is gone|was acknowledged at revision .* has it at None",
)
def acknowledged_writes_vanish(cluster: Cluster) -> Iterator[None]:
    three_members(cluster)
    with erased(cluster, "consistent"):
        yield


@saboteur(
    "etcd-quorum",
    breaks="One etcd member is down already",
    says="no write was acknowledged|catches up",
)
def one_member_is_down_already(cluster: Cluster) -> Iterator[None]:
    # Not the first one, on which etcd is asked.
    with stopped(three_members(cluster)[-1], "etcd"):
        yield


@saboteur(
    "etcd-no-split",
    breaks="The last member has a store of its own for those who ask it",
    says="without a majority the member on .* accepts a write",
)
def a_member_for_itself(cluster: Cluster) -> Iterator[None]:
    last = three_members(cluster)[-1]
    port = cluster.settings["cluster_etcd_port"]
    pki = "/etc/etcd/pki"
    url = f"https://127.0.0.1:{_SCRATCH_PORT}"
    scratch = (
        "d=$(mktemp -d); trap 'rm -rf $d' EXIT; etcd --data-dir $d --name scratch "
        f"--listen-client-urls {url} --advertise-client-urls {url} --listen-peer-urls http://127.0.0.1:12380 "
        f"--cert-file {pki}/server.crt --key-file {pki}/server.key --trusted-ca-file {pki}/ca.crt --client-cert-auth"
    )
    chain = f"""
  chain output {{
    type nat hook output priority -100; policy accept;
    ip daddr 127.0.0.1 tcp dport {port} redirect to :{_SCRATCH_PORT}
  }}"""
    with running(last, scratch), rules(last, chain, "ip"):
        yield


@saboteur(
    "etcd-separate",
    breaks="A host that is no API server is connected to etcd",
    says="clients of etcd are not API servers",
)
def a_stranger_at_etcd(cluster: Cluster) -> Iterator[None]:
    if {host.name for host in cluster.etcd_hosts} & {host.name for host in cluster.control_plane}:
        raise NotObservable("it takes etcd on hosts of its own")
    stranger = next(node.host for node in cluster.nodes if not node.control_plane)
    address, port = cluster.etcd_hosts[0].address, cluster.settings["cluster_etcd_port"]
    with running(stranger, f"while sleep 0.1; do timeout 5 bash -c 'exec 3<>/dev/tcp/{address}/{port}; cat <&3'; done"):
        yield


@saboteur(
    "etcd-all-state",
    breaks="API servers keep ConfigMaps in another etcd, of which there is no backup",
    says="configmaps is not kept in this etcd",
)
def state_in_another_etcd(cluster: Cluster) -> Iterator[None]:
    url, data = "http://127.0.0.1:12379", "/run/kubeproof-saboteur-etcd"
    peers = "--listen-peer-urls=http://127.0.0.1:12380 --initial-advertise-peer-urls=http://127.0.0.1:12380"
    clients = f"--listen-client-urls={url} --advertise-client-urls={url}"
    one = f"etcd --data-dir={data} {clients} {peers} --initial-cluster=default=http://127.0.0.1:12380"
    with ExitStack() as stack:
        for host in cluster.control_plane:
            stack.enter_context(done(host, "true", f"rm -rf {data}"))
            stack.enter_context(running(host, f"exec {one}"))
            stack.enter_context(flags(host, "kube-apiserver", f"--etcd-servers-overrides=/configmaps#{url}"))
        yield


@saboteur(
    "etcd-all-state",
    breaks="The program that backs etcd up compares nothing in a drill",
    says="calls a backup proven that is not what its manifest says",
)
def drill_that_compares_nothing(cluster: Cluster) -> Iterator[None]:
    path = "/usr/local/bin/kubeproof-backup"
    # As an edit of the program would: each comparison returns before it looks.
    patch = f"""
import os, re, shutil, sys, zipfile
source = zipfile.ZipFile({path!r})
entries = {{entry: source.read(entry) for entry in source.infolist()}}
names = rb"def (check|compare_database|compare_content|compare_objects)\\((?s:.*?)\\) -> \\w+:\\n"
with open({path!r} + ".new", "wb") as written:
    written.write(b"#!/usr/bin/python3 -I\\n")
    with zipfile.ZipFile(written, "a") as target:
        for entry, content in entries.items():
            if entry.filename.endswith(("agent/drill.py", "agent/check.py")):
                content = re.sub(names, lambda found: found[0] + b"    return None\\n", content)
            target.writestr(entry, content)
shutil.copymode({path!r}, {path!r} + ".new")
"""
    hosts = cluster.etcd_hosts
    with ExitStack() as stack:
        for host in hosts:
            keep = (
                f"cp --preserve=all {path} {path}.saboteur && python3 -c {shlex.quote(patch)} && mv {path}.new {path}"
            )
            stack.enter_context(done(host, keep, f"mv {path}.saboteur {path}"))
        yield
