"""A client's HTTP/2 connection, against a server whose every frame is given."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator

import pytest
from hpack import Decoder, Encoder
from hyperframe.frame import (
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from kubeproof.verify.faults.recorder.caller import Caller
from kubeproof.verify.faults.recorder.http2 import Http2, NotTaken

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


class Server:
    """The other end of a connection."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._file = connected.makefile("rb")
        self._encoder, self._decoder = Encoder(), Decoder()
        assert self._file.read(len(PREFACE)) == PREFACE
        assert isinstance(self.frame(), SettingsFrame)
        self.send(SettingsFrame(0, settings={SettingsFrame.MAX_CONCURRENT_STREAMS: 100}))

    def frame(self) -> Frame:
        frame, length = Frame.parse_frame_header(memoryview(self._file.read(9)))
        frame.parse_body(memoryview(self._file.read(length)))
        return frame

    def question(self) -> tuple[int, dict[str, str], bytes]:
        """The next question: its stream, header and body."""
        header: dict[str, str] = {}
        body = b""
        while True:
            frame = self.frame()
            if isinstance(frame, HeadersFrame):
                header = {str(name): str(value) for name, value in self._decoder.decode(frame.data)}
            elif isinstance(frame, DataFrame):
                body += frame.data
            if "END_STREAM" in frame.flags:
                return frame.stream_id, header, body

    def send(self, *frames: Frame) -> None:
        self._socket.sendall(b"".join(frame.serialize() for frame in frames))

    def header(self, stream: int, status: int = 200, **more: str) -> HeadersFrame:
        data = self._encoder.encode({":status": str(status), **more}.items())
        return HeadersFrame(stream, data=data, flags=["END_HEADERS"])

    def answer(self, stream: int, body: bytes = b"ok", status: int = 200, **more: str) -> None:
        self.send(self.header(stream, status, **more), DataFrame(stream, data=body, flags=["END_STREAM"]))


Script = Callable[[Server, int], None]


@pytest.fixture
def served() -> Iterator[Callable[[Script], Callable[[], Http2]]]:
    """Makes connections to a server whose behaviour is given: it gets each connection, and its number."""
    ends: list[socket.socket] = []

    def start(script: Script) -> Callable[[], Http2]:
        numbers = iter(range(100))

        def connect() -> Http2:
            near, far = socket.socketpair()
            near.settimeout(5)
            ends.append(near)

            def serve(number: int) -> None:
                with far:
                    script(Server(far), number)

            threading.Thread(target=serve, args=(next(numbers),), daemon=True).start()
            return Http2(near, "127.0.0.1:6443")

        return connect

    yield start
    for end in ends:
        end.close()


Served = Callable[[Script], Callable[[], Http2]]


def caller_of(connect: Callable[[], Http2], monkeypatch: pytest.MonkeyPatch) -> Caller:
    caller = Caller("https://127.0.0.1:6443", 5)

    def connected() -> Http2:
        caller._connection = caller._connection or connect()
        assert isinstance(caller._connection, Http2)
        return caller._connection

    monkeypatch.setattr(caller, "_connect", connected)
    return caller


def test_questions_and_answers(served: Served) -> None:
    seen = []

    def script(server: Server, _number: int) -> None:
        for _turn in range(2):
            stream, header, body = server.question()
            seen.append((stream, header[":method"], header[":path"], header["authorization"], body))
            # What else goes over a connection is seen to, and is not an answer.
            server.send(PingFrame(0, opaque_data=b"12345678"), WindowUpdateFrame(0, window_increment=9))
            server.send(server.header(stream), DataFrame(stream, data=b"o"))
            server.send(DataFrame(stream, data=b"k", flags=["END_STREAM"]))
        frames = [server.frame() for _ in range(5)]
        assert any(isinstance(frame, PingFrame) and "ACK" in frame.flags for frame in frames)

    connection = served(script)()
    for method, body in (("PUT", b"{}"), ("GET", None)):
        status, header, text = connection.ask(method, "/x", {"Authorization": "Bearer t"}, body)
        assert (status, header[":status"], text) == (200, "200", b"ok")
    assert seen == [(1, "PUT", "/x", "Bearer t", b"{}"), (3, "GET", "/x", "Bearer t", b"")]


def test_a_write_that_the_server_did_not_take_is_asked_elsewhere(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def script(server: Server, number: int) -> None:
        stream, _, body = server.question()
        server.answer(stream)
        stream, _, body = server.question()
        if number == 0:
            # As it goes: the first question was taken, the second one was not.
            server.send(GoAwayFrame(0, last_stream_id=1))
            return
        asked.append(body)
        server.answer(stream)

    caller = caller_of(served(script), monkeypatch)
    assert caller.ask("PUT", "/", {"n": 1}) == (200, b"ok")
    assert caller.ask("PUT", "/", {"n": 2}) == (200, b"ok")
    assert caller.ask("PUT", "/", {"n": 3}) == (200, b"ok")
    assert caller.retries == 1
    assert asked == [b'{"n": 3}']


def test_what_was_taken_before_the_server_goes_is_answered(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    def script(server: Server, _number: int) -> None:
        stream = server.question()[0]
        server.send(GoAwayFrame(0, last_stream_id=stream))
        server.answer(stream)

    caller = caller_of(served(script), monkeypatch)
    # And a connection whose server is about to go is not used again.
    for _ in range(3):
        assert caller.ask("PUT", "/", {}) == (200, b"ok")
    assert caller.retries == 0


def test_a_write_that_nothing_is_known_of_is_not_asked_again(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    def script(server: Server, _number: int) -> None:
        server.question()

    caller = caller_of(served(script), monkeypatch)
    with pytest.raises(ConnectionError):
        caller.ask("PUT", "/", {})
    assert caller.retries == 0


def test_nor_one_whose_server_goes_after_it_took_it(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    def script(server: Server, _number: int) -> None:
        stream = server.question()[0]
        server.send(GoAwayFrame(0, last_stream_id=stream))

    caller = caller_of(served(script), monkeypatch)
    # Reset by the kernel, if the server had not read everything when it ended.
    with pytest.raises(ConnectionResetError, match=r"ended the connection|reset by peer"):
        caller.ask("PUT", "/", {})


@pytest.mark.parametrize(("code", "kind"), [(7, NotTaken), (2, ConnectionAbortedError)])
def test_a_question_that_is_ended(served: Served, code: int, kind: type[Exception]) -> None:
    def script(server: Server, _number: int) -> None:
        stream = server.question()[0]
        server.send(RstStreamFrame(stream, error_code=code))

    with pytest.raises(kind):
        served(script)().ask("GET", "/", {}, None)


def test_what_is_turned_away_comes_again(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    def script(server: Server, number: int) -> None:
        stream = server.question()[0]
        if number < 2:
            server.answer(stream, b"{}", 429, **{"retry-after": "0"})
        else:
            server.answer(stream)

    caller = caller_of(served(script), monkeypatch)
    assert caller.ask("PUT", "/", {}) == (200, b"ok")
    assert caller.retries == 2


def test_lines_as_they_come(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    def script(server: Server, _number: int) -> None:
        stream = server.question()[0]
        server.send(server.header(stream))
        for piece in (b"one\ntw", b"o\n", b"three\n"):
            server.send(DataFrame(stream, data=piece))
        server.send(DataFrame(stream, flags=["END_STREAM"]))
        # Room is made for as much as came, or a watch would stop in the end.
        room = 0
        while room < 14:
            frame = server.frame()
            if isinstance(frame, WindowUpdateFrame) and frame.stream_id == 0:
                room += frame.window_increment

    caller = caller_of(served(script), monkeypatch)
    assert list(caller.lines("/")) == [b"one", b"two", b"three"]


def test_nonsense_is_no_answer(served: Served) -> None:
    def script(server: Server, _number: int) -> None:
        stream = server.question()[0]
        server.send(HeadersFrame(stream, data=b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", flags=["END_HEADERS"]))

    with pytest.raises(ConnectionAbortedError, match="can't be read"):
        served(script)().ask("GET", "/", {}, None)
