"""An account that was given rights has them, at every API server, before it is used."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any, cast

import pytest
from tests.unit.answering import ApiServer, answer, cluster_of

from kubeproof.api.kubeconfig import Access, Token
from kubeproof.verify.act import accounts
from kubeproof.verify.act.accounts import Rule
from kubeproof.verify.act.workspace import LABEL, Workspace
from kubeproof.verify.observe.api import ApiError, NotObserved
from kubeproof.verify.observe.cluster import Cluster

RULES = [Rule(("get", "list"), ("pods",)), Rule(("create",), ("pods/binding",))]


class Server(ApiServer):
    """An API server that hears of rights only when it has been asked so many times."""

    def __init__(self, deaf_for: int = 0) -> None:
        super().__init__(_Handler)
        self.deaf_for = deaf_for
        self.reviews: list[dict[str, Any]] = []
        self.created: list[tuple[str, dict[str, Any]]] = []
        self.refusals: list[int] = []


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not self.path.endswith("/subjectaccessreviews"):
            self.server.created.append((self.path, body))
            answer(self, 201, body)
        elif self.server.refusals:
            answer(self, self.server.refusals.pop(), {"message": "refused"})
        else:
            self.server.reviews.append(body["spec"])
            answer(self, 201, {"status": {"allowed": len(self.server.reviews) > self.server.deaf_for}})

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def servers() -> list[Server]:
    return [Server(), Server(deaf_for=3)]


@pytest.fixture
def cluster(servers: list[Server]) -> Iterator[Cluster]:
    with cluster_of(servers) as made:
        yield made


def test_each_server_is_asked_until_it_has_heard(cluster: Cluster, servers: list[Server]) -> None:
    accounts.allow(cluster, "ours", "reader", RULES)
    assert [len(each.reviews) for each in servers] == [1, 4]
    [review] = servers[0].reviews
    assert review["user"] == "system:serviceaccount:ours:reader"
    assert "system:serviceaccounts:ours" in review["groups"]
    assert review["resourceAttributes"] == {"verb": "get", "group": "", "resource": "pods", "namespace": "ours"}
    assert [path.rsplit("/", 2)[1:] for path, _ in servers[0].created] == [["ours", "roles"], ["ours", "rolebindings"]]


def test_rights_elsewhere_are_labelled_and_asked_for_there(cluster: Cluster, servers: list[Server]) -> None:
    workspace = Workspace(cluster.api)
    accounts.allow_elsewhere(cluster, workspace, "ours", "reader", RULES, "kube-system")
    accounts.allow_everywhere(cluster, workspace, "ours", "reader", RULES)
    assert [each["resourceAttributes"]["namespace"] for each in servers[0].reviews] == ["kube-system", ""]
    labels = [body["metadata"]["labels"] for _, body in servers[0].created]
    assert labels == [{LABEL: workspace.run_id}] * 4


def test_rights_that_never_come_are_named(
    cluster: Cluster, servers: list[Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accounts, "_RIGHTS_SECONDS", 0.2)
    servers[1].deaf_for = 1000
    with pytest.raises(NotObserved, match=r"ours:reader may get pods in ours, says .*: not within 0 s") as raised:
        accounts.allow(cluster, "ours", "reader", RULES)
    assert servers[1].access.server in str(raised.value)


def test_a_server_that_is_down_is_not_waited_for(cluster: Cluster, servers: list[Server]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as once:
        port = once.getsockname()[1]
    down = Access(f"http://127.0.0.1:{port}", "", Token("secret"))
    cast(Any, cluster).each_access = lambda: [down, servers[1].access]
    accounts.allow(cluster, "ours", "reader", RULES)
    assert len(servers[1].reviews) == 4


def test_a_server_without_its_store_is_asked_again(cluster: Cluster, servers: list[Server]) -> None:
    servers[1].refusals = [503, 429]
    accounts.allow(cluster, "ours", "reader", RULES)
    assert len(servers[1].reviews) == 4


def test_a_server_that_knows_no_such_question_is_an_error(cluster: Cluster, servers: list[Server]) -> None:
    servers[0].refusals = [404]
    with pytest.raises(ApiError):
        accounts.allow(cluster, "ours", "reader", RULES)
