"""Running etcd's programs, and what one that failed had to say.

Standard library only, Python 3.8 and newer, and nothing of this package: Ansible's modules on the host have it too, as
``plugins/module_utils/running.py``, which is a link to this file.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Callable, Dict, Sequence

_PROXIES = ("http_proxy", "https_proxy", "all_proxy")
_LONGEST = 500


def environment() -> Dict[str, str]:
    """Without what etcd's programs would take from it, which is nobody's to set from there.

    That is their own settings, and proxies: none has anything to do between the cluster's own addresses.
    """
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("ETCD") and name.lower() not in _PROXIES
    }


def run(
    command: Sequence[str],
    timeout: float,
    failure: Callable[[str], Exception],
    before: Callable[[], None] | None = None,
) -> str:
    """A program's standard output. If it can't be had, ``failure`` of what was in the way is raised.

    ``before`` is called in the new process, before it becomes the program.
    """
    name = Path(command[0]).name
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(),
            timeout=timeout,
            check=False,
            preexec_fn=before,
        )
    except subprocess.TimeoutExpired:
        raise failure("%s did not finish within %.0f s" % (name, timeout)) from None
    except OSError as error:
        raise failure("%s cannot be run: %s" % (command[0], error.strerror)) from None
    if done.returncode != 0:
        raise failure("%s exited with %d: %s" % (name, done.returncode, last_words(done.stderr or done.stdout)))
    return done.stdout.decode(errors="replace")


def last_words(output: bytes) -> str:
    """The last line of what a program said; of etcd's own log lines the error in it."""
    lines = [line for line in output.decode(errors="replace").splitlines() if line.strip()]
    for line in reversed(lines):
        if not line.startswith("{"):
            return line.strip()[:_LONGEST]
    return _logged(lines[-1]) if lines else "it said nothing"


def _logged(line: str) -> str:
    try:
        entry = json.loads(line)
        return ": ".join(str(entry[name]) for name in ("msg", "error") if name in entry)[:_LONGEST]
    except (ValueError, TypeError):
        return line[:_LONGEST]
