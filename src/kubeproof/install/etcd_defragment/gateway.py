"""etcd's members, asked through their JSON gateways: https://etcd.io/docs/v3.6/dev-guide/api_grpc_gateway/."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Dict, Mapping, Optional, Protocol

from kubeproof.install.etcd_defragment.errors import EtcdError, TooLong

Answer = Dict[str, Any]

# A member that is being defragmented answers nothing at all.
SECONDS = 5.0
_LONGEST = 300


class Etcd(Protocol):
    """How members are asked."""

    def ask(self, url: str, path: str, body: Optional[Mapping[str, Any]] = None, seconds: float = SECONDS) -> Answer:
        """What a member answers. Raises EtcdError, and TooLong if it doesn't in this time."""

    def health(self, url: str) -> str:
        """Why a member is not healthy; empty if it is: it has served a linearizable read, so it has quorum."""


class Gateway:
    """The way to all members, with this host's certificate and never through a proxy."""

    def __init__(self, ca: Path, certificate: Path, key: Path) -> None:
        """Read the files. Raises OSError."""
        context = ssl.create_default_context(cafile=str(ca))
        context.load_cert_chain(str(certificate), str(key))
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        )

    def ask(self, url: str, path: str, body: Optional[Mapping[str, Any]] = None, seconds: float = SECONDS) -> Answer:
        """See Etcd."""
        return self._open(urllib.request.Request(url + path, json.dumps(body or {}).encode()), seconds)  # noqa: S310

    def health(self, url: str) -> str:
        """See Etcd."""
        try:
            answer = self._open(urllib.request.Request(url + "/health?exclude=NOSPACE"), SECONDS)  # noqa: S310
        except EtcdError as error:
            return str(error)
        return "" if answer.get("health") == "true" else "%s/health answers %s" % (url, answer)

    def _open(self, request: urllib.request.Request, seconds: float) -> Answer:
        where = request.full_url
        try:
            with self._opener.open(request, timeout=seconds) as response:
                answer: Answer = json.load(response)
        except urllib.error.HTTPError as error:
            said = error.read(_LONGEST).decode(errors="replace")
            raise EtcdError("%s answers %d: %s" % (where, error.code, said.strip())) from None
        except socket.timeout:
            raise TooLong("%s does not answer within %.0f s" % (where, seconds)) from None
        except urllib.error.URLError as error:
            if isinstance(error.reason, socket.timeout):
                raise TooLong("%s does not answer within %.0f s" % (where, seconds)) from None
            raise EtcdError("%s: %s" % (where, error.reason)) from None
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise EtcdError("%s: %s" % (where, error or type(error).__name__)) from None
        return answer
