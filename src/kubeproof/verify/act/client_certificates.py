"""Certificates to knock with: good ones, to see them accepted, and bad ones, to see them refused."""

from __future__ import annotations

import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from kubeproof.api.kubeconfig import Certificate
from kubeproof.pki import cas

# Allowed what every known caller is allowed, which is next to nothing.
STRANGER = "kubeproof-verify-stranger"
_DAY = datetime.timedelta(days=1)


def foreign() -> Certificate:
    """A certificate with an administrator's names, of a CA that the cluster does not trust."""
    signer, key = _key(), _key()
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(
            x509.Name(
                [
                    x509.NameAttribute(NameOID.ORGANIZATION_NAME, "system:masters"),
                    x509.NameAttribute(NameOID.COMMON_NAME, "kubernetes-admin"),
                ]
            )
        )
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "kubernetes")]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _DAY)
        .not_valid_after(now + _DAY)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .sign(signer, hashes.SHA256())
    )
    return Certificate(certificate.public_bytes(serialization.Encoding.PEM).decode(), cas.private_pem(key).decode())


def issued(pki_directory: Path, at: datetime.datetime) -> Certificate:
    """A stranger's certificate as the cluster's own CA would have issued it at a time."""
    key = _key()
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    wanted = cas.Wanted("kubernetes", STRANGER, ("client",))
    certificate = cas.CA.load(pki_directory, "kubernetes").issue(wanted, public.decode(), at)
    return Certificate(certificate, cas.private_pem(key).decode())


def _key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())
