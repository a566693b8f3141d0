"""A kind that is new is served by every API server before its objects are asked for."""

from __future__ import annotations

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest
from tests.unit.answering import ApiServer, answer, cluster_of

from kubeproof.verify.act import every_server
from kubeproof.verify.observe.api import ApiError, NotObserved
from kubeproof.verify.observe.cluster import Cluster

CUT_OFF = 0
COLLECTION = "/apis/lab.kubeproof.io/v1/namespaces/lab/greetings"


class Server(ApiServer):
    """An API server with the statuses that it answers, one after the other; the last one for good."""

    def __init__(self, *statuses: int) -> None:
        super().__init__(_Handler)
        self.statuses = list(statuses)


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        assert self.path.partition("?")[0] == COLLECTION
        status = self.server.statuses.pop(0) if len(self.server.statuses) > 1 else self.server.statuses[0]
        if status == CUT_OFF:
            self.close_connection = True
            return
        answer(self, status, {"items": [], "message": "as tests want it"})

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def servers() -> list[Server]:
    return [Server(200), Server(404, 404, 503, 200)]


@pytest.fixture
def cluster(servers: list[Server]) -> Iterator[Cluster]:
    with cluster_of(servers) as made:
        yield made


def test_each_server_is_asked_until_it_serves_the_kind(cluster: Cluster, servers: list[Server]) -> None:
    every_server.await_kind(cluster, COLLECTION)
    assert [each.statuses for each in servers] == [[200], [200]]


def test_a_kind_that_a_server_never_serves_is_named_with_the_server(
    cluster: Cluster, servers: list[Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(every_server, "_KIND_SECONDS", 0.2)
    servers[1].statuses = [404]
    with pytest.raises(NotObserved, match=r"greetings is served, says .*: not within 0 s") as raised:
        every_server.await_kind(cluster, COLLECTION)
    assert servers[1].access.server in str(raised.value)


def test_what_is_no_matter_of_time_is_an_error(cluster: Cluster, servers: list[Server]) -> None:
    servers[1].statuses = [401]
    with pytest.raises(ApiError):
        every_server.await_kind(cluster, COLLECTION)


def test_a_server_that_answers_badly_may_be_behind_and_is_asked_again(cluster: Cluster, servers: list[Server]) -> None:
    servers[1].statuses = [CUT_OFF, 404, 200]
    every_server.await_kind(cluster, COLLECTION)
    assert servers[1].statuses == [200]
