"""A small client of the Kubernetes API: plain requests, so that what is sent and answered can be shown as evidence."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import ssl
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import httpx

from kubeproof.api import api_servers
from kubeproof.api.kubeconfig import Access, Certificate, Credentials, Token
from kubeproof.core.errors import KubeproofError
from kubeproof.verify.observe import objects
from kubeproof.verify.observe.latency import Stopwatch
from kubeproof.verify.observe.objects import Object

MERGE_PATCH = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"
_TIMEOUT = 10.0
_RETRY_SECONDS = 0.1
# What a server says that is overloaded, without its store, or so new that it knows nobody's rights yet.
PASSING = {403, 429, 500, 502, 503, 504}


class NotObserved(AssertionError):
    """Something that should have happened within a time did not."""


class ApiError(Exception):
    """The API server refused a request that should have succeeded."""

    def __init__(self, answer: Answer) -> None:
        """Say what was asked and what the server said."""
        super().__init__(f"{answer.request}: {answer.status} {answer.message}")
        self.answer = answer


@dataclass(frozen=True)
class Answer:
    """What the API server answered."""

    request: str
    status: int
    body: Any

    @property
    def ok(self) -> bool:
        """Whether the request was carried out."""
        return 200 <= self.status < 300

    @property
    def message(self) -> str:
        """The server's words on a refusal."""
        return str(self.body.get("message", "")) if isinstance(self.body, dict) else str(self.body)

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields of an object that the server found fault with."""
        details = self.body.get("details") or {} if isinstance(self.body, dict) else {}
        return tuple(str(cause.get("field", "")) for cause in details.get("causes", []))

    def required(self) -> Any:
        """The body of an answer that must be a success."""
        if not self.ok:
            raise ApiError(self)
        return self.body


@dataclass(frozen=True)
class Event:
    """One event of a watch, and when it arrived on the monotonic clock."""

    kind: str
    item: Object
    at: float


class Api:
    """A cluster's API as one caller sees it."""

    def __init__(self, access: Access, stopwatch: Stopwatch | None = None) -> None:
        """Prepare a client; nothing is sent yet."""
        self.access = access
        self.stopwatch = stopwatch or Stopwatch()
        # What time limits are multiplied by: hosts may be slow (patience.py).
        self.patience = 1.0
        self._headers = {"Accept": "application/json"}
        if isinstance(access.credentials, Token):
            self._headers["Authorization"] = f"Bearer {access.credentials.value}"
        self._of_thread = threading.local()
        self._clients: list[httpx.Client] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for client in self._clients:
            client.close()

    @property
    def _client(self) -> httpx.Client:
        """This thread's client: one that threads share may close a connection that another has just been given.

        TLS is each one's own, too: httpcore sets a context's ALPN protocols again for every connection, and what
        another thread sends meanwhile is refused by the server (TLSV1_ALERT_DECODE_ERROR).
        """
        client: httpx.Client | None = getattr(self._of_thread, "client", None)
        if client is None:
            tls = tls_context(self.access.ca, self.access.credentials)
            client = httpx.Client(
                base_url=self.access.server, headers=self._headers, verify=tls, timeout=_TIMEOUT, trust_env=False
            )
            self._of_thread.client = client
            self._clients.append(client)
        return client

    def using(self, credentials: Credentials) -> Api:
        """The same API for another caller."""
        other = Api(dataclasses.replace(self.access, credentials=credentials), self.stopwatch)
        other.patience = self.patience
        return other

    def patient(self, seconds: float) -> float:
        """A time limit as it is on these hosts."""
        return seconds * self.patience

    def request(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | Sequence[Any] | None = None,
        *,
        params: Mapping[str, Any] | None = None,
        content_type: str = "application/json",
    ) -> Answer:
        """Send a request and return the answer, whatever it is. A body that is a text is sent as it is."""
        content = body if body is None or isinstance(body, str) else json.dumps(body)
        headers = {} if body is None else {"Content-Type": content_type}
        start = time.monotonic()
        limit = self.patient(_TIMEOUT)
        response = self._client.request(method, path, params=params, content=content, headers=headers, timeout=limit)
        self.stopwatch.took(method, path, time.monotonic() - start)
        is_json = response.headers.get("content-type", "").startswith("application/json")
        return Answer(f"{method} {path}", response.status_code, response.json() if is_json else response.text)

    def get(self, path: str, **params: Any) -> Any:
        """Read an object, a list, or what a proxied server says."""
        return self.request("GET", path, params=params).required()

    def items(self, path: str, **params: Any) -> list[Object]:
        """Read the objects of a collection."""
        found: list[Object] = self.get(path, **params)["items"]
        return found

    def create(self, manifest: Mapping[str, Any]) -> Object:
        """Create an object."""
        created: Object = self.request("POST", objects.collection(manifest), manifest).required()
        return created

    def replace(self, manifest: Mapping[str, Any]) -> Object:
        """Write an object as it is given, its resourceVersion included."""
        replaced: Object = self.request("PUT", objects.path(manifest), manifest).required()
        return replaced

    def patch(self, path: str, change: Mapping[str, Any] | Sequence[Any], content_type: str = MERGE_PATCH) -> Object:
        """Change parts of an object."""
        patched: Object = self.request("PATCH", path, change, content_type=content_type).required()
        return patched

    def delete(self, path: str, **options: Any) -> None:
        """Delete an object or a collection; that it is gone already is fine."""
        body = {"apiVersion": "v1", "kind": "DeleteOptions", **options}
        answer = self.request("DELETE", path, body)
        if answer.status != 404:
            answer.required()

    @contextlib.contextmanager
    def watching(
        self, path: str, *, since: str, timeout: float, **params: Any
    ) -> Generator[Generator[Event, None, None], None, None]:
        """Open a watch from a resourceVersion on. The events end when the time is over."""
        query = {**params, "watch": "1", "resourceVersion": since, "timeoutSeconds": max(1, round(timeout))}
        with self._client.stream("GET", path, params=query, timeout=timeout + self.patient(_TIMEOUT)) as response:
            if response.status_code != 200:
                response.read()
                raise ApiError(Answer(f"WATCH {path}", response.status_code, response.text))
            yield _events(response, time.monotonic() + timeout)

    def observe(
        self,
        path: str,
        until: Callable[[list[Object]], bool],
        *,
        what: str,
        timeout: float,
        **params: Any,
    ) -> list[Object]:
        """Watch a collection until it is as it should be, and return it. Raises NotObserved, which names ``what``.

        ``params`` may select: ``fieldSelector``, ``labelSelector``.
        """
        limit = self.patient(timeout)
        deadline = time.monotonic() + limit
        seen: list[Object] = []
        refusal: ApiError | None = None
        while time.monotonic() < deadline:
            # A watch may end at any time, with the API server that served it for example; the next list continues.
            with contextlib.suppress(httpx.NetworkError, httpx.RemoteProtocolError, httpx.TimeoutException):
                try:
                    for seen in self._states(path, deadline, params):
                        refusal = None
                        if until(seen):
                            return seen
                except ApiError as error:
                    if error.answer.status not in PASSING:
                        raise
                    refusal = error
            time.sleep(_RETRY_SECONDS)
        if refusal:
            raise refusal
        last = "; ".join(describe(item) for item in seen) or "nothing"
        raise NotObserved(f"{what}: not within {limit:.0f} s; last seen: {last}")

    def _states(self, path: str, deadline: float, params: Mapping[str, Any]) -> Generator[list[Object], None, None]:
        """A collection as it is, and after every change, as long as its watch lasts."""
        listed = self.get(path, **params)
        known = {item["metadata"]["uid"]: item for item in listed["items"]}
        yield list(known.values())
        since, left = listed["metadata"]["resourceVersion"], max(deadline - time.monotonic(), 0)
        with self.watching(path, since=since, timeout=left, **params) as events:
            for event in events:
                if event.kind == "ERROR":
                    return
                uid = event.item["metadata"]["uid"]
                if event.kind == "DELETED":
                    known.pop(uid, None)
                else:
                    known[uid] = event.item
                yield list(known.values())

    def observe_one(
        self, manifest: Mapping[str, Any], until: Callable[[Object], bool], *, what: str, timeout: float
    ) -> Object:
        """Watch one object, which need not exist yet, until it is as it should be."""
        found = self.observe(
            objects.collection(manifest),
            lambda items: bool(items) and until(items[0]),
            what=what,
            timeout=timeout,
            fieldSelector=f"metadata.name={objects.name(manifest)}",
        )
        return found[0]

    def observe_gone(self, manifest: Mapping[str, Any], *, what: str, timeout: float) -> None:
        """Watch until there is no object of this name."""
        self.observe(
            objects.collection(manifest),
            lambda items: not items,
            what=what,
            timeout=timeout,
            fieldSelector=f"metadata.name={objects.name(manifest)}",
        )


def connect(*accesses: Access) -> Api:
    """A client of an API that must be reachable from here and accept us; by the first of several ways that is ready."""
    access = accesses[0]
    if accesses[1:]:
        server, _ = api_servers.choose([each.server for each in accesses], access.ca)
        access = next((each for each in accesses if each.server == server), access)
    api = Api(access)
    try:
        answer = api.request("GET", "/version")
    except httpx.HTTPError as error:
        raise KubeproofError(
            f"the API at {', '.join(each.server for each in accesses)} cannot be reached from here: {error}",
            hint="the verification asks it directly; is an API server running, and is there a route to it?",
        ) from error
    if not answer.ok:
        raise KubeproofError(
            f"the API at {access.server} does not accept the kubeconfig: {answer.status} {answer.message}"
        )
    return api


def describe(item: Mapping[str, Any]) -> str:
    """An object in one line, as far as it tells why something has not happened."""
    status = item.get("status", {})
    parts = [f"{item.get('kind', '')} {objects.name(item)}".strip()]
    if status.get("phase"):
        parts.append(str(status["phase"]))
    if item.get("spec", {}).get("nodeName"):
        parts.append(f"on {item['spec']['nodeName']}")
    unmet = (each for each in status.get("conditions") or [] if each.get("status") == "False" and each.get("message"))
    parts.extend(f"{each['type']}: {each['message']}" for each in unmet)
    for container in (*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])):
        for state, details in container.get("state", {}).items():
            if state != "running":
                reason = " ".join(str(details[key]) for key in ("reason", "message") if details.get(key))
                parts.append(f"container {container['name']} {state}: {reason}")
    return ", ".join(parts)


def tls_context(ca: str, credentials: Credentials) -> ssl.SSLContext:
    """TLS that trusts one CA only, and shows a certificate if the caller has one."""
    context = ssl.create_default_context(cadata=ca)
    if isinstance(credentials, Certificate):
        # Python reads certificates from files only.
        with tempfile.NamedTemporaryFile("w", suffix=".pem") as pem:
            pem.write(f"{credentials.certificate}\n{credentials.key}")
            pem.flush()
            context.load_cert_chain(pem.name)
    return context


def _events(response: httpx.Response, deadline: float) -> Generator[Event, None, None]:
    try:
        for line in response.iter_lines():
            at = time.monotonic()
            event = json.loads(line)
            if event["type"] != "BOOKMARK":
                yield Event(event["type"], event["object"], at)
            if at > deadline:
                return
    except httpx.ReadTimeout:
        return
