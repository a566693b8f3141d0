"""The hosts of Molecule's scenario ``backup``, or of another inventory like it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests import disposable_cluster

from kubeproof.core import paths
from kubeproof.core.arguments import AppendSource
from kubeproof.settings.inventory import Inventory
from kubeproof.verify.observe.hosts import Hosts

DEFAULT = paths.PROJECT / "molecule" / "backup" / "hosts.yml"


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("kubeproof", "copies of backups")
    group.addoption(
        "--inventory",
        action=AppendSource,
        type=Path,
        default=(DEFAULT,),
        help="whose hosts (default: the scenario's)",
    )
    group.addoption("--prepare", action="store_true", help="only make the place where copies go")


@pytest.fixture(scope="session")
def described(pytestconfig: pytest.Config) -> Inventory:
    return disposable_cluster.load(pytestconfig.getoption("inventory"), regardless=False)


@pytest.fixture(scope="session")
def hosts(described: Inventory) -> Iterator[Hosts]:
    with Hosts(described) as found:
        found.check()
        yield found


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    preparing = config.getoption("--prepare")
    skip = pytest.mark.skip(reason="--prepare" if preparing else "only with --prepare")
    for item in items:
        if ("prepare" in item.name) != preparing:
            item.add_marker(skip)
