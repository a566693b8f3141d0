"""Netlink: requests to the kernel, and its notifications (netlink(7), rtnetlink(7)).

Without a program that is started for it, looking costs next to nothing; so it can be done whenever anything happens.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
from typing import Dict, Iterator, List, Tuple

ROUTE, NETFILTER = 0, 12
# Flags of a request.
REQUEST, ACK, DUMP = 0x1, 0x4, 0x300
REPLACE, CREATE = 0x100, 0x400
# A dump during which something changed: what it says never was so.
_INTERRUPTED = 0x10
_ERROR, _DONE = 2, 3
_SOL_NETLINK, _EXTENDED_ACK, _STRICT = 270, 11, 12
# In an error that has attributes, what the kernel says in words.
_CAPPED, _HAS_ATTRIBUTES, _WORDS = 0x100, 0x200, 1
_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
# The two highest bits of an attribute's type say how it is encoded.
_TYPE = 0x3FFF
# Larger than anything that the kernel sends in one piece.
_BUFFER = 1 << 18
_TIMEOUT = 5.0
_TRIES = 10


class NetlinkError(OSError):
    """The kernel refused; ``strerror`` has its words for it, if it has any."""


class Message:
    """One message: its type, and what follows its header."""

    def __init__(self, kind: int, flags: int, body: bytes) -> None:
        self.kind = kind
        self.flags = flags
        self.body = body


def attribute(kind: int, value: bytes) -> bytes:
    """An attribute as it is sent, padded."""
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value + bytes(-len(value) % 4)


def attribute_list(data: bytes) -> Iterator[Tuple[int, bytes]]:
    """Attributes by type, in their order."""
    while len(data) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(data)
        if length < _ATTRIBUTE.size:
            return
        yield kind & _TYPE, data[_ATTRIBUTE.size : length]
        data = data[length + -length % 4 :]


def attributes(data: bytes) -> Dict[int, bytes]:
    """Attributes by type; of several of one type the last."""
    return dict(attribute_list(data))


def text(value: bytes) -> str:
    """A string as the kernel sends it."""
    return value.rstrip(b"\0").decode(errors="replace")


class Netlink:
    """A socket for questions."""

    def __init__(self, family: int) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, family)
        self._socket.settimeout(_TIMEOUT)
        for option in (_EXTENDED_ACK, _STRICT):
            # An older kernel does without.
            with contextlib.suppress(OSError):
                self._socket.setsockopt(_SOL_NETLINK, option, 1)
        self._socket.bind((0, 0))
        self._sequence = 0

    def dump(self, kind: int, body: bytes) -> List[Message]:
        """All that the kernel has of a kind, at one moment."""
        for _ in range(_TRIES):
            messages = self._exchange(kind, REQUEST | DUMP, body)
            if not any(message.flags & _INTERRUPTED for message in messages):
                return messages
        raise NetlinkError(errno.EINTR, "it changes all the time")

    def ask(self, kind: int, body: bytes, flags: int = 0) -> List[Message]:
        """Ask for one thing, or tell the kernel to change one; the answer."""
        return self._exchange(kind, REQUEST | ACK | flags, body)

    def _exchange(self, kind: int, flags: int, body: bytes) -> List[Message]:
        self._sequence += 1
        header = _HEADER.pack(_HEADER.size + len(body), kind, flags, self._sequence, 0)
        self._socket.send(header + body)
        messages: List[Message] = []
        while True:
            for sequence, message in split(self._socket.recv(_BUFFER)):
                if sequence != self._sequence:
                    continue  # left of an exchange that was given up
                if message.kind in (_ERROR, _DONE):
                    raise_for(message)
                    return messages
                messages.append(message)


def split(data: bytes) -> Iterator[Tuple[int, Message]]:
    """The messages in one piece from the kernel, each with its number."""
    while len(data) >= _HEADER.size:
        length, kind, flags, sequence, _ = _HEADER.unpack_from(data)
        if length < _HEADER.size:
            return
        yield sequence, Message(kind, flags, data[_HEADER.size : length])
        data = data[length + -length % 4 :]


def raise_for(message: Message) -> None:
    """Raise what a closing message complains of; nothing if it is content."""
    code = -struct.unpack_from("=i", message.body)[0] if len(message.body) >= 4 else 0
    if not code:
        return
    words = b""
    if message.kind == _ERROR and message.flags & _HAS_ATTRIBUTES:
        # After the number comes the request, or only its header.
        length = struct.unpack_from("=I", message.body, 4)[0]
        skipped = 4 + (_HEADER.size if message.flags & _CAPPED else length + -length % 4)
        words = attributes(message.body[skipped:]).get(_WORDS, b"")
    raise NetlinkError(code, text(words) or os.strerror(code))


class Events:
    """A socket on which the kernel notifies of changes. The notification is not read: everything is checked again."""

    def __init__(self, family: int, groups: int) -> None:
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, family
        )
        self._socket.bind((0, groups))

    def fileno(self) -> int:
        """For a selector."""
        return self._socket.fileno()

    def drain(self) -> None:
        """Forget what has been said."""
        with contextlib.suppress(BlockingIOError):
            while True:
                self._drain_one()

    def _drain_one(self) -> None:
        try:
            self._socket.recv(_BUFFER)
        except OSError as error:
            # More was said than the socket could hold: all the more reason to look.
            if error.errno != errno.ENOBUFS:
                raise
