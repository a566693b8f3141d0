"""HTTP/2 as Kubernetes' own clients use it, of which what matters here is the end of a connection.

A server that is about to go says so (GOAWAY), and up to which question it has taken any: those after it were never
looked at, and may be asked again elsewhere, whatever they are. (RFC 9113, 6.8; golang.org/x/net/http2 does so.)
"""

from __future__ import annotations

import contextlib
import select
import socket
from collections.abc import Iterator, Mapping

from hpack import Decoder, Encoder, HPACKError
from hyperframe.exceptions import HyperframeError
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_HEAD = 9
_REFUSED_STREAM = 7
_CHUNK = 65536


class NotTaken(ConnectionError):
    """The server says that it has not looked at the question: it can be asked again, of whomever."""


class Http2:
    """A connection on which one question is asked at a time."""

    def __init__(self, connected: socket.socket, authority: str, scheme: str = "https") -> None:
        """Greet the server at the other end of ``connected``."""
        self._socket = connected
        self._own = {":scheme": scheme, ":authority": authority}
        self._encoder, self._decoder = Encoder(), Decoder()
        self._received = b""
        self._stream = -1
        self._taken_until: int | None = None
        self._send(_PREFACE, SettingsFrame(0, settings={SettingsFrame.ENABLE_PUSH: 0}))

    def ask(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes | None
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Status, header and body of the answer. Raises OSError if there is none, NotTaken if there can be none."""
        parts = self.parts(method, path, headers, body)
        answer = next(parts)
        if not isinstance(answer, dict):
            raise ConnectionAbortedError("the answer has no header")
        return int(answer[":status"]), answer, b"".join(part for part in parts if isinstance(part, bytes))

    def parts(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes | None = None
    ) -> Iterator[dict[str, str] | bytes]:
        """The answer's header, then pieces of its body as they come."""
        self._stream += 2
        self._ask(method, path, headers, body)
        block, over = b"", False
        while not over:
            frame = self._next()
            if frame.stream_id != self._stream:
                self._answer(frame)
                continue
            over = over or "END_STREAM" in frame.flags
            if isinstance(frame, RstStreamFrame):
                kind = NotTaken if frame.error_code == _REFUSED_STREAM else ConnectionAbortedError
                raise kind(f"the server ended the question with code {frame.error_code}")
            if isinstance(frame, HeadersFrame | ContinuationFrame):
                block += frame.data
                if "END_HEADERS" in frame.flags:
                    yield self._header(block)
                    block = b""
            elif isinstance(frame, DataFrame):
                self._make_room(frame.flow_controlled_length)
                yield bytes(frame.data)

    def ended(self) -> bool:
        """Whether the server takes no more questions. Reads what it has said since the last one."""
        try:
            while self._taken_until is None and self._waiting():
                self._answer(self._next())
        except OSError:
            return True
        return self._taken_until is not None

    def close(self) -> None:
        """End the connection."""
        self._socket.close()

    def _ask(self, method: str, path: str, headers: Mapping[str, str], body: bytes | None) -> None:
        lower = {name.lower(): value for name, value in headers.items()}
        header = HeadersFrame(self._stream, flags=["END_HEADERS"])
        header.data = self._encoder.encode({":method": method, ":path": path, **self._own, **lower}.items())
        if body is None:
            header.flags.add("END_STREAM")
            self._send(header)
        else:
            # A few hundred bytes: no server's window is too small for them, and it opens again as they are read.
            self._send(header, DataFrame(self._stream, data=body, flags=["END_STREAM"]))

    def _answer(self, frame: Frame) -> None:
        """What the connection needs, whatever is being asked. Raises NotTaken if that was not taken."""
        if isinstance(frame, SettingsFrame) and "ACK" not in frame.flags:
            self._acknowledge(SettingsFrame(0, flags=["ACK"]))
        elif isinstance(frame, PingFrame) and "ACK" not in frame.flags:
            self._acknowledge(PingFrame(0, opaque_data=frame.opaque_data, flags=["ACK"]))
        elif isinstance(frame, GoAwayFrame):
            self._taken_until = frame.last_stream_id
            if self._stream > frame.last_stream_id:
                raise NotTaken(f"the server is about to go (code {frame.error_code})")

    def _make_room(self, length: int) -> None:
        if length:
            self._acknowledge(*(WindowUpdateFrame(stream, window_increment=length) for stream in (0, self._stream)))

    def _acknowledge(self, *frames: Frame) -> None:
        # A server that has said all it had to say may be gone: what it said still counts.
        with contextlib.suppress(ConnectionError):
            self._send(*frames)

    def _header(self, block: bytes) -> dict[str, str]:
        try:
            return {str(name): str(value) for name, value in self._decoder.decode(block)}
        except HPACKError as error:
            raise ConnectionAbortedError(f"a header can't be read: {error}") from error

    def _next(self) -> Frame:
        head = self._take(_HEAD)
        try:
            frame, length = Frame.parse_frame_header(memoryview(head))
            frame.parse_body(memoryview(self._take(length)))
        except HyperframeError as error:
            raise ConnectionAbortedError(f"a frame can't be read: {error}") from error
        return frame

    def _take(self, length: int) -> bytes:
        while len(self._received) < length:
            more = self._socket.recv(_CHUNK)
            if not more:
                raise ConnectionResetError("the server ended the connection")
            self._received += more
        taken, self._received = self._received[:length], self._received[length:]
        return taken

    def _waiting(self) -> bool:
        pending = getattr(self._socket, "pending", lambda: 0)
        return bool(self._received or pending() or select.select([self._socket], [], [], 0)[0])

    def _send(self, *parts: Frame | bytes) -> None:
        self._socket.sendall(b"".join(part if isinstance(part, bytes) else part.serialize() for part in parts))
