"""Running a playbook of the project, with its story on the terminal and all of it in the inventory's state."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from kubeproof.core import paths
from kubeproof.core.environment import environment, tool
from kubeproof.core.process import attend
from kubeproof.settings import inventory
from kubeproof.settings import state as states

# The exit status of ansible-playbook where hosts are unreachable.
_UNREACHABLE = 4
# In the state directory.
_REPORTS = "reports"
# Logs of this many runs are kept, and of as many that only looked.
_KEPT_LOGS = 20
_LOOKS = "-plan"


@dataclass(frozen=True)
class Run:
    """A run that is over."""

    returncode: int
    log: Path
    profile: dict[str, Any]

    @property
    def ok(self) -> bool:
        """Whether every host got to the end, but for those that were left behind."""
        if self.returncode == 0:
            return True
        # Ansible counts these as unreachable, and says only that, whatever else has failed.
        return self.returncode == _UNREACHABLE and bool(self.left_behind) and not self.profile["failures"]

    @property
    def reports(self) -> Path:
        """The directory of the state in which runs leave reports."""
        return self.log.parent.parent / _REPORTS

    @property
    def left_behind(self) -> list[str]:
        """The hosts that could not be reached, and had no part in the run."""
        return list(self.profile.get("left_behind", ()))

    def count(self, outcome: str) -> int:
        """How many tasks had an outcome, on all hosts together."""
        return sum(int(counts[outcome]) for counts in self.profile.get("hosts", {}).values())


def run(
    name: str,
    sources: inventory.Sources,
    state: Path,
    arguments: Sequence[str] = (),
    *,
    quiet: bool = False,
    output: IO[str] | None = None,
) -> Run:
    """Run ``playbooks/NAME.yml``; its output goes to ``output``, or else where this process's goes.

    ``quiet``: only progress on a terminal, warnings and failures are shown. With ``--check`` it only looks: then its
    log and its profile do not take the place of those of runs.
    """
    kind = f"{name}{_LOOKS}" if "--check" in arguments else name
    log = new_log(state, kind)
    profile = state / _REPORTS / f"{kind}-profile.json"
    profile.parent.mkdir(parents=True, exist_ok=True)
    # A run that dies writes no profile: it must not be taken for an earlier one.
    profile.unlink(missing_ok=True)
    playbook = paths.PROJECT / "playbooks" / f"{name}.yml"
    _make_streams_blocking()
    # What Ansible and its plugins display, findings for example, belongs into the log, too: it would be on screen only.
    displayed = os.environ.get("ANSIBLE_LOG_PATH", str(log))
    status = attend(
        [tool("ansible-playbook"), *inventory.options(sources), *arguments, str(playbook)],
        env=environment(
            ANSIBLE_STDOUT_CALLBACK="kubeproof",
            ANSIBLE_LOG_PATH=displayed,
            KUBEPROOF_LOG=str(log),
            KUBEPROOF_PROFILE=str(profile),
            KUBEPROOF_QUIET=str(quiet),
        ),
        output=output,
    )
    return Run(status, log, json.loads(profile.read_text()) if profile.is_file() else {})


def _make_streams_blocking() -> None:
    """Undo what another program did to the terminal: Ansible does not start if one of its streams is non-blocking.

    ssh and Node.js make them so, and they are shared with whatever runs in the same terminal or pipeline.
    """
    for stream in (0, 1, 2):
        with contextlib.suppress(OSError):
            os.set_blocking(stream, True)


def new_log(state: Path, name: str) -> Path:
    """A file for the log of a run that begins now. Results of tasks are for whoever may read the state only."""
    directory = states.prepare(state) / "logs"
    directory.mkdir(mode=0o700, exist_ok=True)
    looks = name.endswith(_LOOKS)
    same = (path for path in directory.glob("*.log") if path.stem.endswith(_LOOKS) == looks)
    for old in sorted(same)[: -_KEPT_LOGS + 1]:
        old.unlink()
    now = datetime.datetime.now(tz=datetime.UTC)
    log = directory / f"{now:%Y%m%dT%H%M%SZ}-{name}.log"
    log.touch(mode=0o600)
    return log
