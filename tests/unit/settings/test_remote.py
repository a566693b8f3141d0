"""How hosts are reached, and how programs run there as root."""

from __future__ import annotations

import configparser
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ansible.template import trust_as_template

from kubeproof.core import paths
from kubeproof.core.errors import KubeproofError
from kubeproof.settings import remote
from kubeproof.settings.inventory import Host
from kubeproof.settings.remote import Login, Sudo

PASSWORD = "pa ss'wo$rd"  # noqa: S105
# As sudo does with -S: it reads its line byte by byte, three times at most, and leaves the rest to the program.
SUDO = """#!{python}
import os, sys
def line():
    found = b""
    while (byte := os.read(0, 1)) not in (b"", b"\\n"):
        found += byte
    return found.decode()
asks, given = {asks}, sys.argv[1:]
open({log!r}, "a").write(repr(given) + "\\n")
if asks:
    if "-n" in given:
        sys.exit("sudo: a password is required")
    if not any(line() == {password!r} for _ in range(3)):
        sys.exit("sudo: 3 incorrect password attempts")
program = given[given.index("--") + 1 :]
os.execvp(program[0], program)
"""


_ASKED = "sudo -E -S -k -p '' -u root --"


def host(**variables: Any) -> Host:
    return Host("w1", frozenset(), variables)


@pytest.fixture(params=[True, False], ids=["asks", "does not ask"])
def sudo(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A sudo that asks for a password, or lets its user without."""
    path = tmp_path / "sudo"
    log = str(tmp_path / "log")
    path.write_text(SUDO.format(python=sys.executable, asks=request.param, log=log, password=PASSWORD))
    path.chmod(0o755)
    return path


def on_a_host(login: Login, command: str, more: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """What sshd makes of it: the user's shell, with what ssh was given on its input."""
    environment = {**os.environ, "LC_ALL": "C.UTF-8"}
    call = ["bash", "-c", login.rooted(command)]
    return subprocess.run(call, input=login.stdin + more, capture_output=True, check=False, env=environment)


def test_a_program_gets_its_own_input_and_never_the_password(sudo: Path) -> None:
    login = Login("w1", "192.0.2.1", sudo=Sudo(str(sudo), password=PASSWORD))
    done = on_a_host(login, 'cat; echo "it\'s $LC_ALL"; exit 3', b"what follows\n")
    assert (done.returncode, done.stdout, done.stderr) == (3, b"what follows\nit's C\n", b"")
    assert PASSWORD not in login.rooted("true")
    assert PASSWORD not in (sudo.parent / "log").read_text()
    assert PASSWORD not in repr(login)


@pytest.mark.parametrize("password", [PASSWORD, ""])
def test_where_the_user_came_from_is_known_to_root_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, password: str
) -> None:
    sudo = tmp_path / "sudo"
    sudo.write_text('#!/bin/sh\nwhile [ $# -gt 0 ] && [ $1 != -- ]; do shift; done; shift; exec env -i "$@"\n')
    sudo.chmod(0o755)
    monkeypatch.setenv("SSH_CONNECTION", "192.0.2.9 50000 192.0.2.1 2222")
    login = Login("w1", "192.0.2.1", sudo=Sudo(str(sudo), password=password))
    assert on_a_host(login, "echo $SSH_CONNECTION").stdout == b"192.0.2.9 50000 192.0.2.1 2222\n"
    monkeypatch.delenv("SSH_CONNECTION")
    assert on_a_host(login, "echo $SSH_CONNECTION").stdout == b"\n"


def test_a_password_that_is_wrong_or_missing_is_told(sudo: Path) -> None:
    wrong, none = (Login("w1", "192.0.2.1", sudo=Sudo(str(sudo), password=given)) for given in ("wrong", ""))
    refused = "asks, given = True" in sudo.read_text()
    for login, advice in ((wrong, "is not the right one"), (none, "--ask-become-pass")):
        done = on_a_host(login, "echo yes")
        if refused:
            assert done.returncode != 0
            assert advice in remote.advice(done.stderr.decode())
        else:
            assert done.stdout == b"yes\n"
    assert remote.advice("cat: /etc/shadow: Permission denied") == ""


def test_root_needs_nobody(tmp_path: Path) -> None:
    login = Login("w1", "192.0.2.1")
    assert login.stdin == b""
    assert on_a_host(login, "echo $LC_ALL").stdout == b"C\n"


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, None),
        ({"ansible_user": "root"}, None),
        ({"ansible_user": "ubuntu"}, "sudo -H -S -n -u root --"),
        ({"ansible_user": "ubuntu", "ansible_become": False}, None),
        ({"ansible_become": "yes"}, "sudo -H -S -n -u root --"),
        ({"ansible_become": True, "ansible_become_exe": "/usr/bin/sudo"}, "/usr/bin/sudo -H -S -n -u root --"),
        ({"ansible_become": True, "ansible_become_flags": "-Hn"}, "sudo -Hn -u root --"),
        ({"ansible_become": True, "ansible_become_pass": "x"}, "sudo -H -S -S -k -p '' -u root --"),
        ({"ansible_become": True, "ansible_sudo_pass": "x", "ansible_become_flags": "-nE -n"}, _ASKED),
    ],
)
def test_root_is_become_as_ansible_does(variables: dict[str, Any], expected: str | None) -> None:
    found = remote.login(host(**variables)).sudo
    assert (found.command if found else None) == expected


def test_the_password_is_the_hosts_own_or_that_of_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, program = tmp_path / "plain", tmp_path / "program"
    plain.write_text("of all\n")
    program.write_text("#!/bin/sh\necho of a program\n")
    program.chmod(0o755)
    own = host(ansible_become=True, ansible_become_password=trust_as_template("{{ 'own' | upper }}"))
    for path, common in ((plain, "of all"), (program, "of a program")):
        monkeypatch.setenv(remote.PASSWORD_FILE, str(path))
        found = [remote.login(each).sudo for each in (own, host(ansible_become=True))]
        assert [sudo.password for sudo in found if sudo] == ["OWN", common]
    monkeypatch.setenv(remote.PASSWORD_FILE, str(tmp_path / "none"))
    with pytest.raises(KubeproofError, match=r"the sudo password cannot be read from .*/none: No such file"):
        remote.login(host(ansible_become=True))


def test_a_password_that_was_asked_for_reaches_children_and_no_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    with remote.password_file(PASSWORD) as path:
        monkeypatch.setenv(remote.PASSWORD_FILE, path)
        found = remote.login(host(ansible_become=True)).sudo
        assert found
        assert found.password == PASSWORD
        show = f"import os; print(open(os.environ['{remote.PASSWORD_FILE}']).read())"
        for _ in range(2):
            done = subprocess.run([sys.executable, "-c", show], capture_output=True, text=True, check=True)
            assert done.stdout == f"{PASSWORD}\n"
        assert not os.access(path, os.X_OK), "Ansible would run it"
        assert os.readlink(path).startswith("/memfd:")  # noqa: PTH115
    assert not Path(path).exists()


@pytest.mark.parametrize(
    "variables", [{"ansible_become_method": "su"}, {"ansible_become_user": "admin"}, {"ansible_become_method": "doas"}]
)
def test_other_ways_to_root_are_refused(variables: dict[str, Any]) -> None:
    with pytest.raises(KubeproofError, match=r"host w1: becoming .* is not supported here, only becoming root by sudo"):
        remote.login(host(ansible_become=True, **variables))
    assert remote.login(host(**variables)).sudo is None


@pytest.mark.parametrize("connection", ["local", "ansible.builtin.local", "community.docker.docker", "winrm"])
def test_other_connections_are_refused(connection: str) -> None:
    with pytest.raises(KubeproofError, match=rf"host w1: the connection {connection} is not .* only ssh") as refusal:
        remote.login(host(ansible_connection=connection))
    assert "remove ansible_connection of w1" in str(refusal.value.hint)
    assert "cluster_host_address" in str(refusal.value.hint)


@pytest.mark.parametrize("connection", ["ssh", "ansible.builtin.ssh", "smart", "paramiko"])
def test_connections_that_ssh_can_stand_in_for(connection: str) -> None:
    assert remote.login(host(ansible_connection=connection)).name == "w1"


@pytest.fixture
def keyless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What ssh says of its configuration, in a file, of a user who has neither a key nor an agent."""
    said = tmp_path / "said"
    said.write_text("user root\nidentityfile ~/.ssh/id_rsa\nidentityfile ~/.ssh/id_ed25519\n")
    ssh = tmp_path / "bin" / "ssh"
    ssh.parent.mkdir()
    ssh.write_text(f'#!/bin/sh\n[ "$1" = -G ] && cat {said}\n')
    ssh.chmod(0o755)
    monkeypatch.setenv("PATH", str(ssh.parent), prepend=os.pathsep)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    return said


@pytest.mark.parametrize("name", ["ansible_password", "ansible_ssh_pass", "ansible_ssh_password"])
def test_a_password_to_log_in_with_is_refused_where_there_is_nothing_else(name: str, keyless: Path) -> None:
    with pytest.raises(KubeproofError, match=r"host w1: its password \(ansible_password\) is for playbooks") as refusal:
        remote.login(host(**{name: PASSWORD}))
    assert "ansible_ssh_private_key_file" in str(refusal.value.hint)
    assert PASSWORD not in f"{refusal.value} {refusal.value.hint}"
    assert remote.login(host()).name == "w1", "ssh may know another way"
    # A user can be asked.
    assert remote.ssh_command(host(**{name: PASSWORD})) == ["ssh", "w1"]


def test_a_password_for_all_hosts_is_refused_too(keyless: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANSIBLE_CONNECTION_PASSWORD_FILE", str(keyless))
    with pytest.raises(KubeproofError, match="its password"):
        remote.login(host())


def test_a_password_does_not_matter_where_ssh_has_a_key(keyless: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known, protected = keyless.read_text(), host(ansible_password=PASSWORD)
    (keyless.parent / "key").touch()
    for more in ("identityfile ~/key", f"identityfile {keyless}", "identityfile ~/%h", "identityagent /run/agent"):
        keyless.write_text(f"{known}{more}\n")
        assert remote.login(protected).name == "w1", more
    monkeypatch.setenv("SSH_AUTH_SOCK", "/run/agent")
    for more in ("", "identityagent SSH_AUTH_SOCK\n"):
        keyless.write_text(known + more)
        assert remote.login(protected).name == "w1"
    keyless.write_text(f"{known}identityagent none\n")
    with pytest.raises(KubeproofError, match="its password"):
        remote.login(protected)
    # ssh itself says then what is wrong.
    keyless.unlink()
    assert remote.login(protected).name == "w1"


@pytest.mark.parametrize(("arguments", "interval"), [("", "15"), ("-o ServerAliveInterval=60", "60")])
def test_a_host_that_goes_without_a_word_is_given_up(
    arguments: str, interval: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in the project's ansible.cfg; the inventory's own argument stays."""
    ssh = tmp_path / "ssh"
    ssh.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    ssh.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    given = {"ansible_ssh_common_args": arguments} if arguments else {}
    told = remote.login(host(**given)).run("true").stdout.splitlines()
    assert [line for line in told if line.startswith("ServerAliveInterval")] == [f"ServerAliveInterval={interval}"]
    configured = configparser.ConfigParser()
    configured.read(paths.PROJECT / "ansible.cfg")
    for option in ("ServerAliveInterval=15", "ServerAliveCountMax=8"):
        assert f"-o {option}" in configured["ssh_connection"]["ssh_args"]
        assert option in told or arguments


def test_all_names_that_ansible_has_for_a_setting_are_known() -> None:
    found = remote.login(
        host(
            inventory_hostname="w1",
            ansible_ssh_host="192.0.2.9",
            ansible_ssh_port=trust_as_template("{{ 2200 + 22 }}"),
            ansible_ssh_user="admin",
            ansible_private_key_file="~/key",
            ansible_ssh_args="-o Ciphers=x",
            ansible_ssh_extra_args="-J 'a b'",
            ansible_host_key_checking=False,
        )
    )
    home = str(Path.home())
    assert found.ssh("-v") == [
        *("ssh", "-v", "-i", f"{home}/key", "-p", "2222", "-l", "admin"),
        *("-J", "a b", "-o", "Ciphers=x", "-o", "StrictHostKeyChecking=no", "192.0.2.9"),
    ]


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, "/opt/kubeproof/python/bin"),
        ({"cluster_bin_directory": "/usr/local/bin"}, "/opt/kubeproof/python/bin"),
        ({"cluster_bin_directory": "/opt/bin"}, "/opt/bin:/opt/kubeproof/python/bin"),
        ({"cluster_bin_directory": "/x; reboot"}, "/opt/kubeproof/python/bin"),
    ],
)
def test_programs_are_found_where_no_path_of_a_system_leads(variables: dict[str, Any], expected: str) -> None:
    done = on_a_host(remote.login(host(**variables)), 'echo "$PATH"')
    assert done.stdout.decode().strip() == f"{os.environ['PATH']}:{expected}", "after those of the system"
