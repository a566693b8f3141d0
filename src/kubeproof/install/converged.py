"""When hosts last got to the end of a run for all of their components: what one that is left behind may lack."""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from pathlib import Path

from kubeproof.core import files

_AGAIN = "Run this again once it can be reached."


class Converged:
    """The records, a file for each host, on the controller."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def keep(self, hosts: Iterable[str]) -> None:
        """Record that hosts are as the settings want them now."""
        self._directory.mkdir(parents=True, exist_ok=True)
        now = datetime.datetime.now(tz=datetime.UTC)
        for host in hosts:
            files.write(self._directory / host, now.isoformat(timespec="seconds"))

    def told(self, host: str) -> str:
        """What a host may lack, in words."""
        try:
            when = datetime.datetime.fromisoformat((self._directory / host).read_text())
        except (OSError, ValueError):
            return f"what it lacks is unknown, and so is when it last converged. {_AGAIN}"
        return f"what it lacks is unknown: it has not converged since {when:%Y-%m-%d %H:%M} UTC. {_AGAIN}"
