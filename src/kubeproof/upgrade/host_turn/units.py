"""systemd, as far as a turn has to do with it."""

from __future__ import annotations

import contextlib
import subprocess
import time
from typing import Dict, Sequence

from kubeproof.upgrade.host_turn.errors import TurnError

TIMER = "kubeproof-put-back.timer"
_SECONDS = 300
_POLL_SECONDS = 0.2


class Systemd:
    """The few calls that are needed."""

    def show(self, unit: str) -> Dict[str, str]:
        """Properties by name: ``ActiveState`` and ``InvocationID``."""
        told = self._run("show", unit, "--property=ActiveState,InvocationID")
        return dict(line.split("=", 1) for line in told.splitlines() if "=" in line)

    def reload(self) -> None:
        """Read unit files again."""
        self._run("daemon-reload")

    def restart(self, unit: str, seconds: float) -> str:
        """Restart a unit, and wait until it is active again; returns what is wrong, empty if nothing is.

        Right after the job was queued the unit may still be active as what it was: its invocation tells them apart.
        """
        try:
            before = self.show(unit)
            # After many failures systemd would refuse the start.
            subprocess.run(["systemctl", "reset-failed", unit], stderr=subprocess.DEVNULL, timeout=60, check=False)
            self._run("restart", "--no-block", unit)
        except TurnError as error:
            return str(error)
        deadline, state = time.monotonic() + seconds, ""
        while time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
            now = self.show(unit)
            state = now.get("ActiveState", "")
            if state == "active" and (before.get("ActiveState") != "active" or now != before):
                return ""
        return "%s is %s %d s after it was put back and restarted" % (unit, state, seconds)

    def stop(self, unit: str) -> None:
        """Stop a unit; there may be none."""
        with contextlib.suppress(TurnError):
            self._run("stop", unit)

    def start_timer(self) -> None:
        """Let the time run, after a reboot from its start again."""
        self.reload()
        self._run("enable", "--quiet", TIMER)
        self._run("restart", TIMER)

    def stop_timer(self) -> None:
        """Nothing is put back any more."""
        self._run("disable", "--now", "--quiet", TIMER)

    @staticmethod
    def _run(*arguments: str) -> str:
        command: Sequence[str] = ["systemctl", *arguments]
        try:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                timeout=_SECONDS,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise TurnError("`%s`: %s" % (" ".join(command), error)) from None
        if done.returncode != 0:
            said = done.stderr.decode(errors="replace").strip()
            raise TurnError("`%s` ended with %d: %s" % (" ".join(command), done.returncode, said))
        return done.stdout.decode(errors="replace")
