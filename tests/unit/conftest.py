"""What all unit tests share."""

from __future__ import annotations

import sys
from pathlib import Path

# Ansible puts a project's module_utils below its own package; so do the tests.
import ansible.module_utils

ansible.module_utils.__path__.append(str(Path(__file__).parents[2] / "plugins" / "module_utils"))
sys.dont_write_bytecode = True
