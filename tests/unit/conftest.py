"""What all unit tests share."""

from __future__ import annotations

import sys
from pathlib import Path

# Ansible puts a project's module_utils below its own package; so do the tests.
import ansible.module_utils
import pytest

ansible.module_utils.__path__.append(str(Path(__file__).parents[2] / "plugins" / "module_utils"))
sys.dont_write_bytecode = True


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options of unit tests."""
    parser.addoption("--model-runs", type=int, default=2_000, help="runs of upgrades in tests/unit/upgrade")
