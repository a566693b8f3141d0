"""Requests from where the verification runs."""

from __future__ import annotations

import socket
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from kubeproof.verify.observe import outside


class Answer(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"agent-1")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def test_an_answer_or_why_there_is_none() -> None:
    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        Thread(target=server.handle_request, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/hostname"
        assert outside.get(url) == "agent-1"
    assert outside.get(url).startswith("ConnectError")


def test_an_ipv6_address_takes_a_route(monkeypatch: pytest.MonkeyPatch) -> None:
    assert outside.has_way_to("192.0.2.1")

    def connect(_: socket.socket, __: object) -> None:
        raise OSError("Network is unreachable")

    monkeypatch.setattr("socket.socket", type("Without", (socket.socket,), {"connect": connect}))
    assert not outside.has_way_to("2001:db8::1")
    assert outside.has_way_to("192.0.2.1")
