"""The client of the API, against a server that answers as the test says."""

from __future__ import annotations

import json
import ssl
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import httpx
import pytest
import yaml
from tests.unit.answering import answer

from kubeproof.api import kubeconfig
from kubeproof.api.kubeconfig import Access, Anonymous, Certificate, Token
from kubeproof.core.errors import KubeproofError
from kubeproof.verify.act.pods import blame
from kubeproof.verify.observe import api as module
from kubeproof.verify.observe import objects
from kubeproof.verify.observe.api import Answer, Api, ApiError, NotObserved, connect, describe


def pod(name: str, revision: int, phase: str = "Pending", **status: Any) -> dict[str, Any]:
    metadata = {"name": name, "uid": f"uid-{name}", "resourceVersion": str(revision)}
    return {"kind": "Pod", "metadata": metadata, "spec": {}, "status": {"phase": phase, **status}}


class Server(BaseHTTPRequestHandler):
    """A list of pods, a watch that continues where the list ends, and a memory of what was asked."""

    protocol_version = "HTTP/1.1"
    listed: ClassVar[list[dict[str, Any]]] = []
    events: ClassVar[list[dict[str, Any]]] = []
    address: ClassVar[str] = ""
    requests: ClassVar[list[tuple[str, str, str]]] = []
    refusal: ClassVar[tuple[int, dict[str, Any]] | None] = None

    def do_GET(self) -> None:
        self.requests.append((self.command, self.path, self.headers.get("Authorization", "")))
        if "watch=1" in self.path:
            self._watch()
        elif self.refusal:
            answer(self, *self.refusal)
        else:
            answer(self, 200, {"metadata": {"resourceVersion": "10"}, "items": self.listed})

    def _watch(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Connection", "close")
        self.end_headers()
        for event in self.events:
            self.wfile.write(json.dumps(event).encode() + b"\n")
            self.wfile.flush()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[type[Server]]:
    Server.listed, Server.events, Server.requests, Server.refusal = [], [], [], None
    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as listening:
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        Server.address = f"http://127.0.0.1:{listening.server_port}"
        yield Server
        listening.shutdown()


@pytest.fixture
def api(server: type[Server]) -> Iterator[Api]:
    with Api(Access(server.address, "", Token("secret"))) as client:
        yield client


def running(items: list[dict[str, Any]]) -> bool:
    return bool(items) and all(item["status"]["phase"] == "Running" for item in items)


def test_what_is_so_already_needs_no_watch(api: Api, server: type[Server]) -> None:
    server.listed = [pod("a", 5, "Running")]
    assert api.observe("/api/v1/pods", running, what="runs", timeout=5) == server.listed
    assert len(server.requests) == 1


def test_a_watch_goes_on_where_the_list_ends(api: Api, server: type[Server]) -> None:
    server.listed = [pod("a", 5)]
    server.events = [
        {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "11"}}},
        {"type": "MODIFIED", "object": pod("a", 12, "Running")},
    ]
    [found] = api.observe("/api/v1/pods", running, what="runs", timeout=5, labelSelector="app=x")
    assert objects.revision(found) == 12
    _, path, authorization = server.requests[1]
    assert "resourceVersion=10" in path
    assert "labelSelector=app%3Dx" in path
    assert authorization == "Bearer secret"


def test_what_goes_away_is_forgotten(api: Api, server: type[Server]) -> None:
    server.listed = [pod("a", 5), pod("b", 6)]
    server.events = [
        {"type": "DELETED", "object": pod("b", 11)},
        {"type": "MODIFIED", "object": pod("a", 12, "Running")},
    ]
    found = api.observe("/api/v1/pods", running, what="runs", timeout=5)
    assert [objects.name(item) for item in found] == ["a"]


def test_what_does_not_come_is_told_with_what_was_seen_last(api: Api, server: type[Server]) -> None:
    waiting = {"name": "c", "state": {"waiting": {"reason": "ErrImagePull", "message": "no such image"}}}
    server.listed = [pod("a", 5, containerStatuses=[waiting])]
    with pytest.raises(NotObserved, match=r"pod runs: not within 1 s; .*Pod a, Pending, .*ErrImagePull no such image"):
        api.observe("/api/v1/pods", running, what="pod runs", timeout=1)


def test_a_watch_that_ends_is_begun_anew_from_a_fresh_list(api: Api, server: type[Server]) -> None:
    server.listed = [pod("a", 5)]
    server.events = [{"type": "ERROR", "object": {"message": "too old resource version"}}]
    threading.Timer(0.3, server.listed.__setitem__, [0, pod("a", 20, "Running")]).start()
    [found] = api.observe("/api/v1/pods", running, what="runs", timeout=10)
    assert objects.revision(found) == 20


def test_a_refusal_says_what_was_asked_and_why_not(api: Api, server: type[Server]) -> None:
    server.refusal = (403, {"message": "pods is forbidden"})
    with pytest.raises(ApiError, match="GET /api/v1/pods: 403 pods is forbidden"):
        api.get("/api/v1/pods")


def test_fields_of_a_refusal_are_named() -> None:
    causes = [{"field": "spec.ports[0].port", "message": "too large"}]
    assert Answer("POST /x", 422, {"details": {"causes": causes}}).fields == ("spec.ports[0].port",)
    assert Answer("POST /x", 500, "internal error").fields == ()


def test_threads_do_not_share_tls(api: Api, server: type[Server], monkeypatch: pytest.MonkeyPatch) -> None:
    """httpcore changes a context with each connection, and OpenSSL reads it meanwhile."""
    contexts = []
    made = module.tls_context

    def noted(*given: Any) -> ssl.SSLContext:
        contexts.append(made(*given))
        return contexts[-1]

    monkeypatch.setattr(module, "tls_context", noted)
    with ThreadPoolExecutor(3) as pool:
        barrier = threading.Barrier(3)

        def ask(_: int) -> None:
            barrier.wait(10)
            api.items("/api/v1/pods")
            api.items("/api/v1/pods")

        list(pool.map(ask, range(3)))
    assert len(contexts) == 3
    assert len(set(map(id, contexts))) == 3
    assert len(server.requests) == 6


def test_threads_do_not_share_connections(api: Api, server: type[Server]) -> None:
    server.listed = [pod("a", 5)]
    clients = set()

    def ask() -> None:
        api.get("/api/v1/pods")
        clients.add(id(api._client))

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ask()
    assert len(clients) == 3


def test_an_api_that_is_not_there_is_an_error_with_a_hint() -> None:
    with pytest.raises(KubeproofError, match=r"cannot be reached from here(.|\n)*is there a route"):
        connect(Access("http://127.0.0.1:1", "", Anonymous()))


def test_requests_and_watches_are_as_patient_as_the_hosts_are_slow(
    api: Api, server: type[Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = []
    for name in ("request", "stream"):
        true = getattr(httpx.Client, name)

        def noting(*arguments: Any, true: Any = true, timeout: float, **more: Any) -> Any:
            limits.append(timeout)
            return true(*arguments, timeout=timeout, **more)

        monkeypatch.setattr(httpx.Client, name, noting)
    for factor in (1.0, 4.0):
        api.patience = factor
        api.get("/api/v1/pods")
        with api.watching("/api/v1/pods", since="10", timeout=1):
            pass
    assert limits == [10, 11, 40, 41]


def test_a_watch_without_events_ends_in_time(api: Api) -> None:
    start = time.monotonic()
    with pytest.raises(NotObserved):
        api.observe("/api/v1/pods", running, what="runs", timeout=1)
    assert time.monotonic() - start < 5


def test_objects_are_described_by_what_keeps_them_back() -> None:
    item = pod("a", 1, conditions=[{"type": "PodScheduled", "status": "False", "message": "no node fits"}])
    assert describe(item) == "Pod a, Pending, PodScheduled: no node fits"


@pytest.mark.parametrize(
    ("spec", "status", "component"),
    [
        ({}, {}, "scheduler"),
        ({"nodeName": "w1"}, {}, "kubelet"),
        ({"nodeName": "w1"}, {"containerStatuses": [{"name": "c", "state": {}}]}, "runtime or pod-network"),
        ({"nodeName": "w1"}, {"containerStatuses": [{"name": "c", "state": {}}], "podIP": "10.0.0.1"}, "kubelet"),
    ],
)
def test_a_pod_that_is_not_ready_is_blamed_on_the_component_that_has_it(
    spec: dict[str, Any], status: dict[str, Any], component: str
) -> None:
    assert blame({**pod("a", 1, **status), "spec": spec}).component == component


def write_kubeconfig(path: Path, user: dict[str, Any], **cluster: Any) -> Path:
    document = {
        "current-context": "here",
        "contexts": [{"name": "here", "context": {"cluster": "this", "user": "me"}}],
        "clusters": [{"name": "this", "cluster": {"server": "https://one:6443/", **cluster}}],
        "users": [{"name": "me", "user": user}],
    }
    path.write_text(yaml.safe_dump(document))
    return path


def test_a_kubeconfig_may_name_files_beside_it(tmp_path: Path) -> None:
    for name in ("ca", "crt", "key"):
        (tmp_path / name).write_text(f"PEM of {name}")
    user = {"client-certificate": "crt", "client-key": "key"}
    access = kubeconfig.load(write_kubeconfig(tmp_path / "config", user, **{"certificate-authority": "ca"}))
    assert access == Access("https://one:6443", "PEM of ca", Certificate("PEM of crt", "PEM of key"))


def test_a_kubeconfig_may_hold_everything(tmp_path: Path) -> None:
    data = {"certificate-authority-data": "UEVN"}
    assert kubeconfig.load(write_kubeconfig(tmp_path / "config", {"token": "t"}, **data)).ca == "PEM"


@pytest.mark.parametrize("user", [{"exec": {"command": "login"}}, {"client-certificate-data": "not base64!"}])
def test_a_kubeconfig_that_cannot_be_used_is_refused(tmp_path: Path, user: dict[str, Any]) -> None:
    with pytest.raises(KubeproofError, match="config"):
        kubeconfig.load(write_kubeconfig(tmp_path / "config", user, **{"certificate-authority-data": "UEVN"}))


def test_a_kubeconfig_that_is_not_there_is_an_error_with_a_hint(tmp_path: Path) -> None:
    with pytest.raises(KubeproofError, match=r"cluster\.yml writes it"):
        kubeconfig.load(tmp_path / "none")


def test_a_server_that_is_so_new_that_it_knows_no_rights_is_asked_again(api: Api, server: type[Server]) -> None:
    server.listed = [pod("a", 5, "Running")]
    server.refusal = (403, {"message": "pods is forbidden"})
    threading.Timer(0.3, setattr, [server, "refusal", None]).start()
    [found] = api.observe("/api/v1/pods", running, what="runs", timeout=10)
    assert objects.revision(found) == 5


def test_a_server_that_goes_on_refusing_is_not_taken_for_a_cluster_that_does_nothing(
    api: Api, server: type[Server]
) -> None:
    server.refusal = (429, {"message": "storage is (re)initializing"})
    with pytest.raises(ApiError, match="429 storage"):
        api.observe("/api/v1/pods", running, what="runs", timeout=1)
