"""Runs of playbooks that are killed on their way, as by a controller that loses power."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

from kubeproof.core import paths
from kubeproof.core.environment import environment, tool

_SHOWN = 30


def kill_in(inventory: Path, name: str, task: str, seconds: float, **variables: Any) -> None:
    """Run a playbook, and kill all its processes in the middle of a task. Fails if the run ends before."""
    command = [tool("ansible-playbook"), "--inventory", str(inventory), "--extra-vars", json.dumps(variables)]
    process = subprocess.Popen(
        [*command, str(paths.PROJECT / "playbooks" / f"{name}.yml")],
        env=environment(PYTHONUNBUFFERED="1"),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert process.stdout
    seen: list[str] = []
    with process:
        for line in process.stdout:
            seen.append(line)
            if line.startswith("TASK [") and task in line:
                time.sleep(seconds)
                break
        else:
            raise AssertionError(f"the run ended before {task!r}:\n{''.join(seen[-_SHOWN:])}")
        os.killpg(process.pid, signal.SIGKILL)
