"""Upgrades are shown while they run, and their clusters are removed however the tests end."""

from __future__ import annotations

import pytest
from tests import disposable_cluster, observed

tell = observed.tell


def pytest_configure(config: pytest.Config) -> None:
    disposable_cluster.repair_when_ended()
    config.option.verbose = config.option.verbose or -1
