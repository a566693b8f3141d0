"""Downloads against a server that misbehaves."""

from __future__ import annotations

import socket
import ssl
import threading
from pathlib import Path

import pytest
from tests.unit.components.release_host import Page, ReleaseHost, sha256

from kubeproof.components.download import Downloader, DownloadError, ProxyError

BODY = b"0123456789" * 100_000


def nothing(_done: int, _total: int) -> None:
    """Progress that nobody looks at."""


def test_a_file_and_its_digest(server: ReleaseHost, downloader: Downloader, tmp_path: Path) -> None:
    server.pages["/file"] = Page(BODY)
    seen: list[tuple[int, int]] = []
    digest = downloader.file(f"{server.url}/file", tmp_path / "file", lambda done, total: seen.append((done, total)))
    assert digest == sha256(BODY)
    assert (tmp_path / "file").read_bytes() == BODY
    assert seen[-1] == (len(BODY), len(BODY))


def test_an_error_that_may_pass_is_tried_again(server: ReleaseHost, downloader: Downloader, tmp_path: Path) -> None:
    server.pages["/file"] = Page(BODY, failures=2, failure=503)
    assert downloader.file(f"{server.url}/file", tmp_path / "file", nothing) == sha256(BODY)
    assert server.asked["/file"] == 3


def test_an_error_that_stays_is_said_with_the_number_of_tries(server: ReleaseHost, downloader: Downloader) -> None:
    server.pages["/file"] = Page(BODY, status=500)
    with pytest.raises(DownloadError, match=r"/file: 500 Internal Server Error \(tried 3 times\)"):
        downloader.text(f"{server.url}/file")


@pytest.mark.parametrize("status", [403, 404, 410])
def test_a_refusal_is_final(server: ReleaseHost, downloader: Downloader, tmp_path: Path, status: int) -> None:
    server.pages["/file"] = Page(b"", status=status)
    with pytest.raises(DownloadError, match=f"/file: {status} ") as error:
        downloader.file(f"{server.url}/file", tmp_path / "file", nothing)
    assert (error.value.status, server.asked["/file"]) == (status, 1)


def test_a_body_that_ends_early_is_an_error(server: ReleaseHost, downloader: Downloader, tmp_path: Path) -> None:
    server.pages["/file"] = Page(BODY, promised=len(BODY) + 1)
    with pytest.raises(DownloadError, match="tried 3 times"):
        downloader.file(f"{server.url}/file", tmp_path / "file", nothing)


def test_a_server_that_stops_sending_is_given_up(server: ReleaseHost, downloader: Downloader, tmp_path: Path) -> None:
    server.pages["/file"] = Page(BODY, pause=2.0)
    with pytest.raises(DownloadError, match="timed out"):
        downloader.file(f"{server.url}/file", tmp_path / "file", nothing)


def test_a_redirect_is_followed(server: ReleaseHost, downloader: Downloader) -> None:
    server.pages["/old"] = Page(b"", status=302, headers={"Location": "/new"})
    server.pages["/new"] = Page(b"here")
    assert downloader.text(f"{server.url}/old") == "here"


def test_a_page_in_place_of_a_checksum_is_not_read_to_its_end(server: ReleaseHost, downloader: Downloader) -> None:
    server.pages["/sums"] = Page(b"<html>" * 1_000_000)
    with pytest.raises(DownloadError, match="too long"):
        downloader.text(f"{server.url}/sums")


def test_a_host_answers(server: ReleaseHost, downloader: Downloader) -> None:
    server.pages["/there"] = Page(b"")
    server.pages["/refused"] = Page(b"", status=403)
    server.pages["/broken"] = Page(b"", status=502)
    asked = {path: downloader.answers(server.url + path) for path in ("/there", "/missing", "/refused", "/broken")}
    assert asked == {"/there": True, "/missing": True, "/refused": False, "/broken": False}


def test_a_host_that_is_not_there_does_not_answer(downloader: Downloader) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/"
        assert not downloader.answers(url)
        with pytest.raises(DownloadError, match=r"refused.*tried 3 times"):
            downloader.text(url)


def test_a_host_that_accepts_and_is_silent_does_not_answer(downloader: Downloader) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        assert not downloader.answers(f"http://127.0.0.1:{mute.getsockname()[1]}/")


def test_threads_share_no_tls(server: ReleaseHost, downloader: Downloader, monkeypatch: pytest.MonkeyPatch) -> None:
    # Set anew by httpcore for each connection, which another thread's must not be copying (python/cpython#141012).
    change = ssl.SSLContext.set_alpn_protocols
    changed: list[tuple[int, ssl.SSLContext]] = []

    def noted(context: ssl.SSLContext, protocols: list[str]) -> None:
        changed.append((threading.get_ident(), context))
        change(context, protocols)

    monkeypatch.setattr(ssl.SSLContext, "set_alpn_protocols", noted)
    both = threading.Barrier(2)

    def ask() -> None:
        both.wait(timeout=10)
        # It does not speak TLS, and that is enough: a connection has been attempted.
        assert not downloader.answers(server.url.replace("http:", "https:"))
        both.wait(timeout=10)

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({thread for thread, _ in changed}) == 2
    assert len({id(context) for _, context in changed}) == 2


@pytest.mark.parametrize(
    ("name", "value"),
    [("ALL_PROXY", "socks5://user:word@127.0.0.1:1080"), ("NO_PROXY", "[fd00::1]"), ("https_proxy", "proxy:abc")],
)
def test_proxies_that_cannot_be_used_are_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    for each in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(each, raising=False)
        monkeypatch.delenv(each.lower(), raising=False)
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv(name, value)
    for ask in (Downloader().text, Downloader().answers):
        with pytest.raises(ProxyError, match=rf"{name}.* cannot be used: ") as caught:
            ask("https://127.0.0.1:1/file")
        assert "word" not in str(caught.value)


def test_a_url_that_is_none_is_no_traceback(downloader: Downloader) -> None:
    assert not downloader.answers("https://mirror:port/file")
    with pytest.raises(DownloadError, match="https://mirror:port/file: "):
        downloader.text("https://mirror:port/file")
