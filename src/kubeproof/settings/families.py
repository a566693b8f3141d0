"""Networks of one or two IP families. No Ansible."""

from __future__ import annotations

import ipaddress
from typing import Any

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def listed(value: Any) -> list[str]:
    """The networks of a setting that takes one or two: a text, in which commas part them, or a list of texts."""
    values = value if isinstance(value, (list, tuple)) else [value]
    return [part for each in values for part in (piece.strip() for piece in str(each).split(",")) if part]


def joined(value: Any) -> str:
    """The same as programs take it in one flag: ``10.244.0.0/16,fd00:10:244::/56``."""
    return ",".join(listed(value))


def of_family(value: Any, version: int) -> str:
    """Of these networks or addresses, with or without prefix, the first one of IP version 4 or 6; empty if none is."""
    for each in listed(value):
        try:
            found = ipaddress.ip_interface(each).version
        except ValueError:
            continue
        if found == version:
            return each
    return ""


def parsed(value: Any) -> list[Network]:
    """The networks as such. Raises ValueError if one of them is none, or is not written as components take it."""
    networks = [ipaddress.ip_network(each) for each in listed(value)]
    for each in listed(value):
        if right := with_prefix(each):
            raise ValueError(f"{each} has a netmask; write {right}")
    return networks


def with_prefix(network: str) -> str:
    """How to write a network that has a mask in place of a prefix, which Go's programs refuse; empty for others."""
    given, slash, prefix = network.partition("/")
    try:
        length = str(ipaddress.ip_interface(network).network.prefixlen)
    except ValueError:
        return ""
    return f"{given}/{length}" if slash and prefix != length else ""
