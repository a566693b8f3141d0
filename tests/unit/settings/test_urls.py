"""Which texts are URLs to ask over HTTP."""

from __future__ import annotations

import pytest

from kubeproof.settings.urls import is_http, without_userinfo


@pytest.mark.parametrize("value", ["http://host", "https://host:5000/path", "http://user:word@[2001:db8::1]:3128"])
def test_these_are(value: str) -> None:
    assert is_http(value)


@pytest.mark.parametrize(
    "value", ["", "host:80", "ftp://host", "http://", "http://host:0", "http://host:x", "http://a b"]
)
def test_these_are_not(value: str) -> None:
    assert not is_http(value)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://user:word@host:5000/path@1.2", "https://host:5000/path@1.2"),
        ("https://user:w@rd@host", "https://host"),
        ("https://host/path", "https://host/path"),
        ("its first download, by TLS: a@b", "its first download, by TLS: a@b"),
    ],
)
def test_what_is_shown_of_a_url(text: str, shown: str) -> None:
    assert without_userinfo(text) == shown
