"""Whom CoreDNS asks about a name: its configuration, as far as that matters here (https://coredns.io/manual/toc/)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from kubeproof.settings.dns import PORT, normal, within


def forwarders(text: str, name: str) -> tuple[str, ...]:
    """Servers and files with servers that are asked about a name; none if there are none.

    A name is looked up in the server block of the longest zone that it is in.
    """
    best: tuple[str, list[list[str]]] | None = None
    for zones, lines in _blocks(text):
        for zone in zones:
            if within(name, zone) and (best is None or len(zone.strip(".")) > len(best[0].strip("."))):
                best = zone, lines
    for words in best[1] if best else ():
        if words[0] == "forward" and len(words) > 2 and within(name, normal(words[1])):
            return tuple(word for word in words[2:] if word != "{")
    return ()


def endpoint(server: str) -> tuple[str, int]:
    """Address and port of a server, as ``forward`` has it."""
    given = server.removeprefix("dns://")
    if given.startswith("["):
        address, _, port = given[1:].partition("]")
        return address, int(port.removeprefix(":") or PORT)
    if given.count(":") > 1:
        return given, PORT
    address, _, port = given.partition(":")
    return address, int(port or PORT)


def nameservers(text: str) -> tuple[str, ...]:
    """Servers of a resolv.conf(5)."""
    rows = (line.split() for line in text.splitlines())
    return tuple(row[1] for row in rows if len(row) > 1 and row[0] == "nameserver")


def _blocks(text: str) -> Iterator[tuple[list[str], list[list[str]]]]:
    """The zones of each server block, and its directives as words."""
    zones: list[str] = []
    lines: list[list[str]] = []
    depth = 0
    for line in text.splitlines():
        words = line.partition("#")[0].split()
        if not words:
            continue
        if depth == 0 and words[-1] == "{":
            zones, lines = [_zone(word) for word in re.split(r"[\s,]+", " ".join(words[:-1]))], []
        elif depth == 1 and words[0] != "}":
            lines.append(words)
        depth += words.count("{") - words.count("}")
        if depth == 0 and "}" in words:
            yield zones, lines


def _zone(written: str) -> str:
    return normal(written.removeprefix("dns://").partition(":")[0])
