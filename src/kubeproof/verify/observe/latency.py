"""Latencies during a verification: requests to the API, and pods from their creation to readiness."""

from __future__ import annotations

import contextlib
import threading
import time
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import httpx

from kubeproof.verify.observe.objects import Object, core, holds, name

if TYPE_CHECKING:
    from kubeproof.verify.observe.api import Api

BOUNDS_MS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)
"""Upper bounds of the buckets in which requests are counted; one more has what took longer."""
_KEPT = 4096
_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_WATCH_SECONDS = 3600.0
_BEGIN_SECONDS = 5.0
_RETRY_SECONDS = 0.5


@dataclass
class _Times:
    """What one kind of request took: all of it in buckets, exactly only the last ones."""

    count: int = 0
    longest: float = 0.0
    last: deque[float] = field(default_factory=lambda: deque(maxlen=_KEPT))
    buckets: Counter[int] = field(default_factory=Counter)


class Stopwatch:
    """Takes the time of requests, from any thread, in bounded memory."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._of_verb: dict[str, _Times] = {}

    def took(self, method: str, path: str, seconds: float) -> None:
        """Count a request that was answered."""
        milliseconds = seconds * 1000
        with self._lock:
            times = self._of_verb.setdefault(verb(method, path), _Times())
            times.count += 1
            times.longest = max(times.longest, milliseconds)
            times.last.append(milliseconds)
            times.buckets[bisect_left(BOUNDS_MS, milliseconds)] += 1

    def as_data(self) -> list[dict[str, Any]]:
        """What each verb took, the most frequent one first."""
        with self._lock:
            return [
                {
                    "verb": each,
                    "count": times.count,
                    "p50_ms": _quantile(times.last, 0.5),
                    "p90_ms": _quantile(times.last, 0.9),
                    "max_ms": round(times.longest, 1),
                    "buckets": [times.buckets[number] for number in range(len(BOUNDS_MS) + 1)],
                }
                for each, times in sorted(self._of_verb.items(), key=lambda pair: -pair[1].count)
            ]


def verb(method: str, path: str) -> str:
    """What a request does: ``proxy`` if a pod or service answers it, else the API's own word for it."""
    parts = path.strip("/").split("/")
    if "proxy" in parts:
        return "proxy"
    if method != "GET":
        return _VERBS.get(method, method.lower())
    if parts[0] not in {"api", "apis"}:
        return "get"
    # /api/v1/… or /apis/GROUP/VERSION/…; then, in a namespace, namespaces/NAME. A name makes it one object.
    rest = parts[2:] if parts[0] == "api" else parts[3:]
    if rest[:1] == ["namespaces"] and len(rest) > 2:
        rest = rest[2:]
    return "list" if len(rest) == 1 else "get"


@dataclass
class _Start:
    created: float
    scheduled: float | None = None
    ready: float | None = None
    placed: bool = False


class PodStarts:
    """Watches the pods of a namespace start, by the controller's clock: conditions are in whole seconds only."""

    def __init__(self, api: Api, namespace: str, clock: Callable[[], float] = time.monotonic) -> None:
        """Nothing is asked yet. The watch has a client of its own, which goes with it."""
        self._api = api
        self._path = core(namespace, "pods")
        self._clock = clock
        self._lock = threading.Lock()
        self._begun = threading.Event()
        self._ended = threading.Event()
        self._starts: dict[str, _Start] = {}
        self._names: dict[str, str] = {}

    def begin(self) -> None:
        """Watch from now on, until the pods are gone or ``end`` was called, and the process is not kept for it."""
        threading.Thread(target=self._watch, name="pod-starts", daemon=True).start()
        self._begun.wait(_BEGIN_SECONDS)

    def end(self) -> None:
        """Look no further than the next event."""
        self._ended.set()

    def note(self, items: Iterable[Object]) -> bool:
        """Take down what is new of the pods; whether that was enough."""
        now = self._clock()
        with self._lock:
            for item in items:
                self._note(item, now)
        self._begun.set()
        return self._ended.is_set()

    def as_data(self) -> list[dict[str, Any]]:
        """The pods that became ready, in the order of creation; ``scheduled_ms`` only where the scheduler chose."""
        with self._lock:
            return [
                {
                    "pod": self._names[uid],
                    "scheduled_ms": _since(start, start.scheduled),
                    "ready_ms": _since(start, start.ready),
                }
                for uid, start in self._starts.items()
                if start.ready is not None
            ]

    def _note(self, item: Object, now: float) -> None:
        uid, bound = str(item["metadata"]["uid"]), bool(item["spec"].get("nodeName"))
        start = self._starts.get(uid)
        if start is None:
            # Bound when first seen: put on its node by whoever made it.
            start = self._starts[uid] = _Start(now, placed=bound)
            self._names[uid] = name(item)
        if bound and not start.placed and start.scheduled is None:
            start.scheduled = now
        if start.ready is None and holds(item, "Ready"):
            start.ready = now

    def _watch(self) -> None:
        from kubeproof.verify.observe.api import ApiError, NotObserved  # which times its requests with the above

        deadline = time.monotonic() + _WATCH_SECONDS
        while not self._ended.is_set() and time.monotonic() < deadline:
            # Restart the watch whenever it ends, for example in an outage that a test made.
            with contextlib.suppress(ApiError, NotObserved, httpx.HTTPError):
                self._api.observe(self._path, self.note, what="starting pods", timeout=_WATCH_SECONDS)
            self._ended.wait(_RETRY_SECONDS)


def service_rules(evidence: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """How long the rules of a new service took on each node, from what the tests of services observed."""
    entries = (entry for observed in evidence for entry in observed.get("rules", []))
    return [
        {"node": entry["node"], "ms": entry["appeared_ms"]}
        for entry in entries
        if isinstance(entry, dict) and {"node", "appeared_ms"} <= entry.keys()
    ]


def _quantile(values: Sequence[float] | deque[float], share: float) -> float:
    """The nearest value that at least this share of the values does not exceed."""
    ordered = sorted(values)
    return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 1) if ordered else 0.0


def _since(start: _Start, at: float | None) -> float | None:
    return None if at is None else round((at - start.created) * 1000, 1)
