"""What tests of observers share."""

from __future__ import annotations

import pytest
from tests.unit.verify.observe.this_machine import Local

from kubeproof.verify.observe.hosts import Host


@pytest.fixture
def here() -> Host:
    return Host("here", frozenset(), "127.0.0.1", Local())
