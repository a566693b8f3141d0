"""What tests' servers that answer as an API server does have in common."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any, cast

from kubeproof.api.kubeconfig import Access, Token
from kubeproof.verify.observe.api import Api
from kubeproof.verify.observe.cluster import Cluster


class ApiServer(ThreadingHTTPServer):
    """One that stands for an API server, on loopback."""

    def __init__(self, handler: type[BaseHTTPRequestHandler]) -> None:
        """Listen on a port that is free."""
        super().__init__(("127.0.0.1", 0), handler)

    @property
    def access(self) -> Access:
        """How it is reached."""
        return Access(f"http://127.0.0.1:{self.server_port}", "", Token("secret"))


@contextmanager
def cluster_of(servers: Sequence[ApiServer]) -> Iterator[Cluster]:
    """A cluster with these API servers, which run; the first one is what its load balancer leads to."""
    with ExitStack() as stack:
        for each in servers:
            threading.Thread(target=stack.enter_context(each).serve_forever, daemon=True).start()
            stack.callback(each.shutdown)
        api = stack.enter_context(Api(servers[0].access))
        accesses = [each.access for each in servers]
        yield cast(Cluster, SimpleNamespace(api=api, each_access=lambda: accesses))


def answer(handler: BaseHTTPRequestHandler, status: int, body: dict[str, Any]) -> None:
    """Answer a request with JSON."""
    content = json.dumps(body).encode()
    handler.send_response(status)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", str(len(content)))
    handler.end_headers()
    handler.wfile.write(content)
