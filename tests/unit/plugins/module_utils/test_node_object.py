"""What a host tells of its Node object: from an API that answers its kubelet, and from the files that it was given."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils import node_object

RECORD = "var/lib/kubeproof/units/kubelet.service.json"


class Host:
    """A host below a directory, and the API that its kubelet asks."""

    def __init__(self, root: Path) -> None:
        self.root, self.code, self.body = root, 200, json.dumps({"spec": {}})
        self.asked: list[str] = []
        host = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                host.asked.append(self.path)
                self.send_response(host.code)
                self.end_headers()
                self.wfile.write(host.body.encode())

            def log_message(self, *_arguments: Any) -> None:
                """Quiet."""

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.remembers({"url": f"http://127.0.0.1:{self.server.server_port}/api/v1/nodes/w1"})

    def remembers(self, registers: Any) -> None:
        """What the kubelet's task was asked for."""
        self.file(RECORD, json.dumps({"inputs": {}, "request": {"registers": registers}}))

    def file(self, path: str, content: str) -> None:
        target = self.root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(content)

    def given(self, *networks: str) -> None:
        """The CNI configuration, as the role's template has it."""
        ipam = {"type": "host-local", "ranges": [[{"subnet": network}] for network in networks]}
        document = {"name": "kubeproof", "plugins": [{"type": "bridge", "ipam": ipam}, {"type": "portmap"}]}
        self.file(node_object.CONFIGURATION, json.dumps(document))

    @property
    def found(self) -> dict[str, Any] | None:
        found: dict[str, Any] | None = node_object.report(str(self.root))
        return found


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    made = Host(tmp_path)
    yield made
    made.server.shutdown()


@pytest.mark.parametrize(
    ("spec", "networks"),
    [
        ({"podCIDR": "10.244.1.0/24", "podCIDRs": ["10.244.1.0/24"]}, ["10.244.1.0/24"]),
        ({"podCIDR": "10.244.1.0/24", "podCIDRs": ["10.244.1.0/24", "fd00::/64"]}, ["10.244.1.0/24", "fd00::/64"]),
        ({"podCIDR": "10.244.1.0/24"}, ["10.244.1.0/24"]),
        ({}, []),
    ],
)
def test_networks_are_those_of_the_api_and_of_the_host(host: Host, spec: dict[str, Any], networks: list[str]) -> None:
    host.body = json.dumps({"spec": spec})
    assert host.found == {"there": True, "networks": networks, "given": []}
    host.given("10.244.9.0/24", "fd00:9::/64")
    assert host.found == {"there": True, "networks": networks, "given": ["10.244.9.0/24", "fd00:9::/64"]}
    assert set(host.asked) == {"/api/v1/nodes/w1"}


def test_a_node_that_was_deleted(host: Host) -> None:
    host.code, host.body = 404, json.dumps({"kind": "Status", "reason": "NotFound"})
    host.given("10.244.1.0/24")
    assert host.found == {"there": False, "networks": [], "given": ["10.244.1.0/24"]}


@pytest.mark.parametrize(
    ("code", "body"), [(403, "{}"), (503, "no server"), (200, "no JSON"), (200, "[]"), (200, "{}")]
)
def test_what_is_no_answer_says_nothing(host: Host, code: int, body: str) -> None:
    host.code, host.body = code, body
    assert host.found is None


def test_an_api_that_is_down_says_nothing(host: Host) -> None:
    host.remembers({"url": "http://127.0.0.1:1/api/v1/nodes/w1"})
    assert host.found is None


@pytest.mark.parametrize("record", [None, "{}", '{"request": []}', '{"request": {"registers": {}}}', "no JSON"])
def test_without_a_kubelet_of_ours_nobody_is_asked(host: Host, record: str | None) -> None:
    (host.root / RECORD).unlink()
    if record is not None:
        host.file(RECORD, record)
    assert (host.found, host.asked) == (None, [])


@pytest.mark.parametrize("text", ["", "{}", '{"plugins": []}', '{"plugins": [{"type": "flannel"}]}'])
def test_a_configuration_of_others_gives_none(host: Host, text: str) -> None:
    host.file(node_object.CONFIGURATION, text)
    assert host.found == {"there": True, "networks": [], "given": []}
