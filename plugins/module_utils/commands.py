"""Programs that must succeed, and what those that fail have to say. Standard library only; Python 3.8 and newer."""

from __future__ import annotations

import os
import shlex
import subprocess
from typing import Dict, Optional, Sequence


class CommandFailed(RuntimeError):
    """A program ended with an error, or not at all; the message is for the operator."""


def run(
    command: Sequence[str],
    stdin: str = "",
    environment: Optional[Dict[str, str]] = None,
    timeout: Optional[float] = None,
) -> str:
    """A program's standard output. Raises CommandFailed.

    It speaks English, and has an end of file for input, never what the module reads. ``environment`` is added to this
    process's.
    """
    settings = {**os.environ, "LC_ALL": "C", **(environment or {})}
    try:
        done = subprocess.run(
            command, input=stdin.encode(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=settings,
            timeout=timeout, check=False,
        )  # fmt: skip
    except FileNotFoundError:
        raise CommandFailed("%s is not installed on this host" % command[0]) from None
    except subprocess.TimeoutExpired:
        raise CommandFailed("`%s` did not end in %.0f s" % (shlex.join(command), timeout or 0)) from None
    output = done.stdout.decode(errors="replace")
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip() or output.strip()
        raise CommandFailed("`%s` ended with %d: %s" % (shlex.join(command), done.returncode, said))
    return output
