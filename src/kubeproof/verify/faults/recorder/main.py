"""Runs on a host: sends requests to the API and an application continuously, and records each with its response.

``python3 recorder SETTINGS OUTPUT``, on Python 3.10 and newer, with settings in JSON:

``api``: ``url``, ``ca``, ``token`` (its file), ``namespace``, ``timeout`` (seconds); ``registers``: how many
writers, each of which has a ConfigMap of its own; ``readers``: how many read all of them; ``application``: the URL of a
service, ``application_timeout``, and how many ``askers`` it has; ``leases``: names of leases to follow; ``pause``:
seconds between two requests of one asker. It runs until it is stopped.

The output has a line of JSON per question, when it is over:

``{"op": "write" | "read", "register": 0, "value": 7, "start": …, "end": …, "outcome": …, "detail": …, "retries": 0}``
``{"op": "request", "start": …, "end": …, "outcome": …, "detail": …}``: the application's
``{"op": "lease", "name": …, "holder": …, "renewed": …, "acquired": …, "duration": …, "missed": …, "end":
…}``: each version of a lease; ``missed``: there may have been others before it

Times are seconds of this host's clock, which is read once; all else is counted from there, whatever the clock does.
``outcome``: ``ok``; ``conflict``, a write that was refused because of another version; ``unknown``, which may have been
carried out, now or later. A write names the version that it starts from: one that is late can't undo a newer one.
``retries``: how often it was sent once more, as client-go does: a read when a kept connection ends instead of an
answer; whatever a server says that it has not looked at (GOAWAY), or has turned away with the request to come again
(Retry-After). Nothing else is.
"""

from __future__ import annotations

import json
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO
from urllib.parse import urlsplit

from kubeproof.verify.faults.recorder.caller import NO_ANSWER, Caller

_LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases"
_START = time.time() - time.monotonic()


def now() -> float:
    """Seconds since the epoch, by a clock that never jumps."""
    return _START + time.monotonic()


class Log:
    """Lines in a file, whole and at once."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def add(self, **entry: Any) -> None:
        """Write a line."""
        line = json.dumps(entry)
        with self._lock:
            self._stream.write(line + "\n")
            self._stream.flush()


class Api:
    """The cluster's API for one asker."""

    def __init__(self, settings: dict[str, Any]) -> None:
        context = ssl.create_default_context(cafile=settings["ca"])
        authorization = "Bearer " + Path(settings["token"]).read_text(encoding="utf-8").strip()
        self._caller = Caller(settings["url"], settings["timeout"], context, {"Authorization": authorization})
        self._maps = "/api/v1/namespaces/{}/configmaps".format(settings["namespace"])

    @property
    def retries(self) -> int:
        """How many questions were sent once more so far."""
        return self._caller.retries

    def read(self, register: int) -> tuple[int, dict[str, Any]]:
        """A register as the store has it: without a resourceVersion a read is consistent."""
        return self._ask("GET", f"{self._maps}/register-{register}")

    def write(self, register: int, value: int, version: str) -> tuple[int, dict[str, Any]]:
        """Set a register, starting from a version."""
        metadata = {"name": f"register-{register}", "resourceVersion": version}
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"value": str(value)}}
        return self._ask("PUT", f"{self._maps}/register-{register}", body)

    def lease(self, name: str) -> dict[str, Any]:
        """A component's lease."""
        return self._ask("GET", f"{_LEASES}/{name}")[1]

    def follow_lease(self, name: str, version: str) -> Iterator[dict[str, Any]]:
        """The lease's versions after one, for a while."""
        query = f"watch=1&timeoutSeconds=60&fieldSelector=metadata.name={name}&resourceVersion={version}"
        for line in self._caller.lines(f"{_LEASES}?{query}"):
            yield json.loads(line)["object"]

    def _ask(self, method: str, path: str, body: Any = None) -> tuple[int, dict[str, Any]]:
        status, text = self._caller.ask(method, path, body)
        try:
            return status, json.loads(text)
        except ValueError:
            return 0, {"message": text[:200].decode("utf-8", "replace")}


def write_for_ever(settings: dict[str, Any], register: int, log: Log) -> None:
    """Count upwards in a register. After an answer that leaves it open what happened, read first."""
    api, version, value = Api(settings["api"]), "", 0
    while True:
        if not version:
            version = _read(api, register, log)
        if version:
            value += 1
            version = _write(api, register, value, version, log)
        time.sleep(settings["pause"])


def _write(api: Api, register: int, value: int, version: str, log: Log) -> str:
    start, retries = now(), api.retries
    try:
        status, answer = api.write(register, value, version)
    except NO_ANSWER as error:
        status, answer = 0, {"message": f"{type(error).__name__}: {error}"}
    outcome = "ok" if status == 200 else "conflict" if status == 409 else "unknown"
    detail = "" if status == 200 else "{} {}".format(status, answer.get("message", ""))
    entry = {"register": register, "value": value, "retries": api.retries - retries}
    log.add(op="write", start=start, end=now(), outcome=outcome, detail=detail, **entry)
    return str(answer["metadata"]["resourceVersion"]) if status == 200 else ""


def _read(api: Api, register: int, log: Log) -> str:
    """Read a register; its version, or nothing if there was no answer."""
    start, retries = now(), api.retries
    try:
        status, answer = api.read(register)
    except NO_ANSWER as error:
        status, answer = 0, {"message": f"{type(error).__name__}: {error}"}
    if status != 200:
        detail = "{} {}".format(status, answer.get("message", ""))
        log.add(op="read", register=register, start=start, end=now(), outcome="unknown", detail=detail)
        return ""
    entry = {"register": register, "value": int(answer["data"]["value"]), "retries": api.retries - retries}
    log.add(op="read", start=start, end=now(), outcome="ok", detail="", **entry)
    return str(answer["metadata"]["resourceVersion"])


def read_for_ever(settings: dict[str, Any], log: Log) -> None:
    """Read one register after the other."""
    api, register = Api(settings["api"]), 0
    while True:
        _read(api, register, log)
        register = (register + 1) % settings["registers"]
        time.sleep(settings["pause"])


def request_for_ever(settings: dict[str, Any], log: Log) -> None:
    """Ask the application, with a new connection each time."""
    url = settings["application"]
    target = urlsplit(url).path or "/"
    while True:
        caller, start = Caller(url, settings["application_timeout"]), now()
        try:
            status, body = caller.ask("GET", target)
            outcome, detail = ("ok" if status == 200 else "failed"), body[:80].decode("utf-8", "replace")
        except NO_ANSWER as error:
            outcome, detail = "failed", f"{type(error).__name__}: {error}"
        caller.close()
        log.add(op="request", start=start, end=now(), outcome=outcome, detail=detail)
        time.sleep(settings["pause"])


def follow_lease(settings: dict[str, Any], name: str, log: Log) -> None:
    """Write down every version of a lease. After a pause in which some may have been missed, the next one says so."""
    api, version = Api(settings["api"]), ""
    while True:
        try:
            if not version:
                version = _log_lease(api.lease(name), log, missed=True)
            for item in api.follow_lease(name, version):
                version = _log_lease(item, log, missed=False)
        except KeyError:
            # No lease but a status: the server has forgotten that version, or does not know the lease yet.
            version = ""
        except (*NO_ANSWER, ValueError):
            # Nobody answers. Another server continues from the same version.
            pass
        time.sleep(settings["pause"])


def _log_lease(item: dict[str, Any], log: Log, *, missed: bool) -> str:
    spec = item["spec"]
    log.add(
        op="lease",
        name=item["metadata"]["name"],
        holder=spec.get("holderIdentity") or "",
        renewed=spec.get("renewTime") or "",
        acquired=spec.get("acquireTime") or "",
        duration=spec.get("leaseDurationSeconds") or 0,
        missed=missed,
        end=now(),
    )
    return str(item["metadata"]["resourceVersion"])


def main() -> None:
    """Start all askers, and wait for the end."""
    settings = json.loads(sys.argv[1])
    with Path(sys.argv[2]).open("a", encoding="utf-8") as stream:
        log = Log(stream)
        jobs: list[tuple[Callable[..., None], tuple[Any, ...]]]
        jobs = [(write_for_ever, (settings, register, log)) for register in range(settings["registers"])]
        jobs += [(read_for_ever, (settings, log))] * settings["readers"]
        jobs += [(request_for_ever, (settings, log))] * settings["askers"]
        jobs += [(follow_lease, (settings, name, log)) for name in settings["leases"]]
        for target, arguments in jobs:
            threading.Thread(target=target, args=arguments, daemon=True).start()
        threading.Event().wait()
