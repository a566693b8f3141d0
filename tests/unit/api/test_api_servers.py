"""Which of several API servers is used: real connections and TLS, on loopback."""

from __future__ import annotations

import datetime
import json
import os
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from tests.unit.answering import answer

from kubeproof.api import api_proxy, api_servers, kubeconfig
from kubeproof.api.api_servers import Health
from kubeproof.cli import kubectl
from kubeproof.core.errors import KubeproofError
from kubeproof.pki import cas
from kubeproof.pki import kubeconfig as admin
from kubeproof.verify.observe.api import connect


class Handler(BaseHTTPRequestHandler):
    """An API server as far as it says who it is, and whether it is ready."""

    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        ready = self.path != "/readyz" or self.server.ready
        answer(self, 200 if ready else 500, {"gitVersion": self.server.name})

    def log_message(self, *_: Any) -> None:
        pass


class Server(ThreadingHTTPServer):
    """One of a cluster's."""

    daemon_threads = True

    def __init__(self, name: str, context: ssl.SSLContext, *, ready: bool = True) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.name, self.ready = name, ready
        self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        self.connections: list[socket.socket] = []
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    def get_request(self) -> tuple[socket.socket, Any]:
        found: tuple[socket.socket, Any] = super().get_request()
        self.connections.append(found[0])
        return found

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.server_port}"

    def kill(self) -> None:
        """Go away with all connections, as its process does."""
        self.shutdown()
        self.socket.close()
        for each in self.connections:
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue


class Site:
    """A CA, and servers with its certificates."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self.state, self._stack = directory, stack
        cas.ensure_cas(directory / "pki", "test", datetime.timedelta(days=9))
        self.ca = cas.CA.load(directory / "pki", "kubernetes")
        key = ec.generate_private_key(ec.SECP256R1())
        spki = serialization.PublicFormat.SubjectPublicKeyInfo
        public = key.public_key().public_bytes(serialization.Encoding.PEM, spki).decode()
        wanted = cas.Wanted("kubernetes", "kube-apiserver", ("server",), addresses=("127.0.0.1", "192.0.2.1"))
        pem = directory / "server.pem"
        issued = self.ca.issue(wanted, public, datetime.datetime.now(datetime.UTC))
        pem.write_bytes(issued.encode() + cas.private_pem(key))
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(pem)

    def serve(self, name: str, *, ready: bool = True) -> Server:
        made = Server(name, self.context, ready=ready)
        self._stack.callback(made.kill)
        return made

    def hang(self) -> str:
        """The URL of one that is stopped: its host takes connections, and nothing is said."""
        listener = self._stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        return f"https://127.0.0.1:{listener.getsockname()[1]}"

    def choose(self, *servers: str, patience: float = 2.0) -> str | None:
        return api_servers.choose(servers, self.ca.pem(), patience)[0]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with ExitStack() as stack:
        yield Site(tmp_path, stack)


def closed() -> str:
    """The URL of one that is not there."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"https://127.0.0.1:{listener.getsockname()[1]}"


def test_the_first_that_is_ready_is_taken(site: Site) -> None:
    one, two, ailing = site.serve("one"), site.serve("two"), site.serve("ailing", ready=False)
    assert site.choose(one.url, two.url) == one.url
    assert site.choose(two.url, one.url) == two.url
    assert site.choose(closed(), two.url) == two.url
    assert site.choose(ailing.url, two.url) == two.url
    assert site.choose(ailing.url, closed()) == ailing.url, "what it says is to be read"
    assert site.choose(closed()) is None


def test_one_that_hangs_holds_up_nobody_for_long(site: Site) -> None:
    two, start = site.serve("two"), time.monotonic()
    assert site.choose(site.hang(), two.url, patience=20) == two.url
    assert time.monotonic() - start < 5
    assert site.choose(site.hang(), closed(), patience=0.3) is None


def test_a_stranger_is_not_taken(site: Site, tmp_path: Path) -> None:
    with ExitStack() as stack:
        stranger = Site(tmp_path / "other", stack).serve("stranger")
        assert site.choose(stranger.url) is None
        own = site.serve("own")
        assert site.choose(stranger.url, own.url) == own.url


def test_all_are_told(site: Site) -> None:
    ready, ailing, hanging, gone = site.serve("ready").url, site.serve("ailing", ready=False).url, site.hang(), closed()
    found = {each.server: each for each in api_servers.survey([ready, ailing, hanging, gone], site.ca.pem(), 1.0)}
    assert [found[each].health for each in (ready, ailing, hanging, gone)] == [
        Health.READY, Health.ANSWERS, Health.SILENT, Health.SILENT,
    ]  # fmt: skip
    assert found[gone].said == "Connection refused"
    assert found[ailing].said == "is not ready"
    assert found[hanging].said


@pytest.fixture
def served() -> Iterator[int]:
    """What a proxy serves as long as."""
    reader, writer = os.pipe()
    yield reader
    os.close(writer)
    time.sleep(0.05)
    os.close(reader)


def ask(proxy: api_proxy.Proxy, site: Site, client: httpx.Client | None = None) -> str:
    """The version that an API server says, asked for by an address that none of them has, through a proxy."""
    context = ssl.create_default_context(cadata=site.ca.pem())
    own = client or httpx.Client(proxy=proxy.url, verify=context, timeout=5, trust_env=False)
    return str(own.get("https://192.0.2.1:6443/version").json()["gitVersion"])


def test_connections_go_to_another_server_when_one_goes(site: Site, served: int) -> None:
    one, two = site.serve("one"), site.serve("two")
    proxy = api_proxy.Proxy([one.url, two.url], site.ca.pem())
    threading.Thread(target=proxy.serve, args=(served,), daemon=True).start()
    context = ssl.create_default_context(cadata=site.ca.pem())
    with httpx.Client(proxy=proxy.url, verify=context, timeout=5, trust_env=False) as client:
        assert [ask(proxy, site, client) for _ in range(3)] == ["one"] * 3
        assert len(one.connections) == 2, "one question whether it is ready, and one connection that is kept"
        one.kill()
        # As kubectl does: what is cut off is watched again.
        with suppress(httpx.HTTPError):
            ask(proxy, site, client)
        assert ask(proxy, site, client) == "two"
    assert ask(proxy, site) == "two"


def test_a_server_that_is_not_ready_any_more_is_left(site: Site, served: int) -> None:
    one, two = site.serve("one"), site.serve("two")
    proxy = api_proxy.Proxy([one.url, two.url], site.ca.pem())
    threading.Thread(target=proxy.serve, args=(served,), daemon=True).start()
    assert ask(proxy, site) == "one"
    one.ready = False
    time.sleep(1.1)
    assert ask(proxy, site) == "two"


def test_that_none_answers_is_said_where_kubectl_shows_it(site: Site, served: int) -> None:
    gone = closed()
    proxy = api_proxy.Proxy([gone], site.ca.pem())
    threading.Thread(target=proxy.serve, args=(served,), daemon=True).start()
    with pytest.raises(httpx.ProxyError, match=f"no API server answers \\({gone}: Connection refused\\)"):
        ask(proxy, site)
    assert httpx.get(proxy.url, trust_env=False).status_code == 405


BESIDE = """
import os, sys
from kubeproof.api import api_proxy
proxy = api_proxy.Proxy(sys.argv[1:2], open(sys.argv[2]).read())
api_proxy.serve_beside(proxy)
os.execvp("sh", ["sh", "-c", f"echo {proxy.url}; read _; echo done"])
"""


def test_beside_another_program_it_lasts_as_long_as_that(site: Site) -> None:
    one, trusted = site.serve("one"), site.state / "pki" / "kubernetes.crt"
    command = [sys.executable, "-c", BESIDE, one.url, str(trusted)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        url = process.stdout.readline().strip()
        context = ssl.create_default_context(cadata=site.ca.pem())
        with httpx.Client(proxy=url, verify=context, trust_env=False) as client:
            assert client.get("https://192.0.2.1:6443/version").json() == {"gitVersion": "one"}
            assert process.communicate("\n", timeout=5)[0] == "done\n"
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), timeout=1).close()
        except ConnectionRefusedError:
            return
        except ConnectionResetError:
            # Its socket is being closed with this connection in its queue.
            pass
        time.sleep(0.02)
    pytest.fail("the proxy has outlived what it was for")


def write(site: Site, **servers: str) -> Path:
    first = next(iter(servers.values()))
    admin.ensure_kubeconfig(site.state, admin.Target("test", first, servers))
    return site.state / "admin.kubeconfig"


def test_a_kubeconfigs_other_contexts_lead_to_the_same_cluster(site: Site) -> None:
    path = write(site, cp1="https://192.0.2.1:6443", cp2="https://192.0.2.2:6443")
    found = kubeconfig.load_all(path)
    assert [each.server for each in found] == ["https://192.0.2.1:6443", "https://192.0.2.2:6443"]
    assert found[0] == kubeconfig.load(path)
    document = yaml.safe_load(path.read_text())
    # Somebody else's cluster, and another user of this one.
    document["clusters"].append({"name": "far", "cluster": {"server": "https://far", "certificate-authority-data": ""}})
    document["contexts"].append({"name": "far", "context": {"cluster": "far", "user": "kubeproof-admin"}})
    document["contexts"].append({"name": "guest", "context": {"cluster": "test-cp2", "user": "guest"}})
    document["current-context"] = "test-cp2"
    path.write_text(yaml.safe_dump(document))
    assert [each.server for each in kubeconfig.load_all(path)] == ["https://192.0.2.2:6443", "https://192.0.2.1:6443"]


def test_a_verification_takes_a_server_that_is_ready(site: Site) -> None:
    one, two = site.serve("one", ready=False), site.serve("two")
    accesses = kubeconfig.load_all(write(site, cp1=one.url, cp2=two.url))
    with connect(*accesses) as api:
        assert api.access.server == two.url
    one.kill()
    two.kill()
    with pytest.raises(KubeproofError, match=f"the API at {one.url}, {two.url} cannot be reached from here"):
        connect(*accesses)


def test_kubectl_is_given_the_proxy_where_there_are_several_servers(
    site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ended: list[tuple[Any, ...]] = []
    (tmp_path / "hosts.yml").write_text("etcd: {hosts: {cp1: }}\n")
    kept = tmp_path / ".kubeproof"
    kept.mkdir()
    (site.state / "pki").rename(kept / "pki")
    site.state = kept
    monkeypatch.setattr(kubectl, "binary", lambda _state: Path("/kubectl"))
    monkeypatch.setattr(os, "execve", lambda *call: ended.append(call))
    monkeypatch.setattr(api_proxy, "serve_beside", lambda _proxy: None)
    given = ["-i", str(tmp_path / "hosts.yml"), "get", "nodes"]

    config = write(site, cp1="https://192.0.2.1:6443")
    kubectl.run(given)
    config = write(site, cp1="https://192.0.2.1:6443", cp2="https://192.0.2.2:6443")
    kubectl.run(given)
    kubectl.run([*given[:2], "config", "view"])

    alone, several, change = (call[2]["KUBECONFIG"] for call in ended)
    assert alone == change == str(config)
    first, _, second = several.partition(":")
    assert second == str(config)
    (entry,) = json.loads(Path(first).read_text())["clusters"]
    assert entry["name"] == "test"
    assert entry["cluster"]["server"] == "https://192.0.2.1:6443", "kubectl's cache of what there is goes by it"
    assert entry["cluster"]["proxy-url"].startswith("http://127.0.0.1:")
