"""When the cluster's certificates expire: those that servers show on the wire, and those that lie on hosts."""

from __future__ import annotations

import base64
import contextlib
import datetime
import re
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import NameOID

from kubeproof.api.kubeconfig import Certificate
from kubeproof.verify.observe import sockets
from kubeproof.verify.observe.api import Api
from kubeproof.verify.observe.cluster import Cluster
from kubeproof.verify.observe.hosts import Host

WARN_DAYS = 30
CONTROLLER = "controller"
_DIRECTORIES = ["/etc/kubernetes", "/etc/etcd", "/var/lib/kubelet/pki"]
_NO_TLS = {"sshd"}
_MAX_NAMES = 20
_PEM = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
_SHORT = {NameOID.COMMON_NAME: "CN", NameOID.ORGANIZATION_NAME: "O"}


@dataclass
class _Found:
    certificate: x509.Certificate
    places: list[tuple[str, str]] = field(default_factory=list)


class Expiry:
    """Looks for certificates while other things are looked at. Keys are not read."""

    def __init__(self, cluster: Cluster) -> None:
        """Begin to look."""
        self._pool = ThreadPoolExecutor(len(cluster.hosts.all) or 1, thread_name_prefix="certificates")
        self._api = cluster.api
        self._of_host: dict[str, Future[list[tuple[str, bytes]]]] = {
            host.name: self._pool.submit(_of_host, host) for host in cluster.hosts.all
        }

    def report(self, now: datetime.datetime) -> tuple[list[dict[str, Any]], list[str]]:
        """All certificates, the next to expire first, and what there is to be warned of."""
        found: dict[bytes, _Found] = {}
        warnings = []
        for place, der in _of_controller(self._api):
            _add(found, CONTROLLER, place, der)
        for host, future in self._of_host.items():
            try:
                for place, der in future.result():
                    _add(found, host, place, der)
            except Exception as error:  # noqa: BLE001 - no certificate is worth the verification
                warnings.append(f"{host}: its certificates could not be looked at: {error}")
        self._pool.shutdown()
        entries = sorted((_entry(each, now) for each in found.values()), key=lambda entry: str(entry["not_after"]))
        return entries, [*expiring(entries), *warnings]


def expiring(entries: Iterable[dict[str, Any]]) -> list[str]:
    """A warning for each certificate that has expired or soon will."""
    said = []
    for entry in entries:
        days, day = int(entry["days_left"]), str(entry["not_after"])[:10]
        if days < WARN_DAYS:
            left = f"expires in {days} days, on {day}" if days >= 0 else f"has expired on {day}"
            said.append(f"{entry['host']}: certificate {entry['subject']} ({entry['where']}) {left}")
    return said


def described(
    certificate: x509.Certificate, places: Sequence[tuple[str, str]], now: datetime.datetime
) -> dict[str, Any]:
    """A certificate as the report has it. Each place is a host and where the certificate is on it."""
    expires = certificate.not_valid_after_utc
    return {
        "subject": _name(certificate.subject),
        "issuer": _name(certificate.issuer),
        "names": _alternative_names(certificate)[:_MAX_NAMES],
        "not_after": expires.isoformat(),
        "days_left": (expires - now).days,
        "where": ", ".join(dict.fromkeys(place for _, place in places)),
        "host": ", ".join(dict.fromkeys(host for host, _ in places)),
    }


def _entry(found: _Found, now: datetime.datetime) -> dict[str, Any]:
    return described(found.certificate, found.places, now)


def _add(found: dict[bytes, _Found], host: str, place: str, der: bytes) -> None:
    # What is no certificate that Python can read is none that its owner can use.
    with contextlib.suppress(ValueError):
        certificate = x509.load_der_x509_certificate(der)
        entry = found.setdefault(certificate.fingerprint(hashes.SHA256()), _Found(certificate))
        entry.places.append((host, place))


def _of_controller(api: Api) -> list[tuple[str, bytes]]:
    texts = [("kubeconfig, CA", api.access.ca)]
    if isinstance(api.access.credentials, Certificate):
        texts.append(("kubeconfig, client", api.access.credentials.certificate))
    return [(place, der(pem)) for place, text in texts for pem in _PEM.findall(text)]


def der(pem: str) -> bytes:
    """The bytes of one certificate in PEM."""
    return base64.b64decode("".join(pem.strip().splitlines()[1:-1]))


def _of_host(host: Host) -> list[tuple[str, bytes]]:
    """Where certificates are on a host, and the certificates: of everything that listens, and in its directories."""
    servers = {
        (_reachable(socket.local[0]), socket.local[1]): socket.program
        for socket in sockets.listening(host)
        if socket.program not in _NO_TLS
    }
    shown, files = host.probe(
        {"do": "certificates", "servers": list(servers)}, {"do": "certificate_files", "directories": _DIRECTORIES}
    )
    places = [(f"{program} :{port}", shown.get(f"{address} {port}")) for (address, port), program in servers.items()]
    found = [(place, base64.b64decode(text)) for place, text in places if text]
    return found + [(path, base64.b64decode(text)) for path, texts in files.items() for text in texts]


def _reachable(address: str) -> str:
    return {"*": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(address, address)  # noqa: S104


def _name(subject: x509.Name) -> str:
    parts = [f"{_SHORT.get(each.oid, each.rfc4514_attribute_name)}={each.value!s}" for each in subject]
    return ", ".join(parts) or "without a name"


def _alternative_names(certificate: x509.Certificate) -> list[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return []
    return [str(each.value) for each in names]
