"""Requests to a cluster from outside of it, which is from where the verification runs."""

from __future__ import annotations

import socket

import httpx

_TIMEOUT = 5.0


def has_way_to(address: str) -> bool:
    """Whether an address can be asked from here: any of IPv4, and one of IPv6 if there is a route. Nothing is sent."""
    if ":" not in address:
        return True
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as asking:
        try:
            asking.connect((address, 9))
        except OSError:
            return False
    return True


def get(url: str) -> str:
    """The body of an answer, or why there is none."""
    try:
        return httpx.get(url, trust_env=False, timeout=_TIMEOUT).text
    except httpx.TransportError as error:
        return f"{type(error).__name__}: {error}"
