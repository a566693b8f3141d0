"""Upgrades are shown while they run, and their clusters are removed however the tests end."""

from __future__ import annotations

import pytest
from tests import observed

from kubeproof.core.process import interrupt_when_ended

tell = observed.tell


def pytest_configure(config: pytest.Config) -> None:
    interrupt_when_ended()
    config.option.verbose = config.option.verbose or -1
