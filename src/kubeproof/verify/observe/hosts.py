"""The inventory's hosts, reached by SSH through testinfra: what is observed there, and what is sent from there."""

from __future__ import annotations

import base64
import functools
import json
import shlex
import shutil
import subprocess
import tempfile
import textwrap
import types
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from testinfra.backend.paramiko import ParamikoBackend
from testinfra.backend.ssh import SshBackend

from kubeproof.core.errors import KubeproofError
from kubeproof.settings import inventory, remote
from kubeproof.settings.inventory import Inventory
from kubeproof.settings.remote import Login
from kubeproof.settings.resolve import Settings
from kubeproof.verify.observe import certificate_files

CONNECTIONS = ("ssh", "paramiko")
# For systemd-run: what a unit calls is found where a command of ours is, and not only where systemd looks.
IN_PATH = '--setenv=PATH="$PATH"'
_BACKENDS: Mapping[str, type] = {}
_PROBE = Path(__file__).parent / "probe.py"
_CONNECT_SECONDS = 10
# A kernel that took the connection is no dead host, however late its sshd speaks: ssh's words for that, and paramiko's.
_LATE = ("banner exchange", "SSH protocol banner")
_TRIES = 6
_ACCESS = "the verification looks into the hosts over SSH, as root"
_SHOWN_COMMAND = 80
# Of a file in one command: Linux takes 128 KiB for one argument (MAX_ARG_STRLEN), of which base64 makes four thirds.
_PIECE_BYTES = 60_000

Result = TypeVar("Result")


class NotObservable(Exception):
    """What a test would look at is not to be seen on this cluster; no verdict follows from that."""


class CommandFailed(Exception):
    """A command on a host that should have succeeded did not."""


class HostUnreachable(KubeproofError):
    """A host cannot be reached over SSH."""


class Host:
    """One host of the inventory."""

    def __init__(self, name: str, groups: frozenset[str], address: str, backend: Any, port: int | None = None) -> None:
        """Take a host over from testinfra. ``address`` is the one at which other hosts reach it, ``port`` ssh's."""
        self.name = name
        self.groups = groups
        self.address = address
        self.port = port
        self._backend = backend

    def __repr__(self) -> str:
        return self.name

    def attempt(self, command: str, *arguments: str) -> tuple[int, str, str]:
        """Run a command; exit status, standard output and standard error. ``%s`` in it stands for quoted arguments."""
        done = self._backend.run(command, *arguments)
        return done.rc, done.stdout, done.stderr

    def run(self, command: str, *arguments: str) -> str:
        """Run a command that must succeed, and return what it printed."""
        status, stdout, stderr = self.attempt(command, *arguments)
        if status != 0:
            program = textwrap.shorten(command, _SHOWN_COMMAND)
            raise CommandFailed(f"{self.name}: `{program}` ended with {status}: {_last_line(stderr or stdout)}")
        return stdout

    def write(self, path: str, content: bytes) -> None:
        """Make a file that only root may read."""
        self.run("umask 077; : > %s", path)
        for start in range(0, len(content), _PIECE_BYTES):
            piece = base64.b64encode(content[start : start + _PIECE_BYTES]).decode()
            self.run("printf %%s %s | base64 --decode >> %s", piece, path)

    def probe(self, *requests: Mapping[str, Any], inside: int | None = None) -> list[dict[str, Any]]:
        """Send requests from this host, see probe.py. ``inside``: from the network of the process with this PID."""
        enter = f"nsenter --target {inside} --net " if inside is not None else ""
        output = self.run(f"{enter}python3 -c %s %s", packed(_PROBE, certificate_files), json.dumps(requests))
        answers: list[dict[str, Any]] = json.loads(output)
        return answers

    def http(self, url: str, **arguments: Any) -> dict[str, Any]:
        """One HTTP request from this host: its ``status`` and ``body``, or its ``error``."""
        return self.probe({"do": "http", "url": url, **arguments})[0]


class Hosts:
    """All hosts of an inventory's cluster, by one of testinfra's connections."""

    def __init__(self, cluster: Inventory, connection: str = CONNECTIONS[0]) -> None:
        """Prepare the connections; they are made when they are first used."""
        if connection not in CONNECTIONS:
            raise KubeproofError(f"hosts are reached by {' or '.join(CONNECTIONS)}, not by {connection!r}")
        self._directory = Path(tempfile.mkdtemp(prefix="kubeproof-"))
        self._config = self._directory / "ssh_config"
        logins = {host.name: remote.login(host) for host in cluster.members}
        self._config.write_text("\n".join(_stanza(login, self._directory) for login in logins.values()))
        self._connection = connection
        self.all = tuple(self._host(host, logins[host.name]) for host in cluster.members)
        self.away: tuple[Host, ...] = ()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for host in self.all:
            self.forget(host)
        # A master connection that was asked to end removes its socket by itself, perhaps at this moment.
        shutil.rmtree(self._directory, ignore_errors=True)

    def forget(self, host: Host) -> None:
        """Give up the connection to a host that was switched off; the next command makes another."""
        if self._connection == "ssh":
            command = ["ssh", "-F", str(self._config), "-O", "exit", host.name]
            subprocess.run(command, capture_output=True, check=False)

    def group(self, name: str) -> tuple[Host, ...]:
        """The hosts of a group that can be reached. Raises NotObservable if it has some, and none of them can."""
        found = tuple(host for host in self.all if name in host.groups)
        lost = [host.name for host in self.away if name in host.groups]
        if lost and not found:
            raise NotObservable(f"no host of the group {name} can be reached: {', '.join(lost)}")
        return found

    def described(self, name: str) -> tuple[Host, ...]:
        """The hosts of a group as the inventory has it, those among them that cannot be reached."""
        return tuple(host for host in (*self.all, *self.away) if name in host.groups)

    def require(self, name: str) -> None:
        """Raises NotObservable if a host of a group cannot be reached: what it does cannot be ruled out then."""
        if lost := [host.name for host in self.away if name in host.groups]:
            raise NotObservable(f"it takes all hosts of the group {name}, and {', '.join(lost)} cannot be reached")

    def check(self) -> None:
        """Connect to every host. Raises HostUnreachable with all that cannot be reached."""
        problems = [problem.told for problem in on_hosts(self.all, _problem).values() if problem]
        if problems:
            raise HostUnreachable("\n".join(problems), hint=_ACCESS)

    def leave_out_unreachable(self) -> list[str]:
        """Connect to every host, and continue without those that cannot be reached; the reasons.

        Raises HostUnreachable if none can, or if who logs in to one is not root there: that is a matter of settings.
        """
        problems = {name: problem for name, problem in on_hosts(self.all, _problem).items() if problem}
        away = [problem for problem in problems.values() if problem.unreachable]
        if len(away) < len(problems) or len(away) == len(self.all):
            raise HostUnreachable("\n".join(problem.told for problem in problems.values()), hint=_ACCESS)
        self.away = tuple(host for host in self.all if host.name in problems)
        self.all = tuple(host for host in self.all if host.name not in problems)
        return [problem.told for problem in away]

    def _host(self, host: inventory.Host, login: Login) -> Host:
        make = _Paramiko if self._connection == "paramiko" else _Ssh
        address = str(Settings(host)["cluster_host_address"])
        backend = make(login, ssh_config=str(self._config), timeout=_CONNECT_SECONDS)
        return Host(host.name, host.groups, address, backend, login.port)


class _Ssh(SshBackend):  # type: ignore[misc]
    """testinfra's, with commands as root by whatever way the host has."""

    def __init__(self, login: Login, **options: Any) -> None:
        super().__init__(login.name, **options)
        self._login = login

    def get_command(self, command: str, *args: str) -> str:
        """What the host's shell is given."""
        return self._login.rooted(self.quote(command, *args))

    def run_local(self, command: str, *args: str) -> Any:
        """Run ssh, with what its command reads first."""
        call = shlex.split(self.quote(command, *args))
        done = subprocess.run(call, input=self._login.stdin, capture_output=True, check=False)
        return self.result(done.returncode, self.encode(command), done.stdout, done.stderr)


class _Paramiko(ParamikoBackend):  # type: ignore[misc]
    """testinfra's other one, likewise."""

    def __init__(self, login: Login, **options: Any) -> None:
        super().__init__(login.name, **options)
        self._login = login

    def get_command(self, command: str, *args: str) -> str:
        """What the host's shell is given."""
        return self._login.rooted(self.quote(command, *args))

    def _exec_command(self, command: bytes) -> tuple[int, bytes, bytes]:
        channel = self.client.get_transport().open_session()
        channel.exec_command(command)
        channel.sendall(self._login.stdin)
        channel.shutdown_write()
        stdout, stderr = (b"".join(made("rb")) for made in (channel.makefile, channel.makefile_stderr))
        return channel.recv_exit_status(), stdout, stderr


def on_hosts(hosts: Iterable[Host], function: Callable[[Host], Result]) -> dict[str, Result]:
    """Do something on hosts side by side; the results by host name."""
    chosen = list(hosts)
    with ThreadPoolExecutor(max_workers=max(1, min(16, len(chosen)))) as pool:
        return dict(zip([host.name for host in chosen], pool.map(function, chosen), strict=True))


@dataclass(frozen=True)
class _Problem:
    """Why nothing can be done on a host."""

    told: str
    unreachable: bool = False


def _problem(host: Host) -> _Problem | None:
    for left in reversed(range(_TRIES)):
        try:
            status, stdout, stderr = host.attempt("id -u")
            break
        except Exception as error:  # noqa: BLE001 - testinfra and paramiko raise what they like
            if not (left and _is_late(error)):
                return _Problem(f"host {host.name} cannot be reached: {_reason(error)}", unreachable=True)
    if status != 0 or stdout.strip() != "0":
        said = _last_line(stderr) or f"the user's number is {stdout.strip()}"
        remediation = remote.advice(stderr) or remote.REMEDIATION
        return _Problem(f"host {host.name}: commands do not run as root: {said}\n  {remediation}")
    return None


def _is_late(error: Exception) -> bool:
    return any(words in _said(error) for words in _LATE)


def _reason(error: Exception) -> str:
    return _last_line(_said(error))


def _said(error: Exception) -> str:
    """What ssh said, in testinfra's exception, or the exception's own words."""
    result = error.args[0] if error.args else error
    return str(getattr(result, "stderr", "") or result)


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else ""


def _stanza(login: Login, directory: Path) -> str:
    """A host's part of an ssh_config, which both of testinfra's connections understand."""
    options = {"HostName": login.address, "ControlPath": f"{directory}/%C"}
    if login.port:
        options["Port"] = str(login.port)
    if login.user:
        options["User"] = login.user
    if login.key:
        options["IdentityFile"] = login.key
    options |= _options(login.arguments, f"{login.name}: arguments of ssh")
    return "\n".join([f"Host {login.name}", *(f"  {key} {value}" for key, value in options.items())]) + "\n"


def _options(arguments: Sequence[str], where: str) -> dict[str, str]:
    """The options of an ssh command line as those of an ssh_config."""
    options: dict[str, str] = {}
    rest = list(arguments)
    while rest:
        flag = rest.pop(0)
        value = flag[2:] or (rest.pop(0) if rest else "")
        if flag.startswith("-o") and value:
            key, _, setting = value.partition("=") if "=" in value else value.partition(" ")
            options[key.strip()] = setting.strip()
        elif flag.startswith("-J") and value:
            options["ProxyJump"] = value
        else:
            raise KubeproofError(f"{where}: {flag} is not understood here", hint="write it as -o OPTION=VALUE")
    return options


# Modules are there before the program, so that its import finds them, and nothing else of their packages is needed.
_START = """import base64,json,sys,types,zlib
libraries, program = json.loads(zlib.decompress(base64.b64decode('%s')))
for name, text in libraries:
    parents = name.split('.')[:-1]
    for end in range(1, len(parents) + 1):
        sys.modules.setdefault('.'.join(parents[:end]), types.ModuleType(parents[end - 1]))
    module = sys.modules[name] = types.ModuleType(name)
    setattr(sys.modules['.'.join(parents)], name.split('.')[-1], module)
    exec(text, module.__dict__)
exec(program)
"""


@functools.cache
def packed(program: Path, *libraries: types.ModuleType) -> str:
    """A program of this package as an argument for `python3 -c` on a host, with modules of it that it imports."""
    texts = [(library.__name__, Path(str(library.__file__)).read_text(encoding="utf-8")) for library in libraries]
    sent = json.dumps([texts, program.read_text(encoding="utf-8")]).encode()
    return _START % base64.b64encode(zlib.compress(sent, level=9)).decode()
