"""A release host on loopback, an empty cache, and small pins whose downloads the host has."""

from __future__ import annotations

import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit.components.release_host import (
    ETCD_FILES,
    ETCD_PATH,
    KUBELET,
    KUBELET_PATH,
    Page,
    ReleaseHost,
    archive,
    component,
    sha256,
)

from kubeproof.components.cache import Cache
from kubeproof.components.download import Downloader
from kubeproof.components.pins import Pins, Release


@pytest.fixture
def server() -> Iterator[ReleaseHost]:
    host = ReleaseHost()
    yield host
    host.stop()


@pytest.fixture
def secure_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ReleaseHost]:
    """One that proves by TLS who it is. It has nothing yet."""
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-keyout", str(key), "-out", str(certificate), "-days", "1", "-subj", "/CN=mirror"]
    subprocess.run([*command, "-addext", "subjectAltName=IP:127.0.0.1"], check=True, capture_output=True)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    host = ReleaseHost()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    host._server.socket = context.wrap_socket(host._server.socket, server_side=True)
    host.url = host.url.replace("http:", "https:")
    yield host
    host.stop()


@pytest.fixture
def downloader() -> Iterator[Downloader]:
    with Downloader(attempts=3, pause=0.01, timeout=0.5, probe=0.5) as client:
        yield client


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[Cache]:
    with Cache(tmp_path / "cache") as opened:
        yield opened


@pytest.fixture
def pins(server: ReleaseHost, tmp_path: Path) -> Pins:
    """An archive with a list of checksums, and a plain file with a checksum of its own."""
    etcd = component(
        "etcd",
        "3.7.3",
        {"etcd": "etcd", "etcdctl": "etcd"},
        Release(
            url=server.url + "/etcd-io/v{version}/etcd-v{version}-linux-{arch}.tar.gz",
            checksums=server.url + "/etcd-io/v{version}/SHA256SUMS",
            member="etcd-v{version}-linux-{arch}/{binary}",
            sha256={},
        ),
    )
    kubernetes = component(
        "kubernetes",
        "1.36.3",
        {"kubelet": "workers"},
        Release(
            url=server.url + "/release/v{version}/bin/linux/{arch}/{binary}",
            checksums=server.url + "/release/v{version}/bin/linux/{arch}/{binary}.sha256",
            member="{binary}",
            sha256={},
        ),
    )
    etcd_archive = archive(ETCD_FILES)
    other = sha256(b"for another architecture")
    sums = f"{other}  etcd-v3.7.3-linux-arm64.tar.gz\n{sha256(etcd_archive)}  etcd-v3.7.3-linux-amd64.tar.gz\n"
    server.pages = {
        ETCD_PATH: Page(etcd_archive),
        "/etcd-io/v3.7.3/SHA256SUMS": Page(sums.encode()),
        KUBELET_PATH: Page(KUBELET),
        f"{KUBELET_PATH}.sha256": Page(sha256(KUBELET).encode()),
    }
    return Pins(tmp_path / "components", {"etcd": etcd, "kubernetes": kubernetes}, {})
