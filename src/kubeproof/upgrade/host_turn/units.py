"""systemd, as far as a turn has to do with it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from typing import Callable, Dict, List, Sequence

from kubeproof.upgrade.host_turn import files
from kubeproof.upgrade.host_turn.errors import TurnError
from kubeproof.upgrade.host_turn.record import UNITS

TIMER = "kubeproof-put-back.timer"
SERVICE = "kubeproof-put-back.service"
_SECONDS = 300
_POLL_SECONDS = 0.2


class Systemd:
    """The few calls that are needed. ``directory``: of units, another one in tests."""

    def __init__(self, directory: str = UNITS) -> None:
        # A reset empties the directory: the role says that it has data.
        self._time = os.path.join(directory, TIMER + ".d", "10-turn.conf")

    def show(self, unit: str) -> Dict[str, str]:
        """Properties by name: ``ActiveState`` and ``InvocationID``."""
        return self.show_all([unit])[unit]

    def show_all(self, units: Sequence[str]) -> Dict[str, Dict[str, str]]:
        """The same of several units, by unit, in one question."""
        return dict(zip(units, self._properties(units, "ActiveState,InvocationID")))

    def reload(self) -> None:
        """Read unit files again."""
        self._run("daemon-reload")

    def restart(self, unit: str, seconds: float, started: Callable[[str], None]) -> str:
        """Restart a unit, and wait until it is active again; returns what is wrong, empty if nothing is.

        ``started`` gets the invocation, as soon as there is one. Right after the job was queued the unit may still
        be active as what it was: its invocation tells them apart.
        """
        try:
            before = self.show(unit)
            # After many failures systemd would refuse the start.
            subprocess.run(["systemctl", "reset-failed", unit], stderr=subprocess.DEVNULL, timeout=60, check=False)
            self._run("restart", "--no-block", unit)
        except TurnError as error:
            return str(error)
        known = before.get("InvocationID", "")
        deadline, state = time.monotonic() + seconds, ""
        while time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
            now = self.show(unit)
            state = now.get("ActiveState", "")
            if now.get("InvocationID", known) not in ("", known):
                known = now["InvocationID"]
                started(known)
            if state == "active" and (before.get("ActiveState") != "active" or now != before):
                return ""
        return "%s is %s %d s after it was put back and restarted" % (unit, state, seconds)

    def wait(self, unit: str, seconds: float) -> str:
        """Wait until a unit that is starting is active; returns what is wrong, empty if nothing is."""
        deadline = time.monotonic() + seconds
        while True:
            state = self.show(unit).get("ActiveState", "")
            if state == "active":
                return ""
            if time.monotonic() > deadline:
                return "%s is still %s another %d s after it was put back and restarted" % (unit, state, seconds)
            time.sleep(_POLL_SECONDS)

    def stop(self, unit: str) -> None:
        """Stop a unit; there may be none."""
        with contextlib.suppress(TurnError):
            self._run("stop", unit)

    def start_timer(self, seconds: int) -> None:
        """Let the time of a turn run, after a reboot from its start again.

        systemd reads unit files again only if there is something new in them, since that is slow.
        """
        changed = files.put(self._time, files.text("[Timer]\nOnActiveSec=\nOnActiveSec=%d\n" % seconds))
        if changed or self._stale():
            self.reload()
        self._run("enable", "--no-reload", "--quiet", TIMER)
        self._run("restart", TIMER)

    def stop_timer(self) -> None:
        """Nothing is put back any more."""
        self._run("disable", "--now", "--no-reload", "--quiet", TIMER)

    def _stale(self) -> bool:
        """Whether systemd has read the timer, or what it starts, before they were as they are now.

        A drop-in in a new directory is not in ``NeedDaemonReload``: a turn that was killed here may have left one.
        """
        timer, service = self._properties([TIMER, SERVICE], "NeedDaemonReload,DropInPaths")
        changed = "yes" in (timer.get("NeedDaemonReload"), service.get("NeedDaemonReload"))
        return changed or self._time not in timer.get("DropInPaths", "").split()

    def _properties(self, units: Sequence[str], names: str) -> List[Dict[str, str]]:
        """Properties of units by name, in the order of the units. Raises TurnError if an answer is missing."""
        told = self._run("show", "--property=" + names, "--", *units)
        blocks = [block.splitlines() for block in told.split("\n\n") if block.strip()]
        if len(blocks) != len(units):
            raise TurnError("systemctl has shown %d units, and was asked for %s" % (len(blocks), ", ".join(units)))
        return [dict(line.split("=", 1) for line in block if "=" in line) for block in blocks]

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
