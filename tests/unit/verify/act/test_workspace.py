"""Namespaces go, also if the server that is asked does not answer at first."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from kubeproof.verify.act import workspace
from kubeproof.verify.act.workspace import remove_namespaces


class Hanging:
    """An API of which so many deletions time out first."""

    def __init__(self, times: int) -> None:
        self.times = times
        self.deleted: list[str] = []
        self.seen: list[str] = []

    def delete(self, path: str) -> None:
        if self.times:
            self.times -= 1
            raise httpx.ReadTimeout("The read operation timed out")
        self.deleted.append(path)

    def observe(self, path: str, until: Any, **_: Any) -> None:
        """Pods are gone at once."""
        assert until([])
        self.seen.append(path)

    def request(self, method: str, path: str, *_: Any, **__: Any) -> None:
        self.seen.append(f"{method} {path}")

    def observe_gone(self, *_: Any, **__: Any) -> None:
        """It goes at once."""

    def patient(self, seconds: float) -> float:
        """Hosts are not slow."""
        return seconds


def test_a_server_that_hangs_is_asked_again() -> None:
    api: Any = Hanging(2)
    remove_namespaces(api, ["a"])
    assert api.deleted == ["/api/v1/namespaces/a", "/api/v1/namespaces/a/pods"]
    assert api.seen == ["/api/v1/namespaces/a/pods", "PATCH /api/v1/namespaces/a"]


def test_but_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workspace, "_GONE_SECONDS", -1.0)
    api: Any = Hanging(1)
    with pytest.raises(httpx.ReadTimeout):
        remove_namespaces(api, ["a"])
