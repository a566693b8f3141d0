"""Instances of the operator, as processes on the controller that can be killed."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from kubeproof.verify.act.application_operator import program
from kubeproof.verify.act.application_operator.program import Settings

_SOURCE = Path(__file__).resolve().parents[4]
_END_SECONDS = 10.0


class Instances:
    """Several instances with the same settings, each with an identity of its own."""

    def __init__(self, settings: Settings, identities: tuple[str, ...]) -> None:
        """Nothing runs before the ``with`` block."""
        self._settings, self._identities = settings, identities
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        environment = {**os.environ, "PYTHONPATH": str(_SOURCE)}
        for identity in self._identities:
            settings = dataclasses.replace(self._settings, identity=identity, parent=os.getpid())
            # Not as an argument: other users of this machine see those in the list of processes, and a token is in it.
            with tempfile.TemporaryFile("w+") as handed_over:
                handed_over.write(program.told(settings))
                handed_over.seek(0)
                self._processes[identity] = subprocess.Popen(
                    [sys.executable, "-m", program.__name__],
                    env=environment,
                    stdin=handed_over,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for identity in self._identities:
            self.kill(identity)

    @property
    def running(self) -> list[str]:
        """The identities of those that run."""
        return [identity for identity, process in self._processes.items() if process.poll() is None]

    def kill(self, identity: str) -> None:
        """End an instance without warning; that it has ended is fine."""
        process = self._processes.get(identity)
        if process:
            process.kill()
            process.wait(_END_SECONDS)
