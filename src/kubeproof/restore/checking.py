"""What speaks against a restore, found out before anything is stopped."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from kubeproof.backup import keys
from kubeproof.backup.agent import check, files
from kubeproof.backup.agent.errors import Damaged
from kubeproof.backup.agent.manifest import SNAPSHOT, Manifest
from kubeproof.core.errors import KubeproofError
from kubeproof.preflight.identity import Kept

# The cluster's keys, in a backup and on the hosts that make backups: encrypted, or plain.
ARCHIVES = ("keys.tar.age", "keys.tar")
ENCRYPTED = ".age"
"""How the name of an encrypted archive ends."""
_MEBIBYTE = 1 << 20
# Besides the database: two write-ahead log files of 64 MB that etcd makes in advance, and room to begin with.
_ROOM = 256 * _MEBIBYTE
# Twice: as it arrives, and as etcdutl makes a member's of it.
_COPIES = 2
_VERSION = re.compile(r"v?(\d+)\.(\d+)")


@dataclass(frozen=True)
class Look:
    """What the module ``etcd_restore`` saw on an etcd host.

    ``placed`` is the restore that the host's data is of; ``there`` whether it has data; ``live`` what the running
    member says (``member_id``, ``revision``, ``leader``, ``others``: those besides it who answer), empty if nothing.
    ``seen``: the host is in the run.
    """

    host: str
    there: bool
    active: bool
    free: int
    placed: str = ""
    live: Mapping[str, Any] = field(default_factory=dict)
    problem: str = ""
    seen: bool = True

    @classmethod
    def of(cls, host: str, seen: Mapping[str, Any]) -> Look:
        """From the module's answer."""
        return cls(
            host=host,
            there=bool(seen["there"]),
            active=bool(seen["active"]),
            free=int(seen["free"]),
            placed=str(seen["placed"]),
            live=seen["live"] or {},
            problem=str(seen["problem"]),
        )

    @classmethod
    def unseen(cls, host: str) -> Look:
        """Of a host that the run leaves out."""
        return cls(host=host, there=False, active=False, free=0, seen=False)


def ca_digest_of(state: Path) -> str:
    """Whose cluster the controller's state is of: SHA-256 of etcd's CA certificate (DER, hex); empty if it has none."""
    path = state / "pki" / "etcd.crt"
    if not path.is_file():
        return ""
    return _ca_digest(path.read_bytes())


def _ca_digest(pem: bytes) -> str:
    certificate = x509.load_pem_x509_certificate(pem)
    return hashlib.sha256(certificate.public_bytes(serialization.Encoding.DER)).hexdigest()


def lost_keys(state: Path, directory: Path, identity: Path) -> list[str]:
    """The names of the files that ``keys_for`` would take. Changes nothing, and raises KubeproofError as that does."""
    return keys.missing(_opened(state, directory, identity), state)


def keys_for(state: Path, directory: Path, identity: Path, recipients: Sequence[str] = ()) -> list[str]:
    """Take the cluster's keys from a backup, where the controller has lost them; returns the names of the files.

    Without ``recipients``, which are the cluster's, the private key is kept that has decrypted them. Raises
    KubeproofError, and changes nothing, if they are not of the cluster whose backup it is.
    """
    found = _opened(state, directory, identity)
    if not found:
        return []
    taken = keys.restore(found, state)
    archive = _archive(directory)
    if archive.name.endswith(ENCRYPTED):
        keys.keep_identity(state, archive.read_bytes(), identity, recipients)
    return taken


def _opened(state: Path, directory: Path, identity: Path) -> Mapping[str, bytes]:
    """The keys in a backup, if the controller lacks any; else none."""
    pki = state / "pki"
    if not Kept.of(state).missing:
        return {}
    archive = _archive(directory)
    if not archive.is_file():
        raise KubeproofError(
            f"{pki} lacks keys of the cluster, and {directory.name} has none: without them Secrets cannot be read, and "
            "clients cannot authenticate",
            hint="Put that directory back from a copy, or choose a backup that has keys.tar.age.",
        )
    content = archive.read_bytes()
    ca_digest = check.glance(directory).authority
    opened = keys.decrypt(content, identity) if archive.name.endswith(ENCRYPTED) else content
    otherwise = f"the keys in {directory.name} belong to another cluster than its snapshot"
    return _unpacked(opened, ca_digest, otherwise)


def _archive(directory: Path) -> Path:
    """The keys in a backup, whether or not it has any."""
    return next((path for name in ARCHIVES if (path := directory / name).is_file()), directory / ARCHIVES[0])


def take(archive: bytes, state: Path, ca_digest: str, otherwise: str) -> list[str]:
    """Put the keys in an archive back into a state directory; returns the names of the files that were missing.

    Raises KubeproofError with ``otherwise``, and changes nothing, if etcd's CA there has another SHA-256.
    """
    return keys.restore(_unpacked(archive, ca_digest, otherwise), state)


def _unpacked(archive: bytes, ca_digest: str, otherwise: str) -> dict[str, bytes]:
    found = keys.unpack(archive)
    if _ca_digest(found["etcd.crt"]) != ca_digest:
        raise KubeproofError(otherwise)
    return found


def whole(directory: Path, ca_digest: str) -> Manifest:
    """Read all of a backup, as far as that needs none of etcd's programs. Raises KubeproofError."""
    try:
        found = check.glance(directory, ca_digest)
        _same_digests(directory, found)
        check.snapshot(directory / SNAPSHOT)
    except (Damaged, OSError) as error:
        raise KubeproofError(
            f"{directory.name} cannot be restored: {error}",
            hint="Nothing was stopped. Choose another backup: `kubeproof backup list`.",
        ) from None
    return found


def _same_digests(directory: Path, manifest: Manifest) -> None:
    for name, file in manifest.files.items():
        if files.sha256(directory / name) != file.sha256:
            raise Damaged(f"{name} has changed: its SHA-256 differs from the manifest's")


def refusals(manifest: Manifest, looks: Sequence[Look], etcd_version: str) -> list[str]:
    """Why this backup can't be restored onto these hosts now; none if it can."""
    return [*_newer(manifest, etcd_version), *_space(manifest.size, looks), *_outside(looks)]


def _newer(manifest: Manifest, etcd_version: str) -> Iterator[str]:
    for what in ("etcd", "storage"):
        theirs = manifest.versions.get(what, "")
        if theirs and _minor(theirs) > _minor(etcd_version):
            yield (
                f"the backup is of etcd {theirs}; the hosts get etcd {etcd_version}, which may not support all of it: "
                "restore it with a kubeproof that installs that version"
            )
            return


def _minor(text: str) -> tuple[int, int]:
    match = _VERSION.match(text)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def room(size: int) -> int:
    """Bytes that a host needs beside the data that it has, for a snapshot of this size."""
    return _COPIES * size + _ROOM


def _space(size: int, looks: Sequence[Look]) -> Iterator[str]:
    needed = room(size)
    for look in looks:
        if look.free < needed and not look.placed:
            yield (
                f"{look.host}: {look.free // _MEBIBYTE} MiB are free where etcd's data is, and the restore needs "
                f"{needed // _MEBIBYTE}: the old data is kept next to the new. Free disk space there"
            )


def _outside(looks: Sequence[Look]) -> Iterator[str]:
    """Members that keep the old data, where this restore does not reach them."""
    outside = {
        f"{other['name']} ({other['url']})"
        for look in looks
        for other in look.live.get("others", ())
        if other["name"] not in {each.host for each in looks}
    }
    if outside:
        yield (
            f"{', '.join(sorted(outside))} runs as a member and is not an etcd host of the inventory: it would "
            "continue with the old data, and so would API servers. Stop etcd there (systemctl disable --now etcd), or "
            "put it back into the inventory"
        )
