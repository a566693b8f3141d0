"""How faults are put into a cluster: which, how many, against which cluster, and what is kept of it."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from kubeproof import paths
from kubeproof.errors import KubeproofError
from kubeproof.faults.campaign import Campaign
from kubeproof.faults.kinds import KINDS, Kind
from kubeproof.inventory import Inventory
from kubeproof.verify import breakable, cluster
from kubeproof.verify.cluster import Cluster
from kubeproof.verify.pods import Setting
from kubeproof.verify.workspace import Workspace

DEFAULT = paths.PROJECT / "inventory" / "ha" / "hosts.yml"


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("kubeproof", "faults")
    group.addoption("--inventory", type=Path, default=DEFAULT, help="whose cluster (default: inventory/ha/hosts.yml)")
    group.addoption("--count", type=int, default=len(KINDS), help="how many faults (default: one of each kind)")
    group.addoption("--minutes", type=float, default=60, help="after which no further one begins (default: 60)")
    group.addoption("--seed", type=int, default=1, help="decides their order and whom they hit (default: 1)")
    group.addoption("--kind", action="append", default=[], help="only faults of this kind; may be repeated")
    group.addoption(
        "--i-can-lose-this-cluster", action="store_true", help="its hosts are not the local ones; break it anyway"
    )


def pytest_configure(config: pytest.Config) -> None:
    signal.signal(signal.SIGTERM, _interrupt)
    config.option.verbose = config.option.verbose or -1


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    """An end that is asked for is one with a repair, as on an interrupt from the keyboard."""
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


@pytest.fixture(scope="session")
def tell(pytestconfig: pytest.Config) -> Callable[[str], None]:
    """Shows a line."""
    reporter: Any = pytestconfig.pluginmanager.get_plugin("terminalreporter")

    capture: Any = pytestconfig.pluginmanager.get_plugin("capturemanager")

    def show(line: str) -> None:
        # Now, not when the test is over.
        with capture.global_and_fixture_disabled():
            reporter.ensure_newline()
            reporter.write_line(line)

    return show


@pytest.fixture(scope="session")
def campaign(lab: Cluster, tell: Callable[[str], None]) -> Iterator[Campaign]:
    """Faults into this cluster; what they need there is removed at the end."""
    with Workspace(lab.api) as work:
        image = cluster.recorded_image(lab.inventory, lab.nodes)
        setting = Setting(work.namespace(), image, nodes=tuple(node.name for node in lab.nodes))
        with closing(Campaign(lab, work, setting, tell)) as campaign:
            yield campaign


@pytest.fixture(scope="session")
def kinds(pytestconfig: pytest.Config) -> tuple[Kind, ...]:
    """The kinds that are asked for."""
    wanted = pytestconfig.getoption("kind")
    unknown = set(wanted) - {kind.name for kind in KINDS}
    if unknown:
        pytest.exit(
            f"there is no kind {', '.join(sorted(unknown))}; there are {', '.join(each.name for each in KINDS)}"
        )
    return tuple(kind for kind in KINDS if not wanted or kind.name in wanted)
