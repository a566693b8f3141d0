"""Is a directory a whole, undamaged backup, and of this cluster?"""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

from kubeproof.backup.agent import files, manifest, programs
from kubeproof.backup.agent.errors import Damaged
from kubeproof.backup.agent.manifest import Manifest

# etcd puts the SHA-256 of a snapshot behind it: a file of whole pages and 32 bytes.
_DIGEST = hashlib.sha256().digest_size
_PAGE = 512
_VERSION = re.compile(r"v?(\d+)\.(\d+)")


def glance(directory: Path, ca_digest: str = "") -> Manifest:
    """Check what needs no complete read: manifest, names and sizes. Raises Damaged."""
    found = manifest.read(directory)
    if found.name != directory.name:
        raise Damaged("its manifest names it %s" % found.name)
    if ca_digest and found.authority != ca_digest:
        raise Damaged(
            "it belongs to another cluster (%s, etcd CA %s…; this cluster's is %s…)"
            % (found.cluster, found.authority[:12], ca_digest[:12])
        )
    if manifest.SNAPSHOT not in found.files:
        raise Damaged("%s does not list %s" % (manifest.NAME, manifest.SNAPSHOT))
    _names(directory, found)
    return found


def check(directory: Path, etcdutl: str, ca_digest: str = "", timeout: float = 3600) -> Manifest:
    """Read all of it, and have etcd's own program read the snapshot. Raises Damaged.

    ``ca_digest``: whose backup it must be (SHA-256 of etcd's CA); empty: anybody's.
    """
    found = glance(directory, ca_digest)
    for name, file in found.files.items():
        if files.sha256(directory / name) != file.sha256:
            raise Damaged("%s has changed: its SHA-256 differs from the manifest's" % name)
    snapshot(directory / manifest.SNAPSHOT)
    _age(found, etcdutl)
    try:
        status = programs.snapshot_status(etcdutl, directory / manifest.SNAPSHOT, timeout)
    except programs.ProgramFailed as error:
        raise Damaged("%s cannot be read: %s" % (manifest.SNAPSHOT, error)) from None
    for name in ("revision", "hash", "keys", "size"):
        said, written = getattr(status, name), getattr(found, name)
        if said != written:
            raise Damaged("the snapshot has %s %s, the manifest says %s" % (name, said, written))
    return found


def snapshot(path: Path) -> None:
    """Compare a snapshot with the digest that etcd put behind it when it sent it. Raises Damaged."""
    size = path.stat().st_size
    if size % _PAGE != _DIGEST:
        raise Damaged("%s is truncated: %d bytes cannot be a snapshot" % (path.name, size))
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        left = size - _DIGEST
        while left:
            chunk = stream.read(min(left, 1 << 20))
            if not chunk:
                raise Damaged("%s was truncated while it was read" % path.name)
            digest.update(chunk)
            left -= len(chunk)
        if stream.read() != digest.digest():
            raise Damaged("%s is corrupt: it does not match the digest that etcd appended" % path.name)


def _names(directory: Path, found: Manifest) -> None:
    there = {entry.name: entry for entry in os.scandir(str(directory))}
    wanted = {manifest.NAME, *found.files}
    missing, extra = sorted(wanted - there.keys()), sorted(there.keys() - wanted)
    if missing or extra:
        told = [f"{', '.join(names)} {what}" for names, what in ((missing, "missing"), (extra, "too much")) if names]
        raise Damaged("; ".join(told))
    for name in sorted(wanted):
        if not there[name].is_file(follow_symlinks=False):
            raise Damaged("%s is not a regular file" % name)
        size = there[name].stat(follow_symlinks=False).st_size
        if name in found.files and size != found.files[name].bytes:
            raise Damaged("%s has %d bytes instead of %d" % (name, size, found.files[name].bytes))


def _age(found: Manifest, etcdutl: str) -> None:
    """Refuse what a newer etcd wrote: an older one may read it, and not as it was meant."""
    ours = programs.version(etcdutl)
    for what in ("etcd", "storage"):
        theirs = found.versions.get(what, "")
        if theirs and minor(theirs) > minor(ours):
            raise Damaged(
                "it is of etcd %s; the programs here are of etcd %s, which may not support all of it" % (theirs, ours)
            )


def minor(text: str) -> tuple[int, int]:
    """The minor version of etcd in a text. Raises Damaged if there is none."""
    match = _VERSION.match(text)
    if not match:
        raise Damaged("%r is not a version of etcd" % text)
    return int(match[1]), int(match[2])
