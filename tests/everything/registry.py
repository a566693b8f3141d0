"""A registry over TLS, for who has the password: enough of the distribution specification to pull, and to push charts.

https://github.com/opencontainers/distribution-spec/blob/main/spec.md: no deletion, no uploads in parts, no referrers.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import secrets
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
from urllib.parse import SplitResult, parse_qs, urlsplit

REPOSITORY, TAG = "apps/shell", "1"
USER, PASSWORD = "puller", "not-a-secret"
_INDEX = "index.json"
# Of linux/in.h: Python's module has no name for it.
_IP_FREEBIND = 15
_PLACE = re.compile(r"/v2/(?P<repository>.+)/(?P<kind>manifests|blobs|blobs/uploads|tags)/(?P<name>[^/]*)")
_BLOB = "application/octet-stream"
_JSON = "application/json"


@dataclass
class Registry:
    """One that runs. ``answered``: paths and what each was answered with, in order."""

    port: int
    answered: list[tuple[str, int]] = field(default_factory=list)


@dataclass(frozen=True)
class _Answer:
    status: int
    content: bytes = b"{}"
    kind: str = _JSON
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass
class _Repository:
    """Manifests by tag and by digest, with their media type, and blobs by digest."""

    manifests: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    uploads: set[str] = field(default_factory=set)

    @property
    def tags(self) -> list[str]:
        return sorted(name for name in self.manifests if ":" not in name)


class _Store:
    """What a registry has, and its answers to who has the password."""

    def __init__(self, archive: Path | None) -> None:
        self._repositories: dict[str, _Repository] = {}
        if archive:
            self._repositories[REPOSITORY] = _read(archive)

    def answer(self, method: str, target: str, kind: str, body: bytes) -> _Answer:
        """The answer to a request. ``kind``: the media type of its body."""
        url = urlsplit(target)
        if url.path == "/v2/":
            return _Answer(HTTPStatus.OK)
        place = _PLACE.fullmatch(url.path)
        if not place:
            return _Answer(HTTPStatus.NOT_FOUND)
        if method in ("GET", "HEAD"):
            return self._got(self._repositories.get(place["repository"], _Repository()), **place.groupdict())
        return self._put(method, place, url, kind, body)

    def _put(self, method: str, place: re.Match[str], url: SplitResult, kind: str, body: bytes) -> _Answer:
        repository = self._repositories.setdefault(place["repository"], _Repository())
        match method, place["kind"]:
            case "POST", "blobs/uploads":
                upload = secrets.token_hex(8)
                repository.uploads.add(upload)
                return _Answer(HTTPStatus.ACCEPTED, headers={"Location": f"{url.path}{upload}"})
            case "PUT", "blobs/uploads" if place["name"] in repository.uploads:
                repository.uploads.remove(place["name"])
                digest = parse_qs(url.query).get("digest", [""])[0]
                return _kept(repository.blobs, f"/v2/{place['repository']}/blobs", digest, body)
            case "PUT", "manifests":
                repository.manifests[place["name"]] = repository.manifests[_digest(body)] = (kind, body)
                return _created(f"/v2/{place['repository']}/manifests", _digest(body))
        return _Answer(HTTPStatus.NOT_FOUND)

    def _got(self, found: _Repository, repository: str, kind: str, name: str) -> _Answer:
        if kind == "manifests" and name in found.manifests:
            media_type, content = found.manifests[name]
            return _Answer(HTTPStatus.OK, content, media_type, {"Docker-Content-Digest": _digest(content)})
        if kind == "blobs" and name in found.blobs:
            return _Answer(HTTPStatus.OK, found.blobs[name], _BLOB, {"Docker-Content-Digest": name})
        if kind == "tags" and name == "list" and found.tags:
            return _Answer(HTTPStatus.OK, json.dumps({"name": repository, "tags": found.tags}).encode())
        return _Answer(HTTPStatus.NOT_FOUND)


def _kept(blobs: dict[str, bytes], path: str, digest: str, content: bytes) -> _Answer:
    """Keep what was uploaded, if it is what it was said to be."""
    if digest != _digest(content):
        return _Answer(HTTPStatus.BAD_REQUEST, b'{"errors": [{"code": "DIGEST_INVALID"}]}')
    blobs[digest] = content
    return _created(path, digest)


def _created(path: str, digest: str) -> _Answer:
    headers = {"Location": f"{path}/{digest}", "Docker-Content-Digest": digest}
    return _Answer(HTTPStatus.CREATED, headers=headers)


def _read(archive: Path) -> _Repository:
    with tarfile.open(archive) as opened:
        files = {entry.name: stream.read() for entry in opened if (stream := opened.extractfile(entry))}
    blobs = {
        name.removeprefix("blobs/").replace("/", ":"): data for name, data in files.items() if name.startswith("blobs/")
    }
    [manifest] = json.loads(files[_INDEX])["manifests"]
    served = manifest["mediaType"], blobs[manifest["digest"]]
    return _Repository({TAG: served, manifest["digest"]: served}, blobs)


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def authorization() -> str:
    """User and password as HTTP and Docker's configuration have them."""
    return base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()


class _Server(ThreadingHTTPServer):
    """Listens on an address that this machine is yet to have: that of hosts' segment, which is made later."""

    def server_bind(self) -> None:
        self.socket.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)
        super().server_bind()


@contextmanager
def serving(archive: Path | None, certificate: Path, address: str) -> Iterator[Registry]:
    """Serve an archive of ``oci.write_archive``, or nothing yet, on one IPv4 address of this machine, and on no other.

    ``certificate``: a file with certificate and key (PEM).
    """
    store = _Store(archive)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            # Read in any case, or it would be taken for the next request.
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            answer = _Answer(HTTPStatus.UNAUTHORIZED, headers={"WWW-Authenticate": 'Basic realm="tests"'})
            if self.headers.get("Authorization") == f"Basic {authorization()}":
                answer = store.answer(self.command, self.path, self.headers.get("Content-Type", _BLOB), body)
            # containerd says in the query for which registry it asks a mirror.
            registry.answered.append((urlsplit(self.path).path, answer.status))
            self.send_response(answer.status)
            length = {"Content-Type": answer.kind, "Content-Length": str(len(answer.content))}
            for name, value in {**answer.headers, **length}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(answer.content)

        do_GET = do_HEAD = do_POST = do_PUT = _answer  # noqa: N815 - the base class's names

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
