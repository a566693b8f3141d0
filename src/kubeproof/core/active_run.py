"""The run that is changing a cluster: at most one at a time, by a record in the state directory.

Ansible carries out each task in processes of their own, and none lives as long as the run: a lock that the kernel keeps
for a process would be released with the first task. So the record names the processes of the run, and the run is over
when all of them are, however they ended. A record that is left behind needs no removal.
"""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import secrets
import shlex
import socket
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from kubeproof.core.errors import KubeproofError
from kubeproof.core.locking import locked_directory

NAME = "active-run.json"
"""The record, in a state directory."""
EXPIRES = 1800.0
"""Seconds after its last sign of life at which a run of another machine is over: its processes cannot be seen here."""

# Options of ansible-playbook that say what a run is about. Others may have secrets among their values.
_TELLING = ("-i", "--inventory", "-l", "--limit", "-t", "--tags", "--skip-tags")
_VARIABLES = ("-e", "--extra-vars")


class Busy(KubeproofError):
    """Another run is changing the cluster."""


@dataclass(frozen=True)
class Process:
    """A process by its number, and its start in ticks since boot: later processes may have the same number."""

    pid: int
    started: str

    @classmethod
    def of(cls, pid: int) -> Process:
        """A process that is there now."""
        return cls(pid, _status(pid)[19])

    @property
    def alive(self) -> bool:
        """Whether it is still there. One that has ended, and whose parent has not looked yet, is not."""
        try:
            status = _status(self.pid)
        except OSError:
            return _hidden(self.pid)
        return status[0] not in {"Z", "X"} and status[19] == self.started


@dataclass(frozen=True)
class Machine:
    """Where processes are: host name, machine-id (empty if there is none), boot, and namespace of process numbers."""

    name: str
    identity: str
    boot: str
    namespace: str

    @classmethod
    def here(cls) -> Machine:
        """This one."""
        return cls(
            name=socket.gethostname(),
            identity=_word(Path("/etc/machine-id")),
            boot=_word(Path("/proc/sys/kernel/random/boot_id")),
            namespace=str(Path("/proc/self/ns/pid").readlink()),
        )

    @property
    def visible(self) -> bool:
        """Whether its processes can be seen from here."""
        here = Machine.here()
        return (self.boot, self.namespace) == (here.boot, here.namespace)

    @property
    def rebooted(self) -> bool:
        """Whether it is this machine before it was booted. A container without machine-id may be any other one."""
        here = Machine.here()
        return (
            bool(self.identity) and (self.name, self.identity) == (here.name, here.identity) and self.boot != here.boot
        )


@dataclass(frozen=True)
class ActiveRun:
    """A run that changes a cluster, and the processes that it consists of."""

    id: str
    command: str
    user: str
    began: float
    machine: Machine
    processes: tuple[Process, ...]

    @classmethod
    def new(cls, command: str, process: Process) -> ActiveRun:
        """A run that begins now."""
        return cls(secrets.token_hex(8), command, _user(), time.time(), Machine.here(), (process,))

    @classmethod
    def parse(cls, record: Any) -> ActiveRun | None:
        """Read what ``data`` has written; ``None`` if it is anything else."""
        try:
            return cls(
                id=str(record["id"]),
                command=str(record["command"]),
                user=str(record["user"]),
                began=float(record["began"]),
                machine=Machine(**record["machine"]),
                processes=tuple(Process(int(each["pid"]), str(each["started"])) for each in record["processes"]),
            )
        except (KeyError, TypeError, ValueError):
            return None

    def data(self) -> dict[str, Any]:
        """The run as JSON has it."""
        return asdict(self)

    @property
    def living(self) -> list[Process]:
        """The processes that are still there, as far as that can be seen."""
        return [each for each in self.processes if each.alive] if self.machine.visible else []

    def over(self, age: float) -> bool:
        """Whether it has ended. ``age``: seconds since its last sign of life, which decide if nothing else can."""
        if self.machine.visible:
            return not self.living
        return self.machine.rebooted or age > EXPIRES

    def described(self, age: float) -> str:
        """The run for people: what, who, where and since when."""
        began = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(self.began))
        pids = f", process {' and '.join(str(each.pid) for each in self.living)}" if self.living else ""
        seen = "" if self.machine.visible else f", with its last sign of life {_ago(age)}"
        return f"`{self.command}` of {self.user} on {self.machine.name}{pids}, since {began}{seen}"

    def remediation(self, elsewhere: str) -> str:
        """What to do about it. ``elsewhere``: the same for a run whose processes cannot be seen from here."""
        if not self.machine.visible:
            return elsewhere
        pids = " ".join(str(each.pid) for each in self.living)
        return f"wait until it has ended; or end it (kill {pids}) and run this again, which completes what it began"


def claim(directory: Path, command: str, pid: int) -> ActiveRun:
    """Become the active run of a state directory, or join the one that started process ``pid``.

    Raises Busy if there is another one.
    """
    process = Process.of(pid)
    with locked_directory(directory):
        found, age = _read(directory)
        if found is not None and process in found.processes:
            return found
        if found is not None and not found.over(age):
            if not {each.pid for each in found.living}.intersection(_ancestors(pid)):
                raise _busy(found, age, directory)
            mine = replace(found, processes=(*found.processes, process))
        else:
            mine = ActiveRun.new(command, process)
        _write(directory, mine)
        return mine


def own(directory: Path, pid: int) -> ActiveRun | None:
    """The active run, if process ``pid`` is of it. This is a sign of life for other machines."""
    found, _ = _read(directory)
    if found is None or Process.of(pid) not in found.processes:
        return None
    with contextlib.suppress(OSError):
        os.utime(directory / NAME)
    return found


def release(directory: Path, pid: int) -> None:
    """Leave the active run, which is over with its last process. Without one there is nothing to do."""
    if not directory.is_dir():
        return
    with locked_directory(directory):
        found, _ = _read(directory)
        process = Process.of(pid)
        if found is None or process not in found.processes:
            return
        rest = tuple(each for each in found.living if each != process)
        if rest:
            _write(directory, replace(found, processes=rest))
        else:
            (directory / NAME).unlink(missing_ok=True)


@contextmanager
def held(directory: Path, command: str) -> Iterator[None]:
    """Be the active run. What this process starts may join it. Raises Busy."""
    claim(directory, command, os.getpid())
    try:
        yield
    finally:
        release(directory, os.getpid())


def playbook_command(pid: int) -> str:
    """The command line of an ansible-playbook, without what may be secret."""
    line = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    words = [word for word in line.split("\0") if word]
    return shlex.join(["ansible-playbook", *_telling(words)])


def _telling(words: Sequence[str]) -> Iterator[str]:
    for before, word in zip(["", *words], words, strict=False):
        name, _, value = word.partition("=")
        playbook = word.endswith((".yml", ".yaml")) and not word.startswith("-") and before not in _VARIABLES
        if before in _TELLING or word in _TELLING or (name in _TELLING and value) or playbook:
            yield word


def _busy(found: ActiveRun, age: float, directory: Path) -> Busy:
    elsewhere = (
        f"wait until it has ended, on {found.machine.name}. If it was killed there, it is over "
        f"{EXPIRES / 60:.0f} minutes after its last sign of life, or when {directory / NAME} is removed"
    )
    message = f"another run is changing this cluster: {found.described(age)}; nothing was changed by this one"
    return Busy(message, hint=found.remediation(elsewhere))


def _read(directory: Path) -> tuple[ActiveRun | None, float]:
    """The record, and its age in seconds."""
    try:
        with (directory / NAME).open(encoding="utf-8") as file:
            record = json.load(file)
            age = time.time() - os.fstat(file.fileno()).st_mtime
    except (FileNotFoundError, ValueError):
        return None, 0.0
    return ActiveRun.parse(record), age


def _write(directory: Path, run: ActiveRun) -> None:
    fresh = directory / f".{NAME}.new"
    fresh.write_text(json.dumps(run.data(), indent=1) + "\n", encoding="utf-8")
    fresh.replace(directory / NAME)


def _ancestors(pid: int) -> Iterable[int]:
    """The processes that started a process, from its parent on."""
    with contextlib.suppress(OSError):
        while pid > 1:
            pid = int(_status(pid)[1])
            yield pid


def _status(pid: int) -> list[str]:
    """Fields of proc_pid_stat(5) from the state on: the name before them may have blanks and parentheses."""
    return Path(f"/proc/{pid}/stat").read_bytes().decode(errors="replace").rpartition(")")[2].split()


def _hidden(pid: int) -> bool:
    """Whether a process is another user's, of which /proc may show nothing (``hidepid``)."""
    try:
        os.kill(pid, 0)
    except OSError as error:
        return isinstance(error, PermissionError)
    return False


def _word(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def _ago(seconds: float) -> str:
    return f"{seconds / 60:.0f} min ago" if seconds >= 60 else f"{max(seconds, 0):.0f} s ago"
