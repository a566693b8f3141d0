"""What suites share that break a cluster: whose it is, that it may be lost, and an end that repairs it first."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import pytest
from tests import breakable

from kubeproof.core.arguments import AppendSource
from kubeproof.core.errors import KubeproofError
from kubeproof.settings.inventory import Inventory
from kubeproof.verify.observe.cluster import Cluster


def add_options(group: pytest.OptionGroup, default: Path, described_as: str) -> None:
    """Options that say which cluster is broken."""
    group.addoption(
        "--inventory",
        action=AppendSource,
        type=Path,
        default=(default,),
        help=f"whose cluster (default: {described_as})",
    )
    group.addoption(
        "--i-can-lose-this-cluster", action="store_true", help="its hosts are not the local ones; break it anyway"
    )


def repair_when_ended() -> None:
    """Take an end that is asked for like an interrupt from the keyboard, after which all is undone."""
    signal.signal(signal.SIGTERM, _interrupt)


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


@pytest.fixture(scope="session")
def described(pytestconfig: pytest.Config) -> Inventory:
    """The inventory, of hosts that are there to be broken."""
    try:
        return breakable.load(
            pytestconfig.getoption("inventory"), regardless=pytestconfig.getoption("i_can_lose_this_cluster")
        )
    except KubeproofError as error:
        pytest.exit(str(error), returncode=pytest.ExitCode.USAGE_ERROR)


@pytest.fixture(scope="session")
def lab(described: Inventory) -> Iterator[Cluster]:
    """The cluster that is broken."""
    try:
        with breakable.opened(described) as found:
            yield found
    except KubeproofError as error:
        pytest.exit(f"nothing could be broken: {error}", returncode=pytest.ExitCode.USAGE_ERROR)
