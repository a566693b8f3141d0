"""``kubeproof test``: what its checks of a cluster look at."""

from __future__ import annotations

import io
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from kubeproof.cli import test as command


@pytest.mark.parametrize(
    ("said", "upgraded"),
    [
        ({"cluster": "CNI bridge plugin v1.9.1", "upgrade": "CNI bridge plugin v1.10.0"}, True),
        # Each run succeeds, and one of them has done nothing.
        ({"cluster": "CNI bridge plugin v1.10.0", "upgrade": "CNI bridge plugin v1.10.0"}, False),
        ({"cluster": "CNI bridge plugin v1.9.1", "upgrade": "CNI bridge plugin v1.9.1"}, False),
    ],
)
def test_an_upgrade_that_changes_nothing_is_none(
    said: dict[str, str], upgraded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    last: list[str] = []

    def play(name: str, *_: Any) -> Any:
        last.append(name)
        return SimpleNamespace(ok=True)

    monkeypatch.setattr("kubeproof.install.playbook.run", play)
    monkeypatch.setattr(command, "run_program", lambda _: said[last[-1]])
    told = io.StringIO()
    assert command._upgrade(Console(file=told, width=200)) is upgraded
    assert ("and was 1.9.1 before" in told.getvalue()) is upgraded
    assert ("not cni-plugins" in told.getvalue()) is not upgraded
