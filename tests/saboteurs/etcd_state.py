"""What makes false that etcd, and so a backup of it, has all of the cluster's state."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import ExitStack

from tests.saboteurs.framework.mutations import done, flags, running
from tests.saboteurs.framework.registry import saboteur

from kubeproof.verify.observe.cluster import Cluster


@saboteur(
    "etcd-all-state",
    breaks="API servers keep ConfigMaps in another etcd, of which there is no backup",
    says="configmaps is not kept in this etcd",
)
def state_in_another_etcd(lab: Cluster) -> Iterator[None]:
    url, data = "http://127.0.0.1:12379", "/run/kubeproof-saboteur-etcd"
    peers = "--listen-peer-urls=http://127.0.0.1:12380 --initial-advertise-peer-urls=http://127.0.0.1:12380"
    clients = f"--listen-client-urls={url} --advertise-client-urls={url}"
    one = f"etcd --data-dir={data} {clients} {peers} --initial-cluster=default=http://127.0.0.1:12380"
    with ExitStack() as stack:
        for host in lab.control_plane:
            stack.enter_context(done(host, "true", f"rm -rf {data}"))
            stack.enter_context(running(host, f"exec {one}"))
            stack.enter_context(flags(host, "kube-apiserver", f"--etcd-servers-overrides=/configmaps#{url}"))
        yield


@saboteur(
    "etcd-all-state",
    breaks="The program that backs etcd up compares nothing in a drill",
    says="calls a backup proven that is not what its manifest says",
)
def drill_that_compares_nothing(lab: Cluster) -> Iterator[None]:
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
    hosts = lab.etcd_hosts
    with ExitStack() as stack:
        for host in hosts:
            keep = (
                f"cp --preserve=all {path} {path}.saboteur && python3 -c {shlex.quote(patch)} && mv {path}.new {path}"
            )
            stack.enter_context(done(host, keep, f"mv {path}.saboteur {path}"))
        yield
