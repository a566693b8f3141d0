"""This machine in a host's place."""

from __future__ import annotations

import shlex
import subprocess
from types import SimpleNamespace
from typing import Any


class Local:
    """This machine, as testinfra would run commands on it."""

    def run(self, command: str, *arguments: str) -> Any:
        line = command % tuple(map(shlex.quote, arguments))
        done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=False)
        return SimpleNamespace(rc=done.returncode, stdout=done.stdout, stderr=done.stderr)
