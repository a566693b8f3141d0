"""The verification's own tests, called with something made in a cluster's place: their markers are the plugin's."""

from __future__ import annotations

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Know the markers without the plugin, which is of runs on clusters."""
    config.addinivalue_line("markers", "claim(id): the claim that a test proves")
    config.addinivalue_line("markers", "late: what the test looks at takes a minute to happen, by itself")
