"""Whether hosts were installed with the CAs and keys that the controller has.

Otherwise a controller that has lost them would create new ones, and the next run would overwrite the last copies.
And whether the CAs will still be valid for as long as what they sign.
"""

from __future__ import annotations

import base64
import binascii
import datetime
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from kubeproof.pki.cas import CA_ENDS, CAS, ENCRYPTION_KEY, LEAF_LIFETIME, SERVICE_ACCOUNT
from kubeproof.preflight.findings import Finding, Severity

NAMES = (*CAS, SERVICE_ACCOUNT, ENCRYPTION_KEY)
# Digits of a digest that people compare.
_SHOWN = 12

Digests = Mapping[str, Sequence[str]]
"""CAs and keys of a host: SHA-256 (hex) by name."""


@dataclass(frozen=True)
class Kept:
    """CAs and keys of a cluster on the controller: where, and SHA-256 (hex) by name of complete ones.

    ``inventory`` is the cluster's, for commands in messages. ``ends``: until when the CAs are valid.
    """

    state: Path
    inventory: str
    digests: Mapping[str, str]
    ends: Mapping[str, datetime.datetime] = field(default_factory=dict)

    @classmethod
    def of(cls, state: Path, inventory: str = "INVENTORY") -> Kept:
        """Look into a state directory."""
        found = {name: digest for name in NAMES if (digest := _digest(state / "pki", name))}
        return cls(state, inventory, found, {name: _end(state / "pki", name) for name in CAS if name in found})

    @property
    def pki(self) -> Path:
        """Where they are."""
        return self.state / "pki"

    @property
    def missing(self) -> list[str]:
        """Those that would be created again."""
        return [name for name in NAMES if name not in self.digests]


def check_identity(hosts: Mapping[str, Digests], kept: Kept, *, may_lack: bool = False) -> Iterator[Finding]:
    """Compare each host's with the controller's. ``may_lack``: a restore will bring what the controller has lost."""
    for host, carried in hosts.items():
        lost = [name for name in carried if name not in kept.digests]
        other = [name for name in carried if name not in lost and kept.digests[name] not in carried[name]]
        if lost and not may_lack:
            yield _lost(host, lost, kept)
        if other:
            yield _other(host, other, carried, kept)


def check_beginning(holders: Sequence[str], asked: Sequence[str], kept: Kept) -> Iterator[Finding]:
    """Whether all hosts that may have what would be created again were checked. ``holders``: etcd and control plane."""
    left_out = [name for name in holders if name not in asked]
    if kept.missing and left_out:
        names = ", ".join(left_out)
        problem = f"{kept.pki} lacks {_named(kept.missing)}, and the run does not check whether {names} has them"
        remediation = (
            "Run with a --limit that names all etcd and control-plane hosts, or without one; and remove hosts that no "
            "longer exist from the inventory."
        )
        yield Finding("authorities-left-out", problem, remediation)


def check_ends(kept: Kept, now: datetime.datetime) -> Iterator[Finding]:
    """CAs that end before what they would sign: as an error once they can sign nothing, so that no host has a half."""
    for name, end in kept.ends.items():
        if end < now + LEAF_LIFETIME:
            verb = "was" if end <= now else "is"
            problem = f"the CA {name} in {kept.pki} {verb} valid until {end:%Y-%m-%d}"
            remediation = CA_ENDS[0].upper() + CA_ENDS[1:] + "."
            severity: Severity = "error" if end <= now else "warning"
            yield Finding("authority-ends", problem, remediation, name, severity=severity)


def _lost(host: str, names: Sequence[str], kept: Kept) -> Finding:
    problem = (
        f"it was installed with {_named(names)}, which {kept.pki} lacks; new ones would overwrite the last copies, "
        "lock out all components, and leave Secrets unreadable"
    )
    return Finding("authorities-lost", problem, _remediation(kept), host=host)


def _other(host: str, names: Sequence[str], carried: Digests, kept: Kept) -> Finding:
    told = "; ".join(
        f"{_named([name])} {carried[name][0][:_SHOWN]}… there, {kept.digests[name][:_SHOWN]}… here" for name in names
    )
    problem = f"it was installed with CAs or keys that differ from those in {kept.pki} (SHA-256: {told})"
    remediation = (
        f"If {kept.state} belongs to another cluster, move {kept.pki} away. {_remediation(kept)} If the host is a "
        "leftover "
        "of another cluster: the same with --limit HOST."
    )
    return Finding("authorities-other", problem, remediation, host=host)


def _remediation(kept: Kept) -> str:
    return (
        f"Put a copy of {kept.state} back. Without a copy, put backup-identity.txt there and run ./kubeproof backup "
        f"keys -i {kept.inventory} (docs/operations/backups.md, Keys). If the cluster is no longer needed: "
        f"ansible-playbook -i {kept.inventory} playbooks/reset.yml."
    )


def _named(names: Sequence[str]) -> str:
    told = {SERVICE_ACCOUNT: "the service-account key", ENCRYPTION_KEY: "the encryption key"}
    return ", ".join(told.get(name, f"the CA {name}") for name in names)


def _digest(directory: Path, name: str) -> str:
    """Digest of a complete pair, or of the encryption key; empty if half of it is missing or unreadable."""
    try:
        private = (directory / f"{name}.key").read_bytes()
        if name == ENCRYPTION_KEY:
            content = base64.b64decode(private, validate=True)
        elif name == SERVICE_ACCOUNT:
            key = serialization.load_pem_public_key((directory / f"{name}.pub").read_bytes())
            content = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        else:
            certificate = x509.load_pem_x509_certificate((directory / f"{name}.crt").read_bytes())
            content = certificate.public_bytes(serialization.Encoding.DER)
    except (OSError, ValueError, binascii.Error):
        return ""
    return hashlib.sha256(content).hexdigest()


def _end(directory: Path, name: str) -> datetime.datetime:
    return x509.load_pem_x509_certificate((directory / f"{name}.crt").read_bytes()).not_valid_after_utc
