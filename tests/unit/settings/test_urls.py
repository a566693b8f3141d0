"""Which texts are URLs to ask over HTTP."""

from __future__ import annotations

import pytest

from kubeproof.settings.urls import is_http


@pytest.mark.parametrize("value", ["http://host", "https://host:5000/path", "http://user:word@[2001:db8::1]:3128"])
def test_these_are(value: str) -> None:
    assert is_http(value)


@pytest.mark.parametrize(
    "value", ["", "host:80", "ftp://host", "http://", "http://host:0", "http://host:x", "http://a b"]
)
def test_these_are_not(value: str) -> None:
    assert not is_http(value)
