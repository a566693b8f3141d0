"""A registry with one image, over TLS, for who has the password: enough of the distribution specification to pull."""

from __future__ import annotations

import base64
import json
import socket
import ssl
import tarfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

REPOSITORY, TAG = "apps/shell", "1"
USER, PASSWORD = "puller", "not-a-secret"
_INDEX = "index.json"
# Of linux/in.h: Python's module has no name for it.
_IP_FREEBIND = 15
_NOTHING = "application/json", b"{}"


@dataclass
class Registry:
    """One that runs. ``answered``: paths and what each was answered with, in order."""

    port: int
    answered: list[tuple[str, int]] = field(default_factory=list)


@dataclass(frozen=True)
class _Image:
    """The manifest by tag and by digest, with its media type, and all blobs by digest."""

    manifests: Mapping[str, tuple[str, bytes]]
    blobs: Mapping[str, bytes]

    @classmethod
    def read(cls, archive: Path) -> _Image:
        with tarfile.open(archive) as opened:
            files = {entry.name: stream.read() for entry in opened if (stream := opened.extractfile(entry))}
        blobs = {
            name.removeprefix("blobs/").replace("/", ":"): data
            for name, data in files.items()
            if name.startswith("blobs/")
        }
        [manifest] = json.loads(files[_INDEX])["manifests"]
        served = manifest["mediaType"], blobs[manifest["digest"]]
        return cls({TAG: served, manifest["digest"]: served}, blobs)

    def found(self, path: str) -> tuple[int, str, bytes]:
        """Status, media type and body of an answer to who has the password."""
        if path == "/v2/":
            return HTTPStatus.OK, *_NOTHING
        manifest = self.manifests.get(path.removeprefix(f"/v2/{REPOSITORY}/manifests/"))
        blob = self.blobs.get(path.removeprefix(f"/v2/{REPOSITORY}/blobs/"))
        if manifest:
            return HTTPStatus.OK, *manifest
        return (HTTPStatus.OK, "application/octet-stream", blob) if blob else (HTTPStatus.NOT_FOUND, *_NOTHING)


def authorization() -> str:
    """User and password as HTTP and Docker's configuration have them."""
    return base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()


class _Server(ThreadingHTTPServer):
    """Listens on an address that this machine is yet to have: that of hosts' segment, which is made later."""

    def server_bind(self) -> None:
        self.socket.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)
        super().server_bind()


@contextmanager
def serving(archive: Path, certificate: Path, address: str) -> Iterator[Registry]:
    """Serve an archive of ``oci.write_archive`` on one IPv4 address of this machine, and on no other.

    ``certificate``: a file with certificate and key (PEM).
    """
    image = _Image.read(archive)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer(body=True)

        def do_HEAD(self) -> None:
            self._answer(body=False)

        def _answer(self, *, body: bool) -> None:
            # containerd says in the query for which registry it asks a mirror.
            path = urlsplit(self.path).path
            allowed = self.headers.get("Authorization") == f"Basic {authorization()}"
            status, kind, content = image.found(path) if allowed else (HTTPStatus.UNAUTHORIZED, *_NOTHING)
            registry.answered.append((path, status))
            self.send_response(status)
            if status == HTTPStatus.UNAUTHORIZED:
                self.send_header("WWW-Authenticate", 'Basic realm="tests"')
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if body:
                self.wfile.write(content)

        def log_message(self, format: str, *_: object) -> None:  # noqa: A002 - the base class's name
            """Say nothing about requests."""

    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    with _Server((address, 0), Handler) as server:
        registry = Registry(server.server_port)
        # Each connection's own thread does the handshake: one that sends nothing keeps no other from being served.
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield registry
        finally:
            server.shutdown()
