"""Upstream's own tests pass on a cluster that kubeproof has installed. Most of an hour for each pod network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.upstream import critest, e2e, gateway, results

from kubeproof.components.cache import Cache
from kubeproof.core.process import run
from kubeproof.settings.inventory import Inventory

pytestmark = [pytest.mark.local, pytest.mark.cluster]


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    """Shows a line at once, whatever pytest keeps of the output."""

    def shown(line: str) -> None:
        with capsys.disabled():
            print(line, flush=True)

    return shown


def test_network_policies(cell: Inventory, reports: Path, say: Callable[[str], None]) -> None:
    target = e2e.Target.of(cell.state)
    with Cache() as cache:
        left = e2e.perform(e2e.NETPOL, target, e2e.program(cache, target.version, say), reports, say)
    assert _problems(e2e.NETPOL.name, left, reports, say) == []


@pytest.mark.once
def test_container_runtime(cell: Inventory, reports: Path, tmp_path: Path, say: Callable[[str], None]) -> None:
    place = critest.Place.of(cell)
    directory = reports / critest.NAME
    directory.mkdir(exist_ok=True)
    tool = critest.busybox(say)
    applets = run([str(tool), "--list-full"]).split()
    archives = critest.images(tool, applets, e2e.architecture(), tmp_path)
    with Cache() as cache:
        left = critest.perform(place, critest.program(cache, say), archives, directory, say)
    assert _problems(critest.NAME, left, directory, say) == []


@pytest.mark.on("gateway")
def test_gateway_api(cell: Inventory, reports: Path, tmp_path: Path, say: Callable[[str], None]) -> None:
    directory = reports / gateway.NAME
    directory.mkdir(exist_ok=True)
    with Cache() as cache:
        echo, built = (gateway.program(cache, name, say) for name in ("gateway-echo", "gateway-conformance"))
        tests, steps = gateway.perform(cell, built, echo, directory, tmp_path, say)
    judgement = results.weigh(tests, steps, [each.name for each in tests], results.exceptions(gateway.NAME))
    assert _shown(judgement, directory, say) == []


def _problems(suite: str, left: e2e.Reports, directory: Path, say: Callable[[str], None]) -> list[str]:
    """What a run shows that is against upstream's suite, once its table is shown and written."""
    judgement = results.judge(left.run, results.selected(left.rehearsal), results.exceptions(suite))
    return _shown(judgement, directory, say)


def _shown(judgement: results.Judgement, directory: Path, say: Callable[[str], None]) -> list[str]:
    """What a judgement has against the suite, once its table is shown and written."""
    shown = results.table(judgement)
    (directory / "table.txt").write_text(f"{shown}\n", encoding="utf-8")
    say(shown)
    return judgement.problems
