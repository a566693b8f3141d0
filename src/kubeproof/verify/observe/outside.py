"""Requests to a cluster from outside of it, which is from where the verification runs."""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass

import httpx

from kubeproof.settings.urls import in_url

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


@dataclass(frozen=True)
class Response:
    """What was answered: a status of HTTP and the body; or 0, and why there is no answer."""

    status: int
    body: str

    def __str__(self) -> str:
        """For people."""
        return f"{self.status} {self.body.strip()[:200]!r}" if self.status else self.body


def ask(address: str, port: int, host: str, path: str, *, ca: str = "") -> Response:
    """Ask for a path of a host that has no address in DNS, at an address and a port.

    With ``ca``, a certificate in PEM, over TLS: the host's certificate must be signed by that CA, and for its name.
    """
    url = f"{'https' if ca else 'http'}://{in_url(address)}:{port}{path}"
    trusted = ssl.create_default_context(cadata=ca) if ca else False
    try:
        with httpx.Client(trust_env=False, timeout=_TIMEOUT, verify=trusted) as client:
            answer = client.get(url, headers={"Host": host}, extensions={"sni_hostname": host})
    except httpx.TransportError as error:
        return Response(0, f"{type(error).__name__}: {error}")
    return Response(answer.status_code, answer.text)
