"""The resolver of the verification: a real server on loopback, asked as hosts ask."""

from __future__ import annotations

import base64
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tests.unit.verify.observe.this_machine import Local

from kubeproof.verify.act import outside_resolver
from kubeproof.verify.observe import dns, runtime
from kubeproof.verify.observe.cluster import Cluster
from kubeproof.verify.observe.hosts import Host, NotObservable, packed

PROGRAM = Path(outside_resolver.__file__).parent / "dns_responder.py"
ZONE = "1234.outside.kubeproof.test"
HOST = Host("one", frozenset(), "127.0.0.1", Local())


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    number = free_port()
    heard = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    heard.bind(str(tmp_path / "notify"))
    heard.settimeout(20)
    command = [sys.executable, "-c", packed(PROGRAM), "127.0.0.1", str(number), ZONE, outside_resolver.ANSWER]
    environment = {**os.environ, "RUNTIME_DIRECTORY": str(tmp_path), "NOTIFY_SOCKET": str(tmp_path / "notify")}
    with subprocess.Popen(command, env=environment) as server:
        try:
            assert heard.recv(64) == b"READY=1"
            yield number
        finally:
            server.terminate()
            heard.close()


def ask(port: int, name: str, kind: int = dns.A, do: str = "datagram") -> dns.Answer:
    question = dns.ask(name, kind)
    data = base64.b64encode(question.message).decode()
    [answer] = HOST.probe({"do": do, "address": "127.0.0.1", "port": port, "data": data})
    return dns.read(question, base64.b64decode(answer["data"]))


@pytest.mark.parametrize("do", ["datagram", "framed"])
def test_names_in_the_zone_have_one_address(port: int, do: str, tmp_path: Path) -> None:
    assert ask(port, f"Name.{ZONE}", do=do) == dns.Answer(dns.NOERROR, (outside_resolver.ANSWER,), ())
    assert ask(port, f"name.{ZONE}", kind=dns.SRV, do=do) == dns.Answer(dns.NOERROR, (), ())
    for missing in (f"none.name.{ZONE}", "name.svc.cluster.local", f"x{ZONE}", "test"):
        assert ask(port, missing, do=do) == dns.Answer(dns.NXDOMAIN, (), ())
    protocol = "udp" if do == "datagram" else "tcp"
    asked = (tmp_path / "questions").read_text().splitlines()
    assert asked[0] == f"{protocol} name.{ZONE}"
    assert f"{protocol} name.svc.cluster.local" in asked


def test_several_questions_over_one_connection(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=5) as sock, sock.makefile("rb") as stream:
        for number in range(3):
            question = dns.ask(f"{number}.{ZONE}", dns.A)
            sock.sendall(len(question.message).to_bytes(2, "big") + question.message)
            answer = stream.read(int.from_bytes(stream.read(2), "big"))
            assert dns.read(question, answer).addresses == (outside_resolver.ANSWER,)


def test_what_is_no_question_is_not_answered(port: int) -> None:
    for data in (
        b"",
        b"short",
        dns.ask("a.test", dns.A).message[:2] + b"\x80\0" + dns.ask("a.test", dns.A).message[4:],
    ):
        request = {"do": "datagram", "address": "127.0.0.1", "port": port, "timeout": 0.3}
        [answer] = HOST.probe({**request, "data": base64.b64encode(data).decode()})
        assert "error" in answer
    assert ask(port, f"name.{ZONE}").addresses


def test_a_server_that_is_silent_over_tcp_is_said_to_be() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        data = base64.b64encode(dns.ask("a.test", dns.A).message).decode()
        request = {"do": "framed", "address": "127.0.0.1", "port": server.getsockname()[1], "data": data}
        [answer] = HOST.probe({**request, "timeout": 0.2})
    assert "timed out" in answer["error"].lower() or "timeout" in answer["error"].lower()


class Somewhere:
    """A cluster whose CoreDNS has a configuration, with hosts of its own and files in its pods."""

    def __init__(self, corefile: str, file: str = "", addresses: tuple[str, ...] = ("127.0.0.1",)) -> None:
        self.hosts = SimpleNamespace(
            all=[Host(f"h{n}", frozenset(), each, Local()) for n, each in enumerate(addresses)]
        )
        self.nodes: list[Any] = []
        metadata = {"name": "coredns-1", "uid": "u"}
        ready = {"conditions": [{"type": "Ready", "status": "True"}]}
        pod = {"metadata": metadata, "spec": {"nodeName": "h0"}, "status": ready}
        self.api = SimpleNamespace(get=lambda _: {"data": {"Corefile": corefile}}, items=lambda *_, **__: [pod])
        self._file = file

    def node(self, _: str) -> Any:
        return SimpleNamespace(host=SimpleNamespace(run=lambda *_: self._file))

    @property
    def cluster(self) -> Cluster:
        return cast(Cluster, self)


def test_servers_are_those_of_the_configuration_and_of_files_in_pods(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "process", lambda *_: 7)
    block = ".:53 {\n  forward . /etc/resolv.conf 192.0.2.1\n}\n"
    found = outside_resolver.asked(Somewhere(block, "search a\nnameserver 10.0.0.1\nnameserver 10.0.0.2\n").cluster)
    assert found == ["10.0.0.1", "10.0.0.2", "192.0.2.1"]
    assert outside_resolver.asked(Somewhere(".:53 {\n  errors\n}\n").cluster) == []


@pytest.mark.parametrize(
    "server", ["192.0.2.1", "192.0.2.1:5353", "tls://127.0.0.1", "resolver.example", "127.0.0.1:x"]
)
def test_the_servers_of_others_are_left_alone(server: str) -> None:
    somewhere = Somewhere("")
    with (
        pytest.raises(NotObservable, match=r"whose answers are not known here; .*dns_stub_domains"),
        outside_resolver.answering(somewhere.cluster, [server]),
    ):
        pass


def test_an_address_that_is_taken_is_left_alone() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        server = f"127.0.0.1:{taken.getsockname()[1]}"
        with (
            pytest.raises(NotObservable, match=r"is not free for a resolver of the test \(.*in use.*dns_stub_domains"),
            outside_resolver.answering(Somewhere("").cluster, [server]),
        ):
            time.sleep(0)
