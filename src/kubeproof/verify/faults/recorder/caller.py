"""A client of one server, which keeps its connection, and asks again what may be asked again."""

from __future__ import annotations

import http.client
import json
import select
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from typing import Any, Protocol
from urllib.parse import urlsplit

from kubeproof.verify.faults.recorder.http2 import Http2, NotTaken

# As client-go does by default (k8s.io/client-go rest.Request).
_RETRIES = 10
_TURNED_AWAY = (429, *range(500, 600))

# What asking may raise if there is no answer.
NO_ANSWER = (OSError, http.client.HTTPException)


class Connection(Protocol):
    """What a caller needs of one."""

    def ask(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes | None
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Status, header (names in lower case) and body."""

    def ended(self) -> bool:
        """Whether the server has ended it, or is about to."""

    def close(self) -> None:
        """End it."""


class Http1:
    """What a web page's visitor has."""

    def __init__(self, connected: socket.socket, host: str) -> None:
        """Take over a connection."""
        # With a port: http.client would look for one in an IPv6 address.
        self._connection = http.client.HTTPConnection(host, http.client.HTTP_PORT)
        self._connection.sock = connected

    def ask(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes | None
    ) -> tuple[int, Mapping[str, str], bytes]:
        """See Connection."""
        self._connection.request(method, path, body, dict(headers))
        answer = self._connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()

    def ended(self) -> bool:
        """See Connection."""
        connected = self._connection.sock
        # Nobody has been asked, and yet there is something to read: the end.
        return connected is None or bool(select.select([connected], [], [], 0)[0])

    def close(self) -> None:
        """See Connection."""
        self._connection.close()


class Caller:
    """Asks over HTTP/2 with TLS, or over HTTP/1.1 without."""

    def __init__(
        self, url: str, timeout: float, context: ssl.SSLContext | None = None, headers: Mapping[str, str] = {}
    ) -> None:
        """``context``: how to know the server, if it has TLS. ``timeout``: seconds without anything from it."""
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "", parts.port or 80
        self._authority = f"[{self._host}]:{self._port}" if ":" in self._host else f"{self._host}:{self._port}"
        self._timeout = timeout
        self._context = context
        self._headers = dict(headers)
        self._connection: Connection | None = None
        self.retries = 0
        if context:
            context.set_alpn_protocols(["h2"])

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, bytes]:
        """Status and body of the answer. Raises one of NO_ANSWER if there is none."""
        content = None if body is None else json.dumps(body).encode()
        left = _RETRIES
        while True:
            left -= 1
            try:
                status, text, again = self._ask_kept(method, path, content)
                if again is None or not left:
                    return status, text
            except NotTaken:
                if not left:
                    raise
                again = 0.0
            # To another server, if there is one.
            self.close()
            self.retries += 1
            time.sleep(again)

    def lines(self, path: str) -> Iterator[bytes]:
        """The lines of a streamed response, over a connection of its own. Raises as ``ask`` does."""
        self.close()
        connection = self._connect()
        if not isinstance(connection, Http2):
            raise TypeError("streamed responses need HTTP/2")
        rest = b""
        try:
            for part in connection.parts("GET", path, self._headers):
                if isinstance(part, bytes):
                    *whole, rest = (rest + part).split(b"\n")
                    yield from whole
        finally:
            self.close()

    def close(self) -> None:
        """Forget the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _ask_kept(self, method: str, path: str, body: bytes | None) -> tuple[int, bytes, float | None]:
        """Ask over the kept connection, if it still is one."""
        if self._connection and self._connection.ended():
            self.close()
        kept = self._connection is not None
        try:
            return self._ask(method, path, body)
        except NotTaken:
            raise
        except ConnectionError:
            if not kept or method != "GET":
                raise
            self.retries += 1
            return self._ask(method, path, body)

    def _ask(self, method: str, path: str, body: bytes | None) -> tuple[int, bytes, float | None]:
        """Status, body, and after how many seconds to come again if it was turned away."""
        headers = self._headers if body is None else {**self._headers, "Content-Type": "application/json"}
        try:
            status, answered, text = self._connect().ask(method, path, headers, body)
        except NO_ANSWER:
            self.close()
            raise
        again = answered.get("retry-after", "") if status in _TURNED_AWAY else ""
        return status, text, float(again) if again.isdigit() else None

    def _connect(self) -> Connection:
        if self._connection is None:
            connected = socket.create_connection((self._host, self._port), self._timeout)
            if self._context:
                self._connection = Http2(self._secure(connected, self._context), self._authority)
            else:
                self._connection = Http1(connected, self._host)
        return self._connection

    def _secure(self, connected: socket.socket, context: ssl.SSLContext) -> ssl.SSLSocket:
        try:
            secured = context.wrap_socket(connected, server_hostname=self._host)
        except OSError:
            connected.close()
            raise
        if secured.selected_alpn_protocol() != "h2":
            secured.close()
            raise ConnectionAbortedError("the server does not speak HTTP/2")
        return secured
