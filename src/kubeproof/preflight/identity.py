"""Whether hosts were installed under the authorities and keys that the controller keeps.

Without this a controller that has lost them makes new ones, and the next run puts these over the last copies.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from kubeproof.pki.authorities import AUTHORITIES, ENCRYPTION_KEY, SERVICE_ACCOUNT
from kubeproof.preflight.findings import Finding

NAMES = (*AUTHORITIES, SERVICE_ACCOUNT, ENCRYPTION_KEY)
# Digits of a digest that people compare.
_SHOWN = 12

Digests = Mapping[str, Sequence[str]]
"""What a host carries: SHA-256 (hex) by name."""


@dataclass(frozen=True)
class Kept:
    """What the controller keeps of a cluster: where, and SHA-256 (hex) by name of those that are whole.

    ``inventory`` is the cluster's, for commands that are told to people.
    """

    state: Path
    inventory: str
    digests: Mapping[str, str]

    @classmethod
    def of(cls, state: Path, inventory: str = "INVENTORY") -> Kept:
        """Look into a state directory."""
        found = {name: digest for name in NAMES if (digest := _digest(state / "pki", name))}
        return cls(state, inventory, found)

    @property
    def pki(self) -> Path:
        """Where they are."""
        return self.state / "pki"

    @property
    def missing(self) -> list[str]:
        """Those that would be made anew."""
        return [name for name in NAMES if name not in self.digests]


def check_identity(hosts: Mapping[str, Digests], kept: Kept, *, may_lack: bool = False) -> Iterator[Finding]:
    """Each host's against the controller's. ``may_lack``: what the controller has lost is still to come."""
    for host, carried in hosts.items():
        lost = [name for name in carried if name not in kept.digests]
        other = [name for name in carried if name not in lost and kept.digests[name] not in carried[name]]
        if lost and not may_lack:
            yield _lost(host, lost, kept)
        if other:
            yield _other(host, other, carried, kept)


def check_beginning(holders: Sequence[str], asked: Sequence[str], kept: Kept) -> Iterator[Finding]:
    """Whether all who may carry what would be made anew were asked. ``holders``: hosts of etcd and control plane."""
    left_out = [name for name in holders if name not in asked]
    if kept.missing and left_out:
        names = ", ".join(left_out)
        wrong = f"{kept.pki} lacks {_named(kept.missing)}, and nobody looks whether {names} was installed with some"
        mend = (
            "Give a --limit that names all hosts of etcd and the control plane, or none; and take those that are gone "
            "out of the inventory."
        )
        yield Finding("authorities-left-out", wrong, mend)


def _lost(host: str, names: Sequence[str], kept: Kept) -> Finding:
    wrong = (
        f"it was installed with {_named(names)}, which {kept.pki} lacks; new ones would take the place of the last "
        "copies, cut off all components, and leave Secrets unreadable"
    )
    return Finding("authorities-lost", wrong, _mend(kept), host=host)


def _other(host: str, names: Sequence[str], carried: Digests, kept: Kept) -> Finding:
    told = "; ".join(
        f"{_named([name])} {carried[name][0][:_SHOWN]}… there, {kept.digests[name][:_SHOWN]}… here" for name in names
    )
    wrong = f"it was installed with others than those in {kept.pki} (SHA-256: {told})"
    mend = (
        f"If {kept.state} is another cluster's, move {kept.pki} away. {_mend(kept)} If it is the host that another "
        "cluster has left: the same with --limit HOST."
    )
    return Finding("authorities-other", wrong, mend, host=host)


def _mend(kept: Kept) -> str:
    return (
        f"Put a copy of {kept.state} back. Without one, put backup-identity.txt there and run ./kubeproof backup keys "
        f"-i {kept.inventory} (docs/backups.md, Keys). If nobody wants this cluster any more: ansible-playbook -i "
        f"{kept.inventory} playbooks/reset.yml."
    )


def _named(names: Sequence[str]) -> str:
    told = {SERVICE_ACCOUNT: "the service-account key", ENCRYPTION_KEY: "the encryption key"}
    return ", ".join(told.get(name, f"the authority {name}") for name in names)


def _digest(directory: Path, name: str) -> str:
    """What a whole pair is known by, or the encryption key; empty if it lacks a half, or cannot be read."""
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
