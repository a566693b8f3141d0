"""A proxy on loopback that forwards each connection to an API server that is ready, whichever was requested.

kubectl knows one server's address. With this as its `proxy-url` it keeps that address, and TLS its name, which all API
servers' certificates have; the connection goes to another server while that one is down. It reconnects after a broken
connection, as always.
"""

from __future__ import annotations

import os
import selectors
import socket
import threading
import time
from collections.abc import Sequence

from kubeproof.api import api_servers

# A choice that is younger than this is taken without asking again: a program makes several connections at once.
_FRESH_SECONDS = 1.0
_HEAD_BYTES = 8192
_CHUNK = 1 << 16
_CONNECT_SECONDS = 3.0
# Connections to a host that has gone without a word end after this: a watch has nothing to send.
_SILENCE_SECONDS = 20


class Proxy:
    """Listens, and leads."""

    def __init__(self, servers: Sequence[str], ca: str) -> None:
        """Listen on a free port; nothing is answered before ``serve``."""
        self._servers = list(servers)
        self._ca = ca
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._choice: tuple[str, float] | None = None
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        """What a kubeconfig calls `proxy-url`."""
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def serve(self, until: int) -> None:
        """Serve until a file descriptor can be read."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ)
            selector.register(until, selectors.EVENT_READ)
            while until not in {key.fd for key, _ in selector.select()}:
                client, _ = self._listener.accept()
                threading.Thread(target=self._lead, args=(client,), daemon=True).start()

    def _lead(self, client: socket.socket) -> None:
        with client:
            try:
                if not _asks_to_connect(client):
                    client.sendall(b"HTTP/1.1 405 only CONNECT is understood here\r\nContent-Length: 0\r\n\r\n")
                    return
                server, problem = self._connect()
                if server is None:
                    # kubectl shows the words behind the number.
                    client.sendall(f"HTTP/1.1 503 {problem}\r\nContent-Length: 0\r\n\r\n".encode())
                    return
                with server:
                    client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                    _exchange(client, server)
            except OSError:
                return  # One of both has gone, and the other learns it by the end of its connection.

    def _connect(self) -> tuple[socket.socket | None, str]:
        """A connection to an API server, or why there is none."""
        with self._lock:
            chosen, at = self._choice or ("", 0.0)
            if time.monotonic() < at + _FRESH_SECONDS:
                connection, _ = _open(chosen)
                if connection:
                    return connection, ""
            found, answers = api_servers.choose(self._servers, self._ca)
            if found is None:
                said = "; ".join(f"{each.server}: {each.said}" for each in answers)
                return None, f"no API server answers ({said})".replace("\r", " ").replace("\n", " ")
            self._choice = (found, time.monotonic())
        return _open(found)


def _open(server: str) -> tuple[socket.socket | None, str]:
    try:
        connection = socket.create_connection(api_servers.address(server), timeout=_CONNECT_SECONDS)
    except OSError as error:
        return None, f"{server}: {error.strerror or error}"
    connection.settimeout(None)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_NODELAY", 1),
        ("TCP_KEEPIDLE", _SILENCE_SECONDS // 4),
        ("TCP_KEEPINTVL", _SILENCE_SECONDS // 4),
        ("TCP_KEEPCNT", 3),
        ("TCP_USER_TIMEOUT", 1000 * _SILENCE_SECONDS),
    ):
        if hasattr(socket, name):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return connection, ""


def _asks_to_connect(client: socket.socket) -> bool:
    """Read the head of a request, byte by byte, so that nothing of what follows is lost."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = client.recv(1)
        if not byte or len(head) > _HEAD_BYTES:
            return False
        head += byte
    return head.startswith(b"CONNECT ")


def _exchange(one: socket.socket, other: socket.socket) -> None:
    """Hand on what both say, until both have said all."""
    back = threading.Thread(target=_hand_on, args=(other, one), daemon=True)
    back.start()
    _hand_on(one, other)
    back.join()


def _hand_on(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(_CHUNK):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        # Both at once: who waits for more is not to wait for ever.
        for each in (source, target):
            _end(each)


def _end(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return


def serve_beside(proxy: Proxy) -> None:
    """Serve in a process of its own, for as long as this one lasts, whatever program this one becomes."""
    served = os.pidfd_open(os.getpid())
    if os.fork() != 0:
        os.close(served)
        return
    # Neither keys of the terminal, nor somebody who reads the other's output to its end, are to wait for this one.
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in range(3):
        os.dup2(nothing, descriptor)
    try:
        proxy.serve(until=served)
    finally:
        os._exit(0)
