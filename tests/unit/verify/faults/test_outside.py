"""The client outside the cluster: what it measures, and where there is nothing for it to ask."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any, cast

import pytest

from kubeproof.verify.act.traffic import Traffic
from kubeproof.verify.faults.campaign import Outcome, Struck
from kubeproof.verify.faults.checker import History
from kubeproof.verify.faults.kinds import KINDS, Field
from kubeproof.verify.faults.outside import Asked, Outside
from kubeproof.verify.observe.hosts import Host, NotObservable

[KIND] = [kind for kind in KINDS if kind.outside]
START = 1_760_000_000.0


@contextmanager
def served(port: int = 0) -> Iterator[int]:
    """An application on loopback; its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *_: object) -> None:  # noqa: A002 - the base class's name
            """Say nothing about requests."""

    with ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def test_how_long_an_application_was_down_as_its_client_saw_it() -> None:
    with ExitStack() as client:
        with served() as port:
            traffic = client.enter_context(Traffic("127.0.0.1", port, "hostname", timeout=1.0))
            assert traffic.await_answer(10)
            before = time.time()
        down = time.time()
        time.sleep(1.0)
        up = time.time()
        with served(port):
            assert traffic.await_answer(10)
            after = time.time()
    asked = Asked.of(traffic)
    assert asked.failed(down, up) > 0
    assert asked.failed(0, before) == 0
    # From the last answer before it to the first after it, by a clock that is compared with another.
    assert up - down <= asked.unavailable(down, after) <= after - before + 0.1


def outcome(unavailable: float | None) -> dict[str, Any]:
    """The document of a campaign with this fault, which clients inside did not notice."""
    entries: list[Mapping[str, Any]] = [
        {"op": op, "register": 0, "value": at, "start": START + at, "end": START + at + 0.1, "outcome": "ok"}
        for at in range(100)
        for op in ("write", "request")
    ]
    struck = [Struck(KIND, "w2", START + 10, START + 30, START + 31, outside_unavailable=unavailable)]
    return Outcome(History(entries), struck, started=START).document()


def test_it_is_of_the_faults_at_which_that_client_asked() -> None:
    found = outcome(4.321)
    assert found["failures"] == []
    assert found["faults"][0]["outside_unavailable"] == found["kinds"][0]["outside_unavailable"] == 4.32
    assert "outside_unavailable" not in outcome(None)["kinds"][0]


def test_a_minute_without_an_answer_is_no_survival() -> None:
    [said] = outcome(61.0)["failures"]
    assert said == f"{KIND.name} on w2: a client outside the cluster had no answer for 61 s"


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"metallb_addresses": []}, "metallb_addresses is empty"),
        ({"metallb_addresses": ["fd00::40/122"]}, "metallb_addresses has no IPv4 addresses"),
        ({"metallb_addresses": ["192.0.2.64/28"]}, "a worker besides the one that asks"),
    ],
)
def test_it_is_left_out_where_there_is_nothing_to_ask(settings: dict[str, Any], says: str) -> None:
    client = cast(Host, SimpleNamespace(name="w1"))
    hosts = SimpleNamespace(group=lambda _: (client,))
    cluster: Any = SimpleNamespace(settings=settings, nodes=(SimpleNamespace(name="w1", host=client),), hosts=hosts)
    nowhere: Any = None
    with pytest.raises(NotObservable, match=says):
        KIND.targets(Field(cluster, client, Outside(cluster, nowhere, nowhere, client)))
