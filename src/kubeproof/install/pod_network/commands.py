"""Programs that are run, and what those that fail have to say."""

from __future__ import annotations

import subprocess
from typing import Sequence

from kubeproof.install.pod_network.errors import PodNetworkError

_SECONDS = 30.0


def run(*command: str) -> str:
    """A program's standard output. Raises PodNetworkError."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            timeout=_SECONDS,
            check=False,
        )
    except OSError as error:
        raise PodNetworkError("%s cannot be run: %s" % (command[0], error.strerror)) from None
    except subprocess.TimeoutExpired:
        raise PodNetworkError("%s does not end" % _shown(command)) from None
    if done.returncode != 0:
        said = (done.stderr or done.stdout).decode(errors="replace").strip()
        raise PodNetworkError("%s ended with %d: %s" % (_shown(command), done.returncode, said))
    return done.stdout.decode(errors="replace")


def succeeds(*command: str) -> bool:
    """Whether a program ends with zero."""
    try:
        run(*command)
    except PodNetworkError:
        return False
    return True


def _shown(command: Sequence[str]) -> str:
    return "`%s`" % " ".join(command)
