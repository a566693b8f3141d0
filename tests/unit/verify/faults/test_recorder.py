"""A client's connections, against a server that ends them."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from kubeproof.verify.faults.recorder.caller import Caller

_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
Serve = Callable[[socket.socket, int], None]


@pytest.fixture
def serving() -> Iterator[Callable[[Serve], str]]:
    """Starts a server whose behaviour is given: it gets each connection, and its number."""
    listener = socket.create_server(("127.0.0.1", 0))

    def start(serve: Serve) -> str:
        def accept() -> None:
            for number in range(10):
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    serve(connection, number)

        threading.Thread(target=accept, daemon=True).start()
        return f"http://127.0.0.1:{listener.getsockname()[1]}"

    yield start
    listener.close()


def answer_once(connection: socket.socket, _number: int) -> None:
    connection.recv(65536)
    connection.sendall(_ANSWER)


def answer_then_drop_a_question(connection: socket.socket, number: int) -> None:
    """The first connection takes a second question and ends without an answer."""
    answer_once(connection, number)
    if number == 0:
        connection.recv(65536)


def test_a_connection_that_ended_while_nobody_asked_is_not_used(serving: Callable[[Serve], str]) -> None:
    caller = Caller(serving(answer_once), 5)
    for _ in range(3):
        assert caller.ask("PUT", "/", {}) == (200, b"ok")
        time.sleep(0.05)
    assert caller.retries == 0


def test_a_read_is_sent_once_more(serving: Callable[[Serve], str]) -> None:
    caller = Caller(serving(answer_then_drop_a_question), 5)
    assert caller.ask("GET", "/")[0] == 200
    assert caller.ask("GET", "/")[0] == 200
    assert caller.retries == 1


def test_a_write_is_not(serving: Callable[[Serve], str]) -> None:
    caller = Caller(serving(answer_then_drop_a_question), 5)
    assert caller.ask("GET", "/")[0] == 200
    with pytest.raises(ConnectionError):
        caller.ask("PUT", "/", {})
    assert caller.retries == 0


def test_what_is_turned_away_comes_again(serving: Callable[[Serve], str]) -> None:
    def turn_away_twice(connection: socket.socket, number: int) -> None:
        connection.recv(65536)
        busy = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 0\r\nContent-Length: 2\r\n\r\n{}"
        connection.sendall(busy if number < 2 else _ANSWER)

    caller = Caller(serving(turn_away_twice), 5)
    assert caller.ask("PUT", "/", {}) == (200, b"ok")
    assert caller.retries == 2


def test_a_failure_is_no_request_to_come_again(serving: Callable[[Serve], str]) -> None:
    def fail(connection: socket.socket, _number: int) -> None:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 2\r\n\r\n{}")

    caller = Caller(serving(fail), 5)
    assert caller.ask("PUT", "/", {}) == (500, b"{}")
    assert caller.retries == 0


def test_a_first_question_is_not(serving: Callable[[Serve], str]) -> None:
    def drop(connection: socket.socket, _number: int) -> None:
        connection.recv(65536)

    caller = Caller(serving(drop), 5)
    with pytest.raises(ConnectionError):
        caller.ask("GET", "/")
