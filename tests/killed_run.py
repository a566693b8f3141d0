"""Runs of playbooks that are killed on their way, as by a controller that loses power."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from kubeproof.core import paths
from kubeproof.core.environment import environment, tool

_SHOWN = 30


def kill_in(inventory: Path, name: str, task: str, seconds: float, **variables: Any) -> None:
    """Run a playbook, and kill all its processes in the middle of a task. Fails if the run ends before."""
    with _in_task(inventory, name, task, variables):
        time.sleep(seconds)


@contextmanager
def halted_in(inventory: Path, name: str, task: str, **variables: Any) -> Iterator[None]:
    """Have a run of a playbook that is halted in a task; killed at the end."""
    with _in_task(inventory, name, task, variables) as group:
        os.killpg(group, signal.SIGSTOP)
        yield


@contextmanager
def _in_task(inventory: Path, name: str, task: str, variables: dict[str, Any]) -> Iterator[int]:
    """Run a playbook up to a task, and kill all its processes at the end; their group."""
    seen: list[str] = []
    with _started(inventory, name, variables) as process:
        try:
            assert process.stdout
            for line in process.stdout:
                seen.append(line)
                if line.startswith("TASK [") and task in line:
                    break
            else:
                raise AssertionError(f"the run ended before {task!r}:\n{''.join(seen[-_SHOWN:])}")
            yield process.pid
        finally:
            _kill(process.pid)


def tasks_of(inventory: Path, name: str, **variables: Any) -> int:
    """Run a playbook to its end; returns how many tasks it had. Fails if it fails, or has changed nothing."""
    with _started(inventory, name, variables) as process:
        assert process.stdout
        seen = process.stdout.readlines()
    ended = "".join(seen[-_SHOWN:])
    assert process.returncode == 0, ended
    assert re.search(r"changed=[1-9]", ended), ended
    return len(_tasks(seen))


def kill_at(inventory: Path, name: str, number: int, seconds: float, **variables: Any) -> str:
    """Run a playbook, and kill all its processes so long after its task of this number has begun. Returns the task.

    Counted from 1, since times are others on a machine that has become idle. The task that it is killed in may be a
    later one. Fails if the run ends before.
    """
    seen: list[str] = []
    with _started(inventory, name, variables) as process:
        assert process.stdout
        for line in process.stdout:
            seen.append(line)
            number -= len(_tasks([line]))
            if not number:
                break
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            _kill(process.pid)
        seen += process.stdout.readlines()
    assert process.returncode == -signal.SIGKILL, f"the run ended before:\n{''.join(seen[-_SHOWN:])}"
    return _tasks(seen)[-1]


def _tasks(output: list[str]) -> list[str]:
    """The names of the tasks that have begun."""
    return [line.partition("[")[2].partition("]")[0] for line in output if line.startswith("TASK [")]


def _kill(leader: int) -> None:
    """Kill a process and all that it has started, also what is in a group of its own, as Ansible's workers are."""
    with suppress(ProcessLookupError):
        # So that nothing is started while it is looked for.
        os.kill(leader, signal.SIGSTOP)
    for process in [*_descendants(leader), leader]:
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


def _descendants(leader: int) -> list[int]:
    """All processes that come from a process, the first of them first."""
    children: dict[int, list[int]] = {}
    for directory in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            # Behind the program's name, which may have spaces: the state, and the parent.
            parent = int((directory / "stat").read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(directory.name))
    found = [leader]
    for process in found:
        found += children.get(process, [])
    return found[1:]


def _started(inventory: Path, name: str, variables: dict[str, Any]) -> subprocess.Popen[str]:
    command = [tool("ansible-playbook"), "--inventory", str(inventory), "--extra-vars", json.dumps(variables)]
    return subprocess.Popen(
        [*command, str(paths.PROJECT / "playbooks" / f"{name}.yml")],
        env=environment(PYTHONUNBUFFERED="1"),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
