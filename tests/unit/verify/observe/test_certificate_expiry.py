"""Certificates: how they are found on hosts, and when there is a warning."""

from __future__ import annotations

import base64
import datetime
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509

from kubeproof.api.kubeconfig import Certificate
from kubeproof.core import paths
from kubeproof.verify.act import client_certificates
from kubeproof.verify.observe import certificate_expiry, certificate_files
from kubeproof.verify.observe.hosts import Host


@pytest.fixture(scope="module")
def credentials() -> Certificate:
    return client_certificates.foreign()


@pytest.fixture
def server(credentials: Certificate, tmp_path: Path) -> Iterator[int]:
    """A TLS server that wants a certificate of its callers, as etcd does."""
    pem = tmp_path / "server.pem"
    pem.write_text(f"{credentials.certificate}\n{credentials.key}")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pem)
    context.verify_mode = ssl.CERT_REQUIRED

    def serve(listener: socket.socket) -> None:
        try:
            connection, _ = listener.accept()
            with connection:
                context.wrap_socket(connection, server_side=True)
        except OSError:
            pass

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, args=(listener,), daemon=True).start()
        yield listener.getsockname()[1]


def test_a_server_shows_its_certificate_to_whoever_has_none(here: Host, server: int, credentials: Certificate) -> None:
    request = {"do": "certificates", "servers": [["127.0.0.1", server], ["127.0.0.1", 1]]}
    [shown] = here.probe(request)
    assert shown.keys() == {f"127.0.0.1 {server}"}
    assert base64.b64decode(shown[f"127.0.0.1 {server}"]) == certificate_expiry.der(credentials.certificate)


def test_what_speaks_no_tls_shows_nothing(here: Host) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        [shown] = here.probe({"do": "certificates", "servers": [listener.getsockname()], "timeout": 0.2})
    assert shown == {}


def test_of_files_only_the_certificates_are_told(here: Host, credentials: Certificate, tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "both.pem").write_text(f"{credentials.key}\n{credentials.certificate}")
    data = base64.b64encode(credentials.certificate.encode()).decode()
    key = base64.b64encode(credentials.key.encode()).decode()
    (tmp_path / "admin.conf").write_text(f"client-certificate-data: {data}\n    client-key-data: {key}\n")
    (tmp_path / "client.key").write_text(credentials.certificate)
    # One that the kubelet has replaced.
    (tmp_path / "kubelet-client-2026-01-01-00-00-00.pem").write_text(credentials.certificate)
    (tmp_path / "config.conf").write_text("nothing of interest")
    # One that is gone while it is looked for.
    (tmp_path / "gone.pem").symlink_to("nowhere")
    [found] = here.probe({"do": "certificate_files", "directories": [str(tmp_path), "/no/such/directory"]})
    assert found.keys() == {str(tmp_path / "deep" / "both.pem"), str(tmp_path / "admin.conf")}
    for texts in found.values():
        assert [base64.b64decode(text) for text in texts] == [certificate_expiry.der(credentials.certificate)]


def test_upgrades_read_files_by_the_same_module() -> None:
    there = paths.PROJECT / "plugins" / "module_utils" / "certificate_files.py"
    assert there.resolve().samefile(certificate_files.__file__)


def test_a_certificate_is_described_by_where_it_was_found(credentials: Certificate) -> None:
    certificate = x509.load_pem_x509_certificate(credentials.certificate.encode())
    now = certificate.not_valid_after_utc - datetime.timedelta(days=12, hours=1)
    places = [("w1", "kubelet :10250"), ("w1", "/etc/kubelet.crt"), ("w2", "kubelet :10250")]
    told = certificate_expiry.described(certificate, places, now)
    assert (told["subject"], told["issuer"]) == ("O=system:masters, CN=kubernetes-admin", "CN=kubernetes")
    assert (told["host"], told["where"]) == ("w1, w2", "kubelet :10250, /etc/kubelet.crt")
    assert (told["days_left"], told["names"]) == (12, [])


@pytest.mark.parametrize(
    ("days", "said"),
    [(30, []), (29, ["expires in 29 days, on 2027-01-01"]), (0, ["expires in 0 days"]), (-1, ["has expired on"])],
)
def test_there_is_a_warning_thirty_days_before(days: int, said: list[str]) -> None:
    entry = {"subject": "CN=a", "host": "w1", "where": "kubelet", "days_left": days, "not_after": "2027-01-01T00:00:00"}
    warnings = certificate_expiry.expiring([entry])
    assert len(warnings) == len(said)
    assert all(text in warning for text, warning in zip(said, warnings, strict=True))
