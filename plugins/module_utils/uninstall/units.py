"""systemd units of ours: stopped, disabled and forgotten; what they replaced started again."""

from __future__ import annotations

import contextlib
import os
import time
from typing import Any, Dict, List

from ansible.module_utils.commands import CommandFailed
from ansible.module_utils.transaction import SYSTEM_UNITS, directories_kept
from ansible.module_utils.uninstall.account import Account, Unfinished, run

PROPERTIES = ("Id", "LoadState", "ActiveState", "UnitFileState", "ControlGroup")
# How long units may take to stop by themselves. There is nothing that they could save, as their data goes too; but an
# API server takes its time for clients that don't hang up, or for an etcd on another host that went first.
GRACE = 2.0
POLL_SECONDS = 0.1
STAMPS = "/var/lib/systemd/timers/"
# What brings a unit back to the state that it was in before us.
AGAIN = {"enabled": "enable", "active": "start"}
State = Dict[str, str]


def parse(shown: str) -> Dict[str, State]:
    """Units by name from ``systemctl show``: blocks of ``KEY=VALUE`` with an empty line between."""
    blocks = [dict(line.split("=", 1) for line in block.splitlines()) for block in shown.split("\n\n") if block.strip()]
    return {block["Id"]: block for block in blocks}


def stamp(unit: str) -> str:
    """Where systemd keeps when a timer that is ``Persistent=`` last ran; other units have none."""
    return STAMPS + "stamp-" + unit


def disable(names: List[str], directory: str = SYSTEM_UNITS) -> None:
    """Disable units, without their directories."""
    with directories_kept(directory):
        run(["systemctl", "disable", "--quiet", "--no-reload", *names])


class Units:
    """The units that the manifest names."""

    def __init__(self, account: Account, entries: List[Dict[str, Any]]) -> None:
        self.account = account
        self.entries = [entry for entry in entries if entry["kind"] == "unit"]
        self.names = [str(entry["name"]) for entry in self.entries]

    def states(self) -> Dict[str, State]:
        """What systemd says of each."""
        return parse(run(["systemctl", "show", "--property", ",".join(PROPERTIES), *self.names])) if self.names else {}

    def cgroups(self) -> List[str]:
        """Paths of their control groups, in which processes may outlive a unit with KillMode=process."""
        states = self.states()
        return [states.get(name, {}).get("ControlGroup") or "/system.slice/" + name for name in self.names]

    def stop(self) -> None:
        """Stop and disable them, side by side, but each before what it was started after.

        systemd keeps to that order only for a unit that it is asked to stop later than those that must go first. Units
        are installed after what they need: hence the last one first.
        """
        running = self._running()[::-1]
        self.account.undo_all(running, "stopped", lambda: self._stop(running))
        if not self.account.check_mode and self._running():
            raise Unfinished("still running: %s" % ", ".join(self._running()))
        enabled = [name for name, state in self.states().items() if state["UnitFileState"].startswith("enabled")]
        self.account.undo_all(enabled, "disabled", lambda: disable(enabled))
        for path in filter(os.path.exists, map(stamp, self.names)):
            self.account.undo(path, "removed", lambda gone=path: os.unlink(gone))

    def _stop(self, names: List[str]) -> None:
        run(["systemctl", "stop", "--no-block", *names])
        deadline = time.monotonic() + GRACE
        while self._running() and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
        late = self._running()
        for name in late:
            # Its main process, if it has one; in containerd's control group there are containers' parents too.
            with contextlib.suppress(CommandFailed):
                run(["systemctl", "kill", "--kill-who=main", "--signal=KILL", name])
        if late:
            run(["systemctl", "stop", *late])

    def _running(self) -> List[str]:
        states = self.states()
        return [name for name in self.names if states[name]["ActiveState"] not in ("inactive", "failed")]

    def forget(self) -> None:
        """Once their files are gone: make systemd see that, and bring back units that ours stood in for."""
        if self.account.check_mode or not self.names:
            return
        run(["systemctl", "daemon-reload"])
        failed = [name for name, state in self.states().items() if state["ActiveState"] == "failed"]
        if failed:
            run(["systemctl", "reset-failed", *failed])

    def bring_back(self) -> None:
        """Enable and start what was enabled and ran under the same names before us."""
        for entry in self.entries:
            for state, verb in AGAIN.items():
                if entry.get("before", {}).get(state):
                    command = ["systemctl", verb, entry["name"]]
                    self.account.undo(entry["name"], state + " again", lambda arguments=command: run(arguments))
