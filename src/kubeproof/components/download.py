"""HTTP downloads that end with the whole body or with an error that says what happened.

Proxies come from the usual environment variables, trusted CAs from the system's store (or SSL_CERT_FILE).
"""

from __future__ import annotations

import hashlib
import os
import ssl
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Self, TypeVar

from kubeproof.core.errors import KubeproofError
from kubeproof.settings.urls import without_userinfo

# Imported by the first download: that takes a tenth of a second, and most runs download nothing.
if TYPE_CHECKING:
    import httpx

# Called with the bytes got so far and all bytes (0: not known).
OnBytes = Callable[[int, int], None]
_T = TypeVar("_T")

_BLOCK = 1 << 18
_OK = 200
_TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})
# A checksum file or a page that stands in for one; anything longer is neither.
_LONGEST_TEXT = 1 << 20


class DownloadError(KubeproofError):
    """A URL could not be had. ``status`` is the HTTP status, 0 if there was no answer."""

    def __init__(self, url: str, problem: str, *, status: int = 0) -> None:
        """Name the URL and what went wrong with it."""
        hint = "" if status else "if this machine has no way there, set component_source to mirror or go"
        super().__init__(f"{without_userinfo(url)}: {problem}", hint=hint)
        self.status = status


class ProxyError(KubeproofError):
    """A proxy that this machine's environment names cannot be used."""

    def __init__(self, problem: str) -> None:
        """Name the variables that are set, without their values, in which passwords may be."""
        known = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
        given = [name for each in known for name in (each, each.lower()) if os.environ.get(name)]
        super().__init__(
            f"this machine's proxy variables ({', '.join(given)}) cannot be used: {problem}",
            hint="a proxy is a URL such as http://proxy.example.org:3128, by HTTP or HTTPS; NO_PROXY has names and "
            "addresses with commas between them, IPv6 without brackets",
        )


class _Transient(Exception):
    """Worth another try."""


class Downloader:
    """Pools of connections, one for each thread. Threads may share it."""

    def __init__(self, *, attempts: int = 4, pause: float = 1.0, timeout: float = 30.0, probe: float = 3.0) -> None:
        """``attempts`` for what may pass, with ``pause`` seconds between them, doubling.

        ``timeout`` in seconds for connecting and for each read; ``probe`` the same for ``answers``.
        """
        self._attempts = attempts
        self._pause = pause
        self._probe = probe
        self._timeout = timeout
        self._of_thread = threading.local()
        self._clients: list[httpx.Client] = []

    def __enter__(self) -> Self:
        """Use as a context manager: ``close`` at the end."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close connections, of all threads."""
        for client in self._clients:
            client.close()

    @property
    def _client(self) -> httpx.Client:
        """This thread's client, with TLS of its own.

        httpcore sets a context's ALPN protocols again for every connection, and OpenSSL frees the former ones while
        another thread may be copying them (python/cpython#141012).
        """
        import httpx

        client: httpx.Client | None = getattr(self._of_thread, "client", None)
        if client is None:
            try:
                client = httpx.Client(
                    timeout=httpx.Timeout(self._timeout, pool=None),
                    follow_redirects=True,
                    verify=ssl.create_default_context(),
                    # The checksum is over the bytes as they lie on the server: none may be unpacked on the way.
                    headers={"User-Agent": "kubeproof", "Accept-Encoding": "identity"},
                )
            except (ImportError, ValueError, httpx.InvalidURL) as error:
                # Of these it reads nothing but the environment's proxies.
                raise ProxyError(str(error)) from error
            self._of_thread.client = client
            self._clients.append(client)
        return client

    def answers(self, url: str) -> bool:
        """Whether the server of ``url`` answers soon and sensibly. A refusal is a proxy's way of saying no.

        Raises ProxyError.
        """
        import httpx

        try:
            with self._client.stream("GET", url, timeout=self._probe) as response:
                return response.status_code < 400 or response.status_code == 404
        except (httpx.HTTPError, httpx.InvalidURL):
            return False

    def text(self, url: str) -> str:
        """The body of a small text. Raises DownloadError."""
        return self._retry(url, lambda: self._text(url))

    def file(self, url: str, target: Path, on_bytes: OnBytes) -> str:
        """Write the body to ``target`` and return its SHA-256. Raises DownloadError; ``target`` may then be partial."""
        return self._retry(url, lambda: self._file(url, target, on_bytes))

    def _text(self, url: str) -> str:
        with self._client.stream("GET", url) as response:
            _check(url, response)
            body = b""
            for block in response.iter_bytes(_BLOCK):
                body += block
                if len(body) > _LONGEST_TEXT:
                    raise DownloadError(url, "is too long for a checksum file", status=response.status_code)
        return body.decode(errors="replace")

    def _file(self, url: str, target: Path, on_bytes: OnBytes) -> str:
        digest, done = hashlib.sha256(), 0
        with self._client.stream("GET", url) as response, target.open("wb") as stream:
            _check(url, response)
            total = int(response.headers.get("Content-Length", 0))
            for block in response.iter_raw(_BLOCK):
                stream.write(block)
                digest.update(block)
                done += len(block)
                on_bytes(done, total)
        return digest.hexdigest()

    def _retry(self, url: str, attempt: Callable[[], _T]) -> _T:
        import httpx

        problem = ""
        for number in range(self._attempts):
            if number:
                time.sleep(self._pause * 2 ** (number - 1))
            try:
                return attempt()
            except (httpx.TransportError, _Transient) as error:
                problem = str(error) or type(error).__name__
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                raise DownloadError(url, str(error)) from error
        raise DownloadError(url, f"{problem} (tried {self._attempts} times)")


def _check(url: str, response: httpx.Response) -> None:
    """Refuse a status other than 200, and an answer that left an encrypted connection on its way."""
    if url.startswith("https:"):
        for hop in (*response.history, response):
            if hop.url.scheme != "https":
                raise DownloadError(
                    url,
                    f"redirects to {without_userinfo(str(hop.url))}, which is not encrypted",
                    status=response.status_code,
                )
    status = f"{response.status_code} {response.reason_phrase}"
    if response.status_code in _TRANSIENT:
        raise _Transient(status)
    if response.status_code != _OK:
        raise DownloadError(url, status, status=response.status_code)
