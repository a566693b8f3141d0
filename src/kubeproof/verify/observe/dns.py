"""DNS messages, as far as questions about a cluster need them (RFC 1035, RFC 2782, RFC 3596)."""

from __future__ import annotations

import ipaddress
import secrets
import struct
from dataclasses import dataclass

A, AAAA, SRV = 1, 28, 33
NOERROR, NXDOMAIN = 0, 3
_CLASS_IN = 1
_RECURSION_DESIRED = 0x0100
_POINTER = 0xC0
_MAX_JUMPS = 32


class MalformedMessage(ValueError):
    """What came back is not an answer to the question."""


@dataclass(frozen=True)
class Question:
    """A question, and the bytes that ask it."""

    name: str
    type: int
    message: bytes


@dataclass(frozen=True)
class Answer:
    """An answer: its code, addresses of A and AAAA records, and (target, port) of SRV records."""

    code: int
    addresses: tuple[str, ...]
    services: tuple[tuple[str, int], ...]


def ask(name: str, kind: int) -> Question:
    """Put a question for a fully qualified name."""
    header = struct.pack("!6H", secrets.randbits(16), _RECURSION_DESIRED, 1, 0, 0, 0)
    labels = b"".join(bytes([len(label)]) + label.encode("ascii") for label in name.rstrip(".").split("."))
    return Question(name, kind, header + labels + b"\0" + struct.pack("!2H", kind, _CLASS_IN))


def read(question: Question, message: bytes) -> Answer:
    """Understand the answer to a question. Raises MalformedMessage."""
    try:
        return _read(question, message)
    except (IndexError, struct.error, UnicodeDecodeError) as error:
        raise MalformedMessage(f"the answer about {question.name} is cut short or garbled: {error}") from error


def _read(question: Question, message: bytes) -> Answer:
    _, flags, questions, answers, _, _ = struct.unpack("!6H", message[:12])
    if message[:2] != question.message[:2] or not flags & 0x8000:
        raise MalformedMessage(f"not an answer to the question about {question.name}")
    offset = 12
    for _ in range(questions):
        _, offset = _name(message, offset)
        offset += 4
    addresses: list[str] = []
    services: list[tuple[str, int]] = []
    for _ in range(answers):
        _, offset = _name(message, offset)
        kind, _, _, length = struct.unpack("!2HIH", message[offset : offset + 10])
        offset += 10
        if kind == A:
            addresses.append(str(ipaddress.IPv4Address(message[offset : offset + length])))
        elif kind == AAAA:
            addresses.append(str(ipaddress.IPv6Address(message[offset : offset + length])))
        elif kind == SRV:
            (port,) = struct.unpack("!H", message[offset + 4 : offset + 6])
            target, _ = _name(message, offset + 6)
            services.append((target, port))
        offset += length
    return Answer(flags & 0x000F, tuple(addresses), tuple(services))


def _name(message: bytes, offset: int) -> tuple[str, int]:
    """A name, which may continue elsewhere in the message, and where what follows it begins."""
    labels: list[str] = []
    end = 0
    for _ in range(_MAX_JUMPS * 8):
        length = message[offset]
        if length >= _POINTER:
            end = end or offset + 2
            offset = (length & ~_POINTER) << 8 | message[offset + 1]
        elif length:
            labels.append(message[offset + 1 : offset + 1 + length].decode("ascii"))
            offset += 1 + length
        else:
            return ".".join(labels), end or offset + 1
    raise MalformedMessage("a name in the answer has no end")
