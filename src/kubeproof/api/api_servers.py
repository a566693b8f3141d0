"""Which of a cluster's API servers can be asked: one may be away, or hang, or have lost its etcd."""

from __future__ import annotations

import enum
import socket
import ssl
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

# Of one whose host is gone nothing is heard at all.
_PATIENCE = 3.0
# For one that is wanted more than another, once that has answered.
_GRACE = 0.3
_REQUEST = b"GET /readyz HTTP/1.1\r\nHost: kubernetes\r\nConnection: close\r\n\r\n"


class Health(enum.IntEnum):
    """How an API server is, the best first."""

    READY = 0
    ANSWERS = 1
    SILENT = 2


@dataclass(frozen=True)
class Answer:
    """What became of asking one."""

    server: str
    health: Health
    said: str = ""


def address(server: str) -> tuple[str, int]:
    """Host and port of an API server by its URL."""
    parts = urlsplit(server)
    return parts.hostname or "", parts.port or 443


def choose(servers: Sequence[str], ca: str, patience: float = _PATIENCE) -> tuple[str | None, list[Answer]]:
    """The URL to use of several, those wanted most first, and what all said that were heard of.

    None if none answers. One that is not ready is better than none: what it says is to be read.
    """
    inquiry = _Inquiry(servers, ca, patience)
    found = inquiry.best(time.monotonic() + patience)
    return (found.server if found else None), inquiry.answers()


def survey(servers: Sequence[str], ca: str, patience: float = _PATIENCE) -> list[Answer]:
    """How all of them are."""
    inquiry = _Inquiry(servers, ca, patience)
    inquiry.wait(time.monotonic() + patience)
    return inquiry.answers()


class _Inquiry:
    """Questions that are on their way, and answers as they come."""

    def __init__(self, servers: Sequence[str], ca: str, patience: float) -> None:
        self._servers = list(servers)
        self._answers: dict[str, Answer] = {}
        self._news = threading.Condition()
        context = ssl.create_default_context(cadata=ca)
        # A load balancer's name need not be in the certificate: who uses the connection looks at that.
        context.check_hostname = False
        for server in servers:
            # Not a pool, whose end waits for all: what hangs is left behind.
            threading.Thread(target=self._ask, args=(server, context, patience), daemon=True).start()

    def _ask(self, server: str, context: ssl.SSLContext, patience: float) -> None:
        answer = ask(server, context, patience)
        with self._news:
            self._answers[server] = answer
            self._news.notify_all()

    def answers(self) -> list[Answer]:
        with self._news:
            silent = {server: Answer(server, Health.SILENT, "no answer") for server in self._servers}
            return list((silent | self._answers).values())

    def wait(self, deadline: float) -> None:
        with self._news:
            self._news.wait_for(lambda: len(self._answers) == len(self._servers), deadline - time.monotonic())

    def best(self, deadline: float) -> Answer | None:
        """The first that is ready, as soon as nobody who is wanted more may still be."""
        patience = deadline
        with self._news:
            while True:
                waiting = [server for server in self._servers if server not in self._answers]
                ready = next((each for each in self._in_order() if each.health is Health.READY), None)
                if ready:
                    patience = min(patience, time.monotonic() + _GRACE)
                    if not any(self._servers.index(each) < self._servers.index(ready.server) for each in waiting):
                        return ready
                left = patience - time.monotonic()
                if not waiting or left <= 0:
                    return ready or next((each for each in self._in_order() if each.health is Health.ANSWERS), None)
                self._news.wait(left)

    def _in_order(self) -> list[Answer]:
        return [self._answers[server] for server in self._servers if server in self._answers]


def ask(server: str, context: ssl.SSLContext, patience: float) -> Answer:
    """How one API server is."""
    host, port = address(server)
    try:
        with (
            socket.create_connection((host, port), timeout=patience) as plain,
            context.wrap_socket(plain, server_hostname=host) as connection,
        ):
            connection.sendall(_REQUEST)
            status = connection.recv(64).split(b" ")
    except OSError as error:
        return Answer(server, Health.SILENT, error.strerror or str(error))
    health = Health.READY if status[1:2] == [b"200"] else Health.ANSWERS
    return Answer(server, health, "" if health is Health.READY else "is not ready")
