"""An SSH session that is kept open, and asked again and again whether it still works."""

from __future__ import annotations

import subprocess
import time
from types import TracebackType
from typing import Self

from kubeproof.settings.inventory import Host
from kubeproof.settings.remote import ssh_command
from kubeproof.verify.act.repeated import Repeated

_PAUSE = 0.1
_PATIENCE = 10.0


class Session(Repeated):
    """One SSH connection of its own, on the other end of which everything that is said is said back."""

    def __init__(self, host: Host) -> None:
        super().__init__(self._talk, pause=_PAUSE, patience=_PATIENCE)
        # A connection that nobody else has a part in: a shared one would be restored by its next user.
        options = ["-o", "ControlPath=none", "-o", "BatchMode=yes"]
        # Its errors elsewhere: ssh makes what it is given non-blocking, and Ansible refuses to start with that.
        self._process = subprocess.Popen(
            [*ssh_command(host, options), "cat"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, bufsize=1,
        )  # fmt: skip
        self._last = 0.0
        self.answers = 0
        self.longest_silence = 0.0

    def __enter__(self) -> Self:
        self._ask()
        self._last = time.monotonic()
        return super().__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        # A connection that is stuck has not answered for that long.
        self.longest_silence = max(self.longest_silence, time.monotonic() - self._last)
        self._process.kill()
        self._process.wait()

    def _talk(self) -> None:
        self._ask()
        now = time.monotonic()
        self.longest_silence = max(self.longest_silence, now - self._last)
        self._last = now

    def _ask(self) -> None:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write("there?\n")
        answer = self._process.stdout.readline()
        if answer != "there?\n":
            raise ConnectionError(f"the session ended: {answer!r}")
        self.answers += 1
