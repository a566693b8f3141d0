"""Requests without a pause, as a user of an application sends them, and what became of each."""

from __future__ import annotations

import http.client
import time
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from kubeproof.core import waiting
from kubeproof.settings.urls import in_url
from kubeproof.verify.act.repeated import Repeated

_PAUSE = 0.02
_SHOWN = 5


@dataclass(frozen=True)
class Request:
    """One request: when it was sent and over, on the monotonic clock; ``answer``, or else ``error``."""

    sent: float
    over: float
    answer: str
    error: str


class Traffic(Repeated):
    """Sends one request after the other, each over a connection of its own, from here to an address of the cluster."""

    def __init__(self, address: str, port: int, path: str, *, timeout: float, patience: float = 1.0) -> None:
        """Nothing is sent before the ``with`` block. ``patience``: what timeout and pauses are multiplied by."""
        super().__init__(self._send, pause=patience * _PAUSE)
        self._address, self._port, self._path, self._timeout = address, port, path, patience * timeout
        self._requests: list[Request] = []

    @property
    def requests(self) -> list[Request]:
        """All requests that are over, so far."""
        return list(self._requests)

    @property
    def failed(self) -> list[Request]:
        """Those that were not answered as they should be."""
        return [request for request in self.requests if request.error]

    def summary(self) -> dict[str, Any]:
        """For the report: how many there were, who answered how many, and some of the errors with their times."""
        requests, failed = self.requests, self.failed
        first = requests[0].sent if requests else 0.0
        return {
            "to": f"http://{in_url(self._address)}:{self._port}/{self._path}",
            "requests": len(requests),
            "failed": len(failed),
            "answered by": dict(Counter(request.answer for request in requests if request.answer)),
            "errors": [f"after {request.sent - first:.1f} s: {request.error}" for request in failed[:_SHOWN]],
        }

    def await_answer(self, timeout: float) -> bool:
        """Whether a request that was sent from now on is answered within a time."""
        start = time.monotonic()
        return waiting.until(
            lambda: any(request.sent > start and not request.error for request in self.requests[-_SHOWN:]),
            timeout,
            pause=_PAUSE,
        )

    def await_answer_of(self, names: Collection[str], timeout: float) -> bool:
        """Whether one of these has answered, or does so within a time."""
        return waiting.until(lambda: any(request.answer in names for request in self.requests), timeout, pause=_PAUSE)

    def forget(self) -> None:
        """Count from here on: what was sent before the address was served, for example, says nothing."""
        self._requests.clear()

    def _send(self) -> None:
        sent, answer, error = time.monotonic(), "", ""
        connection = http.client.HTTPConnection(self._address, self._port, timeout=self._timeout)
        try:
            connection.request("GET", f"/{self._path}")
            response = connection.getresponse()
            body = response.read().decode("utf-8", "replace")
            answer, error = (body, "") if response.status == 200 else ("", f"{response.status} {body[:100]}")
        except (OSError, http.client.HTTPException) as problem:
            error = f"{type(problem).__name__}: {problem}"
        finally:
            connection.close()
        self._requests.append(Request(sent, time.monotonic(), answer, error))
