"""Runs on a host: a DNS server that knows one zone, in which every name has one address, and writes down who asks what.

Standard library only, Python 3.8 and newer: outside_resolver.py sends this file's text with ADDRESS PORT ZONE ANSWER.
Names in the zone that begin with ``none.`` do not exist, and neither do those of other zones: so would a real resolver
answer, and it is then only known from what it was asked that it was. Questions are a line each, ``udp NAME`` or
``tcp NAME``, in a file in the unit's RuntimeDirectory. Without a zone it only tries whether the address is free.
"""
# ruff: noqa: PTH118, PTH123, UP031

from __future__ import annotations

import os
import socket
import socketserver
import struct
import sys
import threading
from typing import Any

NOERROR, NXDOMAIN = 0, 3
A, CLASS_IN = 1, 1
# An answer, to the asker's wish for recursion, which this server grants.
FLAGS, RECURSION_DESIRED = 0x8080, 0x0100
POINTER_TO_QUESTION = 0xC00C
TTL = 5
HEADER = struct.Struct("!6H")


class Responder:
    """What is asked, and what is answered."""

    def __init__(self, zone: str, answer: str, log: str) -> None:
        self._zone = zone
        self._answer = socket.inet_aton(answer)
        self._log = log
        self._lock = threading.Lock()

    def reply(self, message: bytes, protocol: str) -> bytes:
        """The answer to a message; empty to one that is no question."""
        if len(message) <= HEADER.size:
            return b""
        number, flags, questions, _, _, _ = HEADER.unpack_from(message)
        if flags & 0x8000 or questions != 1:
            return b""
        name, end = self._name(message)
        kind, family = struct.unpack_from("!2H", message, end)
        with self._lock, open(self._log, "a", encoding="utf-8") as stream:
            stream.write("%s %s\n" % (protocol, name))
        code, records = self._known(name, kind, family)
        header = HEADER.pack(number, FLAGS | (flags & RECURSION_DESIRED) | code, 1, len(records), 0, 0)
        return header + message[HEADER.size : end + 4] + b"".join(records)

    def _known(self, name: str, kind: int, family: int) -> tuple[int, list[bytes]]:
        if not ("." + name).endswith("." + self._zone) or name.startswith("none."):
            return NXDOMAIN, []
        if (kind, family) != (A, CLASS_IN):
            return NOERROR, []
        return NOERROR, [struct.pack("!3HIH", POINTER_TO_QUESTION, A, CLASS_IN, TTL, 4) + self._answer]

    @staticmethod
    def _name(message: bytes) -> tuple[str, int]:
        """The name that is asked about, and where what follows it begins."""
        labels, offset = [], HEADER.size
        while message[offset]:
            end = offset + 1 + message[offset]
            labels.append(message[offset + 1 : end].decode("ascii", "replace").lower())
            offset = end
        return ".".join(labels), offset + 1


class Datagrams(socketserver.ThreadingUDPServer):
    """Questions over UDP."""

    allow_reuse_address = False
    daemon_threads = True


class Connections(socketserver.ThreadingTCPServer):
    """Questions over TCP: several over one connection."""

    # The port of one that has just ended is free.
    allow_reuse_address = True
    daemon_threads = True


class Datagram(socketserver.BaseRequestHandler):
    """One question."""

    def handle(self) -> None:
        """Answer it."""
        data, sock = self.request
        reply = _of(self.server).reply(data, "udp")
        if reply:
            sock.sendto(reply, self.client_address)


class Connection(socketserver.StreamRequestHandler):
    """Questions until the client has no more; each has its length before it."""

    def handle(self) -> None:
        """Answer them."""
        while True:
            length = self.rfile.read(2)
            if len(length) < 2:
                return
            reply = _of(self.server).reply(self.rfile.read(int.from_bytes(length, "big")), "tcp")
            self.wfile.write(len(reply).to_bytes(2, "big") + reply)


def _of(server: Any) -> Responder:
    responder: Responder = server.responder
    return responder


def _ready() -> None:
    """Tell systemd (sd_notify(3))."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"READY=1", "\0" + address[1:] if address.startswith("@") else address)


def _main(address: str, port: str, zone: str = "", answer: str = "0.0.0.0") -> None:  # noqa: S104
    for kind in (Datagrams, Connections):
        kind.address_family = socket.AF_INET6 if ":" in address else socket.AF_INET
    servers: list[Any] = [Datagrams((address, int(port)), Datagram), Connections((address, int(port)), Connection)]
    if not zone:
        return
    responder = Responder(zone, answer, os.path.join(os.environ["RUNTIME_DIRECTORY"], "questions"))
    open(os.path.join(os.environ["RUNTIME_DIRECTORY"], "questions"), "a").close()
    threads = []
    for server in servers:
        server.responder = responder
        threads.append(threading.Thread(target=server.serve_forever))
    for thread in threads:
        thread.start()
    _ready()


_main(*sys.argv[1:])
