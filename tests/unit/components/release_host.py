"""A release host on loopback that can misbehave, and what it has."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import http.server
import io
import tarfile
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kubeproof.components.pins import Binary, Component, GoBuild, Release


@dataclass
class Page:
    """An answer: ``promised`` bytes announced, ``failures`` answers of ``failure`` before it, ``pause`` s midway."""

    body: bytes
    status: int = 200
    failures: int = 0
    failure: int = 500
    promised: int | None = None
    pause: float = 0.0
    headers: Mapping[str, str] = field(default_factory=dict)


class ReleaseHost:
    """Serves ``pages`` by path, and counts what it was asked for."""

    def __init__(self) -> None:
        self.pages: dict[str, Page] = {}
        self.asked: Counter[str] = Counter()
        host = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                host.answer(self)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def answer(self, request: http.server.BaseHTTPRequestHandler) -> None:
        self.asked[request.path] += 1
        page = self.pages.get(request.path, Page(b"nothing here", status=404))
        if self.asked[request.path] <= page.failures:
            page = Page(b"not now", status=page.failure)
        request.send_response(page.status)
        length = len(page.body) if page.promised is None else page.promised
        for name, value in {"Content-Length": str(length), **page.headers}.items():
            request.send_header(name, value)
        request.end_headers()
        half = len(page.body) // 2
        request.wfile.write(page.body[:half])
        request.wfile.flush()
        time.sleep(page.pause)
        with contextlib.suppress(ConnectionError):  # a client that did not wait
            request.wfile.write(page.body[half:])

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def archive(files: Mapping[str, bytes]) -> bytes:
    """A tar.gz as releases have them: with a directory, and with more than is wanted."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in {**files, "README.md": b"read me"}.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return gzip.compress(buffer.getvalue(), mtime=0)


def component(
    name: str, version: str, groups: Mapping[str, str], release: Release, directory: str = "bin"
) -> Component:
    """A component whose binaries (group by name) print nothing that is looked at."""
    binaries = {
        binary: Binary(binary, frozenset([group]), ("--version",), "{version}") for binary, group in groups.items()
    }
    packages = {binary: f"example.org/{name}/{binary}" for binary in groups}
    build = GoBuild(module=name, packages=packages, tags=(), stamps={}, cgo=False, cold_seconds=1)
    return Component(name, version, directory, binaries, release, build)


ETCD_FILES = {
    "etcd-v3.7.3-linux-amd64/etcd": b"etcd's bytes" * 1000,
    "etcd-v3.7.3-linux-amd64/etcdctl": b"etcdctl's bytes",
}
ETCD_PATH = "/etcd-io/v3.7.3/etcd-v3.7.3-linux-amd64.tar.gz"
KUBELET_PATH = "/release/v1.36.3/bin/linux/amd64/kubelet"
KUBELET = b"kubelet's bytes" * 5000
