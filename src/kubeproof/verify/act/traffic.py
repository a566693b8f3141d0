"""Requests without a pause, as a user of an application sends them, and what became of each."""

from __future__ import annotations

import http.client
import threading
import time
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

_PAUSE = 0.02
_SHOWN = 5


@dataclass(frozen=True)
class Request:
    """One request: when it was sent and over, on the monotonic clock; ``answer``, or else ``error``."""

    sent: float
    over: float
    answer: str
    error: str


class Traffic:
    """Sends one request after the other, each over a connection of its own, from here to an address of the cluster."""

    def __init__(self, address: str, port: int, path: str, *, timeout: float) -> None:
        """Nothing is sent before the ``with`` block."""
        self._address, self._port, self._path, self._timeout = address, port, path, timeout
        self._requests: list[Request] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._send_all, name="traffic", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

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
            "to": f"http://{self._address}:{self._port}/{self._path}",
            "requests": len(requests),
            "failed": len(failed),
            "answered by": dict(Counter(request.answer for request in requests if request.answer)),
            "errors": [f"after {request.sent - first:.1f} s: {request.error}" for request in failed[:_SHOWN]],
        }

    def await_answer(self, timeout: float) -> bool:
        """Whether a request that was sent from now on is answered within a time."""
        start = time.monotonic()
        while time.monotonic() < start + timeout:
            if any(request.sent > start and not request.error for request in self.requests[-_SHOWN:]):
                return True
            time.sleep(_PAUSE)
        return False

    def await_answer_of(self, names: Collection[str], timeout: float) -> bool:
        """Whether one of these has answered, or does so within a time."""
        start = time.monotonic()
        while not any(request.answer in names for request in self.requests):
            if time.monotonic() > start + timeout:
                return False
            time.sleep(_PAUSE)
        return True

    def forget(self) -> None:
        """Count from here on: what was sent before the address was served, for example, says nothing."""
        self._requests.clear()

    def _send_all(self) -> None:
        while not self._over.is_set():
            self._requests.append(self._send())
            self._over.wait(_PAUSE)

    def _send(self) -> Request:
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
        return Request(sent, time.monotonic(), answer, error)
