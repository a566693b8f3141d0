"""An SSH session that is kept open, and asked again and again whether it still works."""

from __future__ import annotations

import subprocess
import threading
import time
from types import TracebackType
from typing import Self

from kubeproof.settings.inventory import Host
from kubeproof.settings.remote import ssh_command

_PAUSE = 0.1


class Session:
    """One SSH connection of its own, on the other end of which everything that is said is said back."""

    def __init__(self, host: Host) -> None:
        # A connection that nobody else has a part in: a shared one would be mended by whoever uses it next.
        options = ["-o", "ControlPath=none", "-o", "BatchMode=yes"]
        # Its errors elsewhere: ssh makes what it is given non-blocking, and Ansible refuses to start with that.
        self._process = subprocess.Popen(
            [*ssh_command(host, options), "cat"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, bufsize=1,
        )  # fmt: skip
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._talk, daemon=True)
        self._last = 0.0
        self.answers = 0
        self.longest_silence = 0.0

    def __enter__(self) -> Self:
        self._ask()
        self._last = time.monotonic()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join(timeout=10)
        # A connection that is stuck has not answered for that long.
        self.longest_silence = max(self.longest_silence, time.monotonic() - self._last)
        self._process.kill()
        self._process.wait()

    def _talk(self) -> None:
        while not self._over.wait(_PAUSE):
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
