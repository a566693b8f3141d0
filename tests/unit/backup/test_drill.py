"""Which backup a drill restores, and how it ends. What it does is tested with a real etcd, in tests/backup."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from tests.unit.backup import made
from tests.unit.restore import made as backups_made

from kubeproof.backup.agent import backups, drill
from kubeproof.backup.agent.configuration import Configuration
from kubeproof.backup.agent.records import Records

HOUR, DAY = 3600.0, 86400.0


@pytest.fixture
def configuration(tmp_path: Path) -> Configuration:
    return made.configuration(tmp_path)


def backup(configuration: Configuration, ago: float) -> str:
    name = backups.name(time.time() - ago, configuration.host)
    return backups_made.backup(configuration.directory, name=name).name


def proven(configuration: Configuration, name: str) -> None:
    with Records(configuration.state).changing() as status:
        status["proven"] = {"name": name}


def chosen(configuration: Configuration) -> str:
    path = drill._choose(configuration, None)
    return path.name if path else ""


def test_the_newest_is_restored_unless_it_is_proven(configuration: Configuration) -> None:
    backup(configuration, 2 * HOUR)
    newest = backup(configuration, HOUR)
    assert chosen(configuration) == newest
    proven(configuration, newest)
    assert drill.drill(configuration) == f"nothing to do: {newest}, the newest here, is proven"


def test_one_from_the_future_is_not_the_newest(configuration: Configuration) -> None:
    ahead = backup(configuration, -30 * DAY)
    # As long as there is no other, it is what there is.
    assert chosen(configuration) == ahead
    proven(configuration, ahead)
    assert chosen(configuration) == ""
    newest = backup(configuration, HOUR)
    assert chosen(configuration) == newest
    found = backups.newest(configuration.directory)
    assert found is not None
    assert found.name == newest
    # A clock may be a little ahead of another.
    assert backup(configuration, -60) == chosen(configuration)
