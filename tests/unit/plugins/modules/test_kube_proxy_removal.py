"""kube-proxy goes where Services are served without it, and is started again where they are not."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator

import pytest
from ansible.module_utils.uninstall import firewall
from ansible.module_utils.uninstall.account import Account

import kube_proxy_removal
from kube_proxy_removal import asked, removed, unserved

UNIT = "kube-proxy.service"


class Answers(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/livez" else 503)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def url() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Commands that were run; the host has no rules at all."""
    commands: list[list[str]] = []

    def run(command: list[str], *_: object, **__: object) -> str:
        commands.append(command)
        return '{"nftables": [{"table": {"family": "ip", "name": "kube-proxy"}}]}' if "list" in command else ""

    monkeypatch.setattr(kube_proxy_removal, "run", run)
    monkeypatch.setattr(firewall, "run", run)
    monkeypatch.setattr(firewall, "flavours", list)
    monkeypatch.setattr(firewall.shutil, "which", lambda name: f"/usr/sbin/{name}")
    monkeypatch.setattr(kube_proxy_removal, "POLL_SECONDS", 0.01)
    return commands


def test_it_is_asked_until_there_is_an_answer(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kube_proxy_removal, "POLL_SECONDS", 0.01)
    assert asked(f"{url}/livez", "") == ""
    assert "answered with 503" in asked(f"{url}/readyz", "")
    assert asked("http://127.0.0.1:1/livez", "").startswith("http://127.0.0.1:1/livez: ")
    answers = iter(["refused", "refused", ""])
    assert unserved(lambda: next(answers), 30) == ""
    assert unserved(lambda: "refused", 0.05) == "refused"


def test_it_goes_where_something_else_answers(ran: list[list[str]]) -> None:
    account = Account()
    assert removed(account, UNIT, lambda: "", 0) == []
    assert account.changes == [
        {"path": UNIT, "what": "stopped"},
        {"path": "nft table ip kube-proxy", "what": "removed"},
    ]
    assert ran[0] == ["systemctl", "stop", UNIT]
    assert ["systemctl", "start", UNIT] not in ran


def test_it_is_started_again_where_nothing_does(ran: list[list[str]]) -> None:
    [problem, back] = removed(Account(), UNIT, lambda: "no route", 0)
    assert "nothing answers at the address of a Service: no route" in problem
    assert back == "kube-proxy was started again"
    assert ran[-1] == ["systemctl", "start", UNIT]


def test_check_mode_changes_nothing_and_asks_nobody(ran: list[list[str]]) -> None:
    account = Account(check_mode=True)
    assert removed(account, UNIT, lambda: pytest.fail("asked"), 0) == []
    assert len(account.changes) == 2
    assert [command for command in ran if "list" not in command] == []
