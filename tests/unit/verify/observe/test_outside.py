"""Requests from where the verification runs."""

from __future__ import annotations

import socket
import ssl
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from kubeproof.verify.act.application_operator import gate
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


class Told(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(404 if self.path == "/nothing" else 200)
        self.end_headers()
        self.wfile.write(f"{self.headers['Host']} {self.path}".encode())

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def test_a_host_is_asked_for_at_an_address() -> None:
    with HTTPServer(("127.0.0.1", 0), Told) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        told = outside.ask("127.0.0.1", server.server_port, "one.test", "/a")
        assert told == outside.Response(200, "one.test /a")
        assert str(told) == "200 'one.test /a'"
        assert outside.ask("127.0.0.1", server.server_port, "one.test", "/nothing").status == 404
        server.shutdown()
    nobody = outside.ask("127.0.0.1", server.server_port, "one.test", "/a")
    assert nobody.status == 0
    assert str(nobody).startswith("ConnectError")


def test_a_certificate_must_be_of_the_host_and_of_the_ca(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usual = ssl.create_default_context

    def strict(*, cadata: str) -> ssl.SSLContext:
        """The default since Python 3.13, for earlier ones, too."""
        context = usual(cadata=cadata)
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        return context

    monkeypatch.setattr(ssl, "create_default_context", strict)
    issued = gate.issue("one.test")
    (tmp_path / "pem").write_text(issued.certificate + issued.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "pem")
    with HTTPServer(("127.0.0.1", 0), Told) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        Thread(target=server.serve_forever, daemon=True).start()
        port = server.server_port
        assert outside.ask("127.0.0.1", port, "one.test", "/a", ca=issued.ca) == outside.Response(200, "one.test /a")
        for host, ca in (("two.test", issued.ca), ("one.test", gate.issue("one.test").ca)):
            told = outside.ask("127.0.0.1", port, host, "/a", ca=ca)
            assert told.status == 0
            assert "certificate verify failed" in told.body
        server.shutdown()
