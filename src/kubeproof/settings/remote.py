"""How a host is reached over SSH, and how a program is run there as root: the one place that knows it.

Settings are those of Ansible's own plugins `ssh` and `sudo`: from variables, the environment and ansible.cfg.
"""

from __future__ import annotations

import functools
import os
import re
import secrets
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kubeproof.core.errors import KubeproofError
from kubeproof.core.process import Result, attempt, run
from kubeproof.settings import inventory, portable_python
from kubeproof.settings.inventory import Host

PASSWORD_FILE = "ANSIBLE_BECOME_PASSWORD_FILE"  # noqa: S105 - a name
"""Ansible's: a file with the password of sudo, for hosts that have no variable of it."""
REMEDIATION = (
    "set ansible_become: true for it; if its sudo asks for a password, set ansible_become_password too (encrypted with "
    "Ansible Vault), or give --ask-become-pass"
)
_WRONG = "the sudo password, from ansible_become_password or for all hosts, is not the right one"
_PLUGINS = {
    "ssh": (
        "connection",
        ("host", "port", "remote_user", "password", "private_key_file", "ssh_args", "host_key_checking"),
    ),
    "sudo": ("become", ("become_user", "become_exe", "become_flags", "become_pass")),
}
_ARGUMENTS = ("ssh_common_args", "ssh_extra_args")
_SWITCHES = ("ansible_become", "ansible_become_method", "ansible_connection")
# Ansible's connections that the ssh program can take the place of, without the collection's name.
_SSH = ("paramiko", "paramiko_ssh", "smart", "ssh")
_CONNECT_SECONDS = 10
_ALIVE = ("-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=8")
# What every system's PATH has, if components are there.
_BINARIES, _USUAL_BINARIES = "cluster_bin_directory", "/usr/local/bin"
# By what sudo says, in English, and what Ansible says of it.
_ADVICE = {
    re.compile(r"(password|terminal) is required|no password was provided|Missing sudo password"): REMEDIATION,
    re.compile(r"incorrect password|Sorry, try again|Incorrect sudo password"): _WRONG,
}


@dataclass(frozen=True)
class Sudo:
    """How commands become root on a host."""

    program: str = "sudo"
    flags: tuple[str, ...] = ("-H", "-S", "-n")
    password: str = field(default="", repr=False)
    mark: str = field(default_factory=lambda: secrets.token_hex(8), repr=False)

    @property
    def command(self) -> str:
        """The command of sudo with its options, to be followed by the program to run."""
        flags = self.flags
        if self.password:
            # Never what it remembers of an earlier time: it would leave the password to the program.
            flags = (*filter(None, map(_interactive, flags)), "-S", "-k", "-p", "")
        return shlex.join([*shlex.split(self.program), *flags, "-u", "root", "--"])


@dataclass(frozen=True)
class Login:
    """One host, as ssh reaches it."""

    name: str
    address: str
    port: int | None = None
    user: str = ""
    key: str = ""
    arguments: tuple[str, ...] = ()
    sudo: Sudo | None = None
    # Of programs of ours that are where a system's PATH may not lead.
    path: tuple[str, ...] = (f"{portable_python.DIRECTORY}/bin",)

    def ssh(self, *options: str) -> list[str]:
        """The ssh command, up to what is to be run there."""
        command = ["ssh", *options]
        if self.key:
            command += ["-i", self.key]
        if self.port:
            command += ["-p", str(self.port)]
        if self.user:
            command += ["-l", self.user]
        return [*command, *self.arguments, self.address]

    def rooted(self, command: str) -> str:
        """A command of the host's shell that runs one as root, and in English. It is to read ``stdin`` first."""
        # After the system's: a Python that it has goes before that which others were given.
        command = f'PATH="$PATH:{":".join(self.path)}"; {command}'
        if self.sudo is None:
            return f"export LC_ALL=C; {command}"
        if self.sudo.password:
            # Where sudo asks for no password nobody has taken it. The program is to get what follows.
            command = f'while IFS= read -r line && [ "$line" != {self.sudo.mark} ]; do :; done; {command}'
        # sudo gives a program an environment of its own; how the user came here is to be known nevertheless.
        command = f'export SSH_CONNECTION="$1"; {command}'
        return f'env LC_ALL=C {self.sudo.command} /bin/sh -c {shlex.quote(command)} sh "$SSH_CONNECTION"'

    @property
    def stdin(self) -> bytes:
        """What a ``rooted`` command reads before the program's own input."""
        return f"{self.sudo.password}\n{self.sudo.mark}\n".encode() if self.sudo and self.sudo.password else b""

    def run(self, command: str, *, timeout: float | None = None) -> Result:
        """Run a command of a shell as root, asking nobody anything."""
        options = ["-o", "BatchMode=yes", "-o", f"ConnectTimeout={_CONNECT_SECONDS}"]
        if not any("ServerAliveInterval" in argument for argument in self.arguments):
            # A host that goes without a word is given up, as in ansible.cfg.
            options += _ALIVE
        return attempt([*self.ssh(*options), self.rooted(command)], stdin=self.stdin, timeout=timeout)


def _interactive(flag: str) -> str:
    """A flag of sudo without the part of it that forbids to ask."""
    if flag == "--non-interactive":
        return ""
    if flag.startswith("-") and not flag.startswith("--"):
        flag = flag.replace("n", "")
    return "" if flag == "-" else flag


def login(host: Host) -> Login:
    """How programs reach a host of an inventory. Raises KubeproofError if that is in no way that is known here."""
    options = _options(host)
    found = _login(host, options)
    if (options["password"] or _common_file("CONNECTION_PASSWORD_FILE")) and not _has_key(found):
        raise KubeproofError(
            f"host {host.name}: its password (ansible_password) is for playbooks alone, and ssh has no key for it",
            hint="the command line and the verification log in by key: put one into the host's authorized_keys "
            "(ssh-copy-id) and into an SSH agent, or name its file in ansible_ssh_private_key_file. If ssh needs "
            "neither, remove the password",
        )
    return found


def _has_key(found: Login) -> bool:
    """Whether ssh has something to log in with that is no password: a key's file, or an agent, which may have keys."""
    shown = attempt(found.ssh("-G"))
    settings = [line.partition(" ")[::2] for line in shown.stdout.splitlines()]
    agents = [value for name, value in settings if name == "identityagent"]
    agent = agents[0] if agents else "SSH_AUTH_SOCK"
    # What ssh itself refuses it tells when it is used.
    if not shown.ok or (agent != "none" and (agent != "SSH_AUTH_SOCK" or os.environ.get("SSH_AUTH_SOCK"))):
        return True
    files = [value for name, value in settings if name in ("identityfile", "pkcs11provider") and value != "none"]
    # What ssh puts in place of % is not known here.
    return any("%" in path or Path(path).expanduser().exists() for path in files)


def _login(host: Host, options: Mapping[str, Any]) -> Login:
    if str(options["connection"]).removeprefix("ansible.builtin.") not in _SSH:
        raise KubeproofError(
            f"host {host.name}: the connection {options['connection']} is not supported here, only ssh",
            hint="playbooks support whatever Ansible does; for the command line and the verification remove "
            f"ansible_connection of {host.name}, and let the controller log in by ssh, to this machine too "
            "(ansible_host: 127.0.0.1, its key in authorized_keys, and cluster_host_address: ADDRESS)",
        )
    arguments = [part for name in _ARGUMENTS for part in shlex.split(str(options[name] or ""))]
    if "ansible_ssh_args" in host.variables:
        arguments += shlex.split(str(options["ssh_args"]))
    if not options["host_key_checking"]:
        arguments += ["-o", "StrictHostKeyChecking=no"]
    return Login(
        name=host.name,
        address=str(options["host"] or host.name),
        port=int(options["port"]) if options["port"] else None,
        user=str(options["remote_user"] or ""),
        key=os.path.expanduser(str(options["private_key_file"] or "")),  # noqa: PTH111 - "" stays ""
        arguments=tuple(arguments),
        sudo=_sudo(host, options),
        path=_path(host),
    )


def _path(host: Host) -> tuple[str, ...]:
    """Directories of the components' programs and of a portable Python."""
    # What means something to a shell is for the preflight to refuse.
    given = str(inventory.rendered(host, [_BINARIES]).get(_BINARIES) or _USUAL_BINARIES)
    own = (given,) if given != _USUAL_BINARIES and re.fullmatch(r"[\w./@+-]+", given) else ()
    return (*own, f"{portable_python.DIRECTORY}/bin")


def _sudo(host: Host, options: Mapping[str, Any]) -> Sudo | None:
    user = str(options["remote_user"] or "")
    # A user who is said to be another than root needs it, whoever said so to Ansible (`ansible-playbook --become`).
    if not _truth(options["become"] if options["become"] is not None else user not in ("", "root")):
        return None
    method, wanted = str(options["method"]).removeprefix("ansible.builtin."), str(options["become_user"])
    if method != "sudo" or wanted != "root":
        raise KubeproofError(
            f"host {host.name}: becoming {wanted} by {method} is not supported here, only becoming root by sudo",
            hint="playbooks support whatever Ansible does; the command line and the verification need sudo",
        )
    password = options["become_pass"] or _common_password()
    return Sudo(
        program=str(options["become_exe"] or "sudo"),
        flags=tuple(shlex.split(str(options["become_flags"] or ""))),
        password=str(password or ""),
    )


def _truth(value: Any) -> bool:
    return str(value).lower() in {"true", "yes", "on", "1", "y", "t"}


def _options(host: Host) -> dict[str, Any]:
    """What Ansible's plugins would take for this host."""
    from ansible.constants import config
    from ansible.errors import AnsibleError
    from ansible.plugins.loader import become_loader, connection_loader

    with inventory.LOADING:
        connection_loader.get("ssh", class_only=True)
        become_loader.get("sudo", class_only=True)
    wanted = {
        option: (kind, plugin)
        for plugin, (kind, names) in _PLUGINS.items()
        for option in (*names, *(_ARGUMENTS if plugin == "ssh" else ()))
    }
    known = [
        entry["name"]
        for option, (kind, plugin) in wanted.items()
        for entry in config.get_configuration_definitions(kind, plugin)[option].get("vars", ())
    ]
    variables = {"inventory_hostname": host.name, **inventory.rendered(host, [*known, *_SWITCHES])}
    try:
        found = {
            option: config.get_config_value(option, plugin_type=kind, plugin_name=plugin, variables=variables)
            for option, (kind, plugin) in wanted.items()
        }
    except AnsibleError as error:
        raise KubeproofError(f"host {host.name}: {error}") from error
    # Whether to is not the plugin's: a variable, or else what is said for all hosts.
    general = config.get_config_value("DEFAULT_BECOME")
    found["become"] = variables.get("ansible_become", general or None)
    found["connection"] = variables.get("ansible_connection", config.get_config_value("DEFAULT_TRANSPORT"))
    found["method"] = variables.get("ansible_become_method", config.get_config_value("DEFAULT_BECOME_METHOD"))
    return found


def _common_password() -> str:
    """The password for all hosts that have none of their own, from the file that Ansible takes it from."""
    path = _common_file("BECOME_PASSWORD_FILE")
    return _content(path) if path else ""


def _common_file(setting: str) -> str:
    from ansible.constants import config

    return str(config.get_config_value(setting) or "")


@functools.cache
def _said_by(program: str) -> str:
    # Asked once, not for each host.
    return run([program]).strip("\r\n")


def _content(path: str) -> str:
    """A file's content, or, as with Ansible, what it says if it is a program."""
    if os.access(path, os.X_OK):
        return _said_by(path)
    try:
        return Path(path).read_text().strip()
    except OSError as error:
        raise KubeproofError(f"the sudo password cannot be read from {path}: {error.strerror}") from error


@contextmanager
def password_file(password: str) -> Iterator[str]:
    """A file with a password, for children of this process, as long as it lasts. It is in memory, and has no name."""
    descriptor = os.memfd_create("kubeproof")
    try:
        # Ansible runs a file that is executable.
        os.fchmod(descriptor, 0o600)
        os.write(descriptor, password.encode())
        yield f"/proc/{os.getpid()}/fd/{descriptor}"
    finally:
        os.close(descriptor)


def advice(said: str) -> str:
    """What to do about what a host said on its standard error; empty if it is nothing that is known here."""
    return next((advice for pattern, advice in _ADVICE.items() if pattern.search(said)), "")


def ssh_command(host: Host, options: Sequence[str] = ()) -> list[str]:
    """The ssh command that reaches a host the way Ansible does. It may ask its user for a password."""
    return _login(host, _options(host)).ssh(*options)
