"""Upstream's own tests pass on a cluster that kubeproof has installed. Most of an hour for each pod network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.upstream import e2e, results

from kubeproof.components.cache import Cache

pytestmark = [pytest.mark.local, pytest.mark.cluster]


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    """Shows a line at once, whatever pytest keeps of the output."""

    def shown(line: str) -> None:
        with capsys.disabled():
            print(line, flush=True)

    return shown


def test_network_policies(cell: Path, reports: Path, say: Callable[[str], None]) -> None:
    target = e2e.Target.of(cell)
    with Cache() as cache:
        left = e2e.perform(e2e.NETPOL, target, e2e.program(cache, target.version, say), reports, say)
    judgement = results.judge(left.run, results.selected(left.rehearsal), results.exceptions(e2e.NETPOL.name))
    shown = results.table(judgement)
    (reports / "table.txt").write_text(f"{shown}\n", encoding="utf-8")
    say(shown)
    assert judgement.problems == []
