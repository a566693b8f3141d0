"""The cluster's CAs, and the certificates that they sign.

CAs are in one directory on the controller (``NAME.crt``, ``NAME.key``; 0600). Leaf keys are created on the hosts that
use them; this module sees only their public halves.
"""

from __future__ import annotations

import base64
import datetime
import ipaddress
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from kubeproof.core import files, locking
from kubeproof.core.errors import KubeproofError

CAS = ("kubernetes", "etcd", "front-proxy")
SERVICE_ACCOUNT = "service-account"
ENCRYPTION_KEY = "encryption"
"""The key with which the API server encrypts Secrets in etcd: 32 random bytes, base64."""
LEAF_LIFETIME = datetime.timedelta(days=365)
CA_ENDS = (
    "no run replaces a CA, and all that it has signed ends with it. Install another cluster, with a state directory of "
    "its own, and move to it (docs/operations/own-hosts.md, Certificates)"
)
"""What to do about a CA that ends, or has ended."""
_BACKDATE = datetime.timedelta(minutes=5)
"""Certificates are valid from a little before now: a host whose clock is slightly behind must accept them."""
_USAGES = {"server": ExtendedKeyUsageOID.SERVER_AUTH, "client": ExtendedKeyUsageOID.CLIENT_AUTH}


class PkiError(KubeproofError):
    """A problem with the CAs' files that an operator has to fix."""


@dataclass(frozen=True)
class Wanted:
    """A leaf certificate as a role declares it.

    ``usages`` are ``server`` and ``client``; ``names`` and ``addresses`` become subject alternative names;
    ``organizations`` are what Kubernetes reads as groups
    (https://kubernetes.io/docs/reference/access-authn-authz/authentication/#x509-client-certificates).
    """

    ca: str
    common_name: str
    usages: tuple[str, ...]
    organizations: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    lifetime: datetime.timedelta = field(default=LEAF_LIFETIME)

    def subject(self) -> x509.Name:
        """Groups and name, in the order in which Kubernetes' own tools write them."""
        attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in self.organizations]
        return x509.Name([*attributes, x509.NameAttribute(NameOID.COMMON_NAME, self.common_name)])

    def alternative_names(self) -> list[x509.GeneralName]:
        """Names and addresses, each once."""
        names: list[x509.GeneralName] = [x509.DNSName(name) for name in _unique(self.names)]
        return names + [x509.IPAddress(ipaddress.ip_address(address)) for address in _unique(self.addresses)]


@dataclass(frozen=True)
class CA:
    """A CA with its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @classmethod
    def load(cls, directory: Path, name: str) -> CA:
        """Read a CA from its two files. Raises PkiError."""
        certificate = x509.load_pem_x509_certificate(_read(directory / f"{name}.crt"))
        key = serialization.load_pem_private_key(_read(directory / f"{name}.key"), password=None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise PkiError(f"{directory / name}.key: an elliptic-curve key is expected")
        if key.public_key() != certificate.public_key():
            raise PkiError(f"{directory / name}.key does not belong to {name}.crt: restore both from the same backup")
        return cls(certificate, key)

    def pem(self) -> str:
        """The CA's certificate."""
        return _pem(self.certificate)

    def issue(self, wanted: Wanted, public_key_pem: str, now: datetime.datetime) -> str:
        """Sign a leaf certificate; returns PEM. Raises PkiError if the CA has ended."""
        if self.certificate.not_valid_after_utc <= now:
            name = self.certificate.subject.rfc4514_string().removeprefix("CN=")
            raise PkiError(
                f"the {name} was valid until {self.certificate.not_valid_after_utc:%Y-%m-%d}, and can sign nothing any "
                f"more: {CA_ENDS}"
            )
        public_key = _public_key(public_key_pem)
        builder = (
            x509.CertificateBuilder()
            .subject_name(wanted.subject())
            .issuer_name(self.certificate.subject)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _BACKDATE)
            .not_valid_after(min(now + wanted.lifetime, self.certificate.not_valid_after_utc))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(sign_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([_USAGES[usage] for usage in wanted.usages]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False)
        )
        if wanted.alternative_names():
            builder = builder.add_extension(x509.SubjectAlternativeName(wanted.alternative_names()), critical=False)
        return _pem(builder.sign(self.key, hashes.SHA256()))

    def reason_to_issue(self, wanted: Wanted, certificate_pem: str, public_key_pem: str, now: datetime.datetime) -> str:
        """Why the certificate at hand won't do, in words; empty if it will. No public key: a key that is to be made."""
        if not certificate_pem:
            return "there is none"
        try:
            certificate = x509.load_pem_x509_certificate(certificate_pem.encode())
        except ValueError:
            return "it cannot be read"
        if not public_key_pem or certificate.public_key() != _public_key(public_key_pem):
            return "it belongs to another key"
        return (
            self._signature_reason(certificate) or _content_reason(wanted, certificate) or _age_reason(certificate, now)
        )

    def _signature_reason(self, certificate: x509.Certificate) -> str:
        try:
            certificate.verify_directly_issued_by(self.certificate)
        except (ValueError, TypeError, InvalidSignature):
            return "it was signed by another CA"
        return ""


def ensure_cas(directory: Path, cluster: str, lifetime: datetime.timedelta) -> list[str]:
    """Create what is missing of the CAs and the service-account key pair; returns the names of what was created.

    Half of a pair is an error, never a reason to create a new one: a new CA would lock out every component.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Two runs against one inventory must not make two CAs.
    with locking.locked(directory / ".lock"):
        made = _ensure_encryption_key(directory)
        made += [name for name in CAS if _ensure_pair(directory, name, lambda n: _new_ca(n, cluster, lifetime))]
        if _ensure_pair(directory, SERVICE_ACCOUNT, lambda _name: _new_service_account(), public_suffix=".pub"):
            made.append(SERVICE_ACCOUNT)
    return made


def _ensure_encryption_key(directory: Path) -> list[str]:
    """Made before all else: where there are CAs but no key, the key was lost, and with it every Secret."""
    path = directory / f"{ENCRYPTION_KEY}.key"
    if path.exists():
        return []
    if (directory / f"{CAS[0]}.crt").exists():
        raise PkiError(f"{path} is missing: restore it; without it no Secret of the cluster can be read")
    files.write_private(path, base64.b64encode(secrets.token_bytes(32)))
    return [ENCRYPTION_KEY]


def _ensure_pair(
    directory: Path, name: str, make: Callable[[str], tuple[bytes, bytes]], public_suffix: str = ".crt"
) -> bool:
    public, private = directory / f"{name}{public_suffix}", directory / f"{name}.key"
    if public.exists() and private.exists():
        return False
    if public.exists():
        raise PkiError(
            f"{public} exists but {private.name} does not: restore it; a new one would not match the cluster"
        )
    public_pem, private_pem = make(name)
    # The public half lands last: a run killed in between leaves a key alone, which the next run replaces.
    files.write_private(private, private_pem)
    files.write_private(public, public_pem)
    return True


def _new_ca(name: str, cluster: str, lifetime: datetime.timedelta) -> tuple[bytes, bytes]:
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.now(datetime.UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{cluster} {name} CA")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATE)
        .not_valid_after(now + lifetime)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(sign_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return _pem(certificate).encode(), private_pem(key)


def _new_service_account() -> tuple[bytes, bytes]:
    # RSA: tokens signed with it verify everywhere, outside verifiers of the OIDC discovery document included.
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return public, private_pem(key)


def _content_reason(wanted: Wanted, certificate: x509.Certificate) -> str:
    if certificate.subject != wanted.subject():
        return "its subject is not the wanted one"
    if _extension_names(certificate) != set(wanted.alternative_names()):
        return "its alternative names are not the wanted ones"
    usages = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    if set(usages) != {_USAGES[usage] for usage in wanted.usages}:
        return "its usages are not the wanted ones"
    return ""


def _age_reason(certificate: x509.Certificate, now: datetime.datetime) -> str:
    life = certificate.not_valid_after_utc - certificate.not_valid_before_utc
    left = certificate.not_valid_after_utc - now
    if left < life / 3:
        return f"less than a third of its life is left (valid until {certificate.not_valid_after_utc:%Y-%m-%d})"
    return ""


def _extension_names(certificate: x509.Certificate) -> set[x509.GeneralName]:
    try:
        return set(certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except x509.ExtensionNotFound:
        return set()


def _key_usage(*, sign_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=sign_certificates,
        crl_sign=sign_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _public_key(pem: str) -> ec.EllipticCurvePublicKey:
    key = serialization.load_pem_public_key(pem.encode())
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise PkiError("a host offered a public key that is not an elliptic-curve key")
    return key


def _unique(values: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(values))


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def private_pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    """PKCS #8, PEM, not encrypted: the file's mode protects it."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise PkiError(f"{path} is missing: run playbooks/cluster.yml from its start, which creates the CAs") from None
