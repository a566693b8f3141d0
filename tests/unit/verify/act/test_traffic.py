"""Requests without a pause: real ones, to a server on loopback."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

from kubeproof.verify.act.traffic import Traffic


class Answering(ThreadingHTTPServer):
    """Says ``name``, or that it is overloaded while it has none."""

    name = "first"


class _Handler(BaseHTTPRequestHandler):
    server: Answering

    def do_GET(self) -> None:
        self.send_response(200 if self.server.name else 503)
        self.end_headers()
        self.wfile.write(self.server.name.encode())

    def log_message(self, *_: Any) -> None:
        """Nobody reads it."""


@pytest.fixture
def server() -> Iterator[Answering]:
    with Answering(("127.0.0.1", 0), _Handler) as server:
        thread = Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def traffic(server: Answering) -> Iterator[Traffic]:
    with Traffic("127.0.0.1", server.server_port, "hostname", timeout=5) as traffic:
        yield traffic


def test_who_answered_is_told(traffic: Traffic) -> None:
    assert traffic.await_answer(5)
    told = traffic.summary()
    assert set(told["answered by"]) == {"first"}
    assert not told["failed"]


def test_errors_are_told_with_their_times(server: Answering, traffic: Traffic) -> None:
    assert traffic.await_answer(5)
    server.name = ""
    deadline = time.monotonic() + 5
    while not traffic.failed:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    told = traffic.summary()
    seconds, error = re.fullmatch(r"after (\d+\.\d) s: (.*)", told["errors"][0]).groups()  # type: ignore[union-attr]
    assert float(seconds) == pytest.approx(traffic.failed[0].sent - traffic.requests[0].sent, abs=0.06)
    assert error.startswith("503")


def test_it_waits_for_the_answer_of_one_of_several(server: Answering, traffic: Traffic) -> None:
    assert traffic.await_answer_of({"first"}, 5)
    assert not traffic.await_answer_of({"second", "third"}, 0.1)
    server.name = "third"
    assert traffic.await_answer_of({"second", "third"}, 5)


def test_an_answer_of_earlier_counts(server: Answering, traffic: Traffic) -> None:
    assert traffic.await_answer_of({"first"}, 5)
    server.name = "second"
    assert traffic.await_answer_of({"second"}, 5)
    assert traffic.await_answer_of({"first"}, 0)


def test_what_is_no_success_is_a_failure_with_its_reason(server: Answering, traffic: Traffic) -> None:
    assert traffic.await_answer(5)
    server.name = ""
    assert not traffic.await_answer(0.2)
    assert traffic.failed[0].error.startswith("503")


def test_it_can_begin_anew(server: Answering, traffic: Traffic) -> None:
    assert traffic.await_answer(5)
    server.name = "second"
    assert traffic.await_answer_of({"second"}, 5)
    traffic.forget()
    assert traffic.await_answer(5)
    assert set(traffic.summary()["answered by"]) == {"second"}
