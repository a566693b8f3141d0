"""The module that brings users, directories, files and keys of a component into a wanted state."""

from __future__ import annotations

import base64
import getpass
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.module_utils import places, settled
from ansible.module_utils.commands import CommandFailed
from ansible.module_utils.manifest import Manifest, ManifestError

import install_component

ME = getpass.getuser()


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    return Manifest(str(tmp_path / "state"))


@pytest.fixture
def host(manifest: Manifest) -> install_component.Host:
    return install_component.Host(check_mode=False, manifest=manifest)


def file(path: Path, text: str, **more: Any) -> dict[str, Any]:
    encoded = base64.b64encode(text.encode()).decode()
    return {"path": str(path), "content": encoded, "owner": ME, "mode": "0640", **more}


def remembered(manifest: Manifest) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = json.loads(Path(manifest.path).read_text())["entries"]
    return entries


def test_a_file_is_written_once(host: install_component.Host, tmp_path: Path) -> None:
    wanted = file(tmp_path / "a/b/x.conf", "text")
    host.file(wanted)
    assert [change["what"] for change in host.changes] == ["created", "created", "created"]
    again = install_component.Host(check_mode=False, manifest=host.manifest)
    again.file(wanted)
    assert again.changes == []
    assert (tmp_path / "a/b/x.conf").stat().st_mode & 0o7777 == 0o640


def mirrors(directory: Path, *names: str) -> dict[str, Any]:
    owned = {"path": str(directory), "owner": ME, "mode": "0755", "own": True}
    return {"directories": [owned], "files": [file(directory / name / "hosts.toml", "text") for name in names]}


@pytest.mark.parametrize("check_mode", [True, False])
def test_files_that_are_not_wanted_any_more_leave_a_directory_of_ours(
    host: install_component.Host, tmp_path: Path, check_mode: bool
) -> None:
    top = tmp_path / "certs.d"
    install_component.converge(host, mirrors(top, "one", "two", "three"))
    (top / "theirs").mkdir()
    (top / "theirs/hosts.toml").touch()
    (top / "three/theirs.crt").touch()
    again = install_component.Host(check_mode, Manifest(host.manifest.directory))
    install_component.converge(again, mirrors(top, "one"))
    removed = [top / "three/hosts.toml", top / "two/hosts.toml", top / "two"]
    assert again.changes == [{"path": str(path), "what": "removed"} for path in removed]
    assert (top / "two").exists() is check_mode
    left = {str(path.relative_to(top)) for path in top.rglob("*") if path.is_file()}
    if not check_mode:
        assert left == {"one/hosts.toml", "theirs/hosts.toml", "three/theirs.crt"}


def test_what_others_put_in_the_place_of_a_former_file_is_theirs(host: install_component.Host, tmp_path: Path) -> None:
    top = tmp_path / "certs.d"
    install_component.converge(host, mirrors(top, "one", "two"))
    install_component.converge(host, mirrors(top, "one"))
    (top / "two").mkdir()
    (top / "two/hosts.toml").write_text("theirs")
    again = install_component.Host(check_mode=False, manifest=Manifest(host.manifest.directory))
    install_component.converge(again, mirrors(top, "one"))
    assert again.changes == []
    assert (top / "two/hosts.toml").read_text() == "theirs"


@pytest.mark.parametrize("check_mode", [True, False])
def test_a_directory_is_not_removed_as_if_it_were_a_file(manifest: Manifest, tmp_path: Path, check_mode: bool) -> None:
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys/theirs.key").touch()
    host = install_component.Host(check_mode, manifest)
    with pytest.raises(RuntimeError, match="keys is a directory"):
        install_component.converge(host, {"absent": [str(tmp_path / "keys")]})
    assert host.changes == []
    assert (tmp_path / "keys/theirs.key").exists()


def test_check_mode_changes_nothing_and_says_the_same(manifest: Manifest, tmp_path: Path) -> None:
    host = install_component.Host(check_mode=True, manifest=manifest)
    host.file(file(tmp_path / "x.conf", "text"))
    assert host.changes == [{"path": str(tmp_path / "x.conf"), "what": "created"}]
    assert not (tmp_path / "x.conf").exists()


def test_wrong_mode_and_content_are_mended(host: install_component.Host, tmp_path: Path) -> None:
    path = tmp_path / "x.conf"
    path.write_text("text")
    path.chmod(0o666)
    host.file(file(path, "text"))
    host.file(file(path, "other"))
    assert [change["what"] for change in host.changes] == ["mode", "content"]
    assert path.read_text() == "other"


def test_what_was_there_before_is_kept_and_remembered(host: install_component.Host, tmp_path: Path) -> None:
    path = tmp_path / "x.conf"
    path.write_text("theirs")
    host.file(file(path, "ours"))
    host.file(file(path, "ours, again"))
    (entry,) = [entry for entry in remembered(host.manifest) if entry["kind"] == "file"]
    assert Path(entry["backup"]).read_text() == "theirs"


def test_directories_that_were_made_are_remembered_others_not(host: install_component.Host, tmp_path: Path) -> None:
    host.directory(str(tmp_path / "new"), os.getuid(), os.getgid(), 0o700)
    host.directory(str(tmp_path), os.getuid(), os.getgid(), 0o700)
    assert [entry["path"] for entry in remembered(host.manifest)] == [str(tmp_path / "new")]


def test_a_data_directory_with_others_data_is_not_claimed(host: install_component.Host, tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs/file").touch()
    host.data_directory(str(tmp_path / "theirs"))
    host.data_directory(str(tmp_path / "ours"))
    assert remembered(host.manifest) == [{"kind": "data", "path": str(tmp_path / "ours")}]


def test_a_data_directory_that_is_a_new_file_system_is_claimed(host: install_component.Host, tmp_path: Path) -> None:
    (tmp_path / "disk" / "lost+found").mkdir(parents=True)
    host.data_directory(str(tmp_path / "disk"))
    assert remembered(host.manifest) == [{"kind": "data", "path": str(tmp_path / "disk")}]


def test_secrets_are_not_in_the_diff(host: install_component.Host, tmp_path: Path) -> None:
    host.file(file(tmp_path / "x.key", "secret", secret=True))
    host.file(file(tmp_path / "x.conf", "public"))
    assert [diff["after"] for diff in host.diffs] == ["public"]


def test_an_invalid_file_does_not_land(host: install_component.Host, tmp_path: Path) -> None:
    path = tmp_path / "x.conf"
    path.write_text("good")
    with pytest.raises(RuntimeError, match="would not be valid, nothing was changed"):
        host.file(file(path, "bad", validate="grep -q good %s"))
    assert path.read_text() == "good"
    host.file(file(path, "good too", validate="grep -q good %s"))
    assert path.read_text() == "good too"


def test_what_a_plan_would_make_is_not_checked_yet(host: install_component.Host, tmp_path: Path) -> None:
    """What checks it is not installed on a new host, and files that it names are made by the same run."""
    planned = install_component.Host(True, Manifest(host.manifest.directory))
    planned.file(file(tmp_path / "new.conf", "bad", validate="/usr/local/bin/not-installed-yet %s"))
    assert planned.changes
    (tmp_path / "old.conf").write_text("good")
    with pytest.raises(RuntimeError, match="would not be valid"):
        planned.file(file(tmp_path / "old.conf", "bad", validate="grep -q good %s"))


def test_a_key_is_made_once_and_private(host: install_component.Host, tmp_path: Path) -> None:
    wanted = {"path": str(tmp_path / "client"), "owner": ME}
    first, second = host.key(wanted), host.key(wanted)
    assert first == second
    assert "BEGIN PUBLIC KEY" in first["public_key"]
    assert (tmp_path / "client.key").stat().st_mode & 0o7777 == 0o600
    algorithm = subprocess.run(
        ["openssl", "pkey", "-in", tmp_path / "client.key", "-noout", "-text"], capture_output=True, check=True
    )
    assert b"prime256v1" in algorithm.stdout


DAMAGES = [b"", b"-----BEGIN PRIVATE KEY-----\nMIGH", b"\0" * 241]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_key_of_ours_is_made_again(host: install_component.Host, tmp_path: Path, damage: bytes) -> None:
    wanted = {"path": str(tmp_path / "client"), "owner": ME}
    first = host.key(wanted)
    (tmp_path / "client.key").write_bytes(damage)
    (tmp_path / "client.crt").write_bytes(b"\xff\xfe")
    again = install_component.Host(check_mode=False, manifest=host.manifest)
    second = again.key(wanted)
    assert "BEGIN PUBLIC KEY" in second["public_key"] != first["public_key"]
    assert again.changes == [{"path": f"{tmp_path}/client.key", "what": "created again: it was no private key"}]
    assert (tmp_path / "client.key").stat().st_mode & 0o7777 == 0o600
    assert again.key(wanted) == second
    assert len(again.changes) == 1
    assert [entry for entry in remembered(host.manifest) if entry.get("backup")] == []


def test_check_mode_makes_no_key_again(host: install_component.Host, tmp_path: Path) -> None:
    wanted = {"path": str(tmp_path / "client"), "owner": ME}
    host.key(wanted)
    (tmp_path / "client.key").write_bytes(b"")
    (tmp_path / "client.crt").write_text("a certificate")
    pretended = install_component.Host(check_mode=True, manifest=host.manifest)
    # Without a key the certificate is one to be issued, too: for the reason that a run will have.
    assert pretended.key(wanted) == {"certificate": "a certificate", "public_key": ""}
    assert [change["what"] for change in pretended.changes] == ["created again: it was no private key"]
    assert (tmp_path / "client.key").read_bytes() == b""


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_key_of_others_stays(host: install_component.Host, tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "client.key").write_bytes(damage)
    with pytest.raises(CommandFailed, match=r"client\.key"):
        host.key({"path": str(tmp_path / "client"), "owner": ME})
    assert (tmp_path / "client.key").read_bytes() == damage


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory in place of /proc/sys."""
    path = settled.sysctl_path
    monkeypatch.setattr(settled, "sysctl_path", lambda name: path(name, str(tmp_path / "proc")))
    (tmp_path / "proc/sys/net/ipv4/conf/eth0.100").mkdir(parents=True)
    (tmp_path / "proc/sys/net/ipv4/ip_forward").write_text("0\n")
    (tmp_path / "proc/sys/net/ipv4/tcp_rmem").write_text("4096\t131072\t6291456\n")
    (tmp_path / "proc/sys/net/ipv4/conf/eth0.100/forwarding").write_text("0\n")
    return tmp_path / "proc/sys"


def test_a_sysctl_is_remembered_as_it_was_and_as_it_was_set(host: install_component.Host, kernel: Path) -> None:
    # A component changes it too.
    host.manifest.add("sysctl", "net.ipv4.ip_forward", before="0")
    for value in ("1", "1", "2"):
        host.sysctl("net.ipv4.ip_forward", value)
    assert [change["what"] for change in host.changes] == ["0 -> 1", "1 -> 2"]
    assert (kernel / "net/ipv4/ip_forward").read_text() == "2"
    assert remembered(host.manifest) == [{"kind": "sysctl", "name": "net.ipv4.ip_forward", "before": "0", "set": "2"}]


def test_a_sysctl_of_several_numbers_is_set_once(host: install_component.Host, kernel: Path) -> None:
    host.sysctl("net.ipv4.tcp_rmem", "4096 131072 6291456")
    assert host.changes == []
    host.sysctl("net.ipv4.tcp_rmem", "4096 131072 8388608")
    assert (kernel / "net/ipv4/tcp_rmem").read_text() == "4096 131072 8388608"


def test_a_sysctl_of_an_interface_with_a_dot(host: install_component.Host, kernel: Path) -> None:
    host.sysctl("net.ipv4.conf.eth0/100.forwarding", "1")
    assert (kernel / "net/ipv4/conf/eth0.100/forwarding").read_text() == "1"


@pytest.mark.usefixtures("kernel")
def test_a_sysctl_that_the_kernel_does_not_have(host: install_component.Host) -> None:
    with pytest.raises(
        RuntimeError, match=r"sysctl vm.not_there cannot be set to 1 on this host \(.*: correct host_sys"
    ):
        host.sysctl("vm.not_there", "1")


def test_a_file_is_never_half_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x"
    path.write_text("old")

    def crash(_descriptor: int) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.fsync", crash)
    with pytest.raises(OSError, match="disk full"):
        places.write(str(path), b"new", os.getuid(), os.getgid(), 0o644)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_units_are_remembered_as_units(host: install_component.Host) -> None:
    host._remember_file("/etc/systemd/system/x.service", there=False)
    assert remembered(host.manifest) == [{"kind": "unit", "name": "x.service", "backup": None}]


def test_a_damaged_manifest_is_an_error_and_stays(tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    path.write_text("{")
    with pytest.raises(ManifestError, match="is damaged"):
        Manifest(str(tmp_path))
    assert path.read_text() == "{"


def test_what_a_host_is_installed_with_is_remembered_as_it_is_now(host: install_component.Host) -> None:
    host.settings({"cluster_name": "mine", "cluster_domain": "cluster.local"})
    host.settings({"cluster_name": "mine"})
    host.settings({"cluster_domain": "example.org"})
    assert {entry["name"]: entry["value"] for entry in remembered(host.manifest)} == {
        "cluster_name": "mine",
        "cluster_domain": "example.org",
    }
    assert [entry["kind"] for entry in remembered(host.manifest)] == ["setting", "setting"]
    assert host.changes == []


def test_check_mode_remembers_nothing(tmp_path: Path) -> None:
    manifest = Manifest(str(tmp_path))
    install_component.Host(check_mode=True, manifest=manifest).settings({"cluster_name": "mine"})
    assert not Path(manifest.path).exists()


class TestUsers:
    """With accounts of the test's own in place of this machine's."""

    @pytest.fixture
    def commands(self, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
        run: list[list[str]] = []
        monkeypatch.setattr(install_component, "run", run.append)
        return run

    def accounts(self, monkeypatch: pytest.MonkeyPatch, users: dict[str, int], groups: dict[str, int]) -> None:
        def by_name(known: dict[str, int], kind: str) -> Callable[[str], SimpleNamespace]:
            return lambda name: SimpleNamespace(**{f"{kind}id": known[name], "pw_gid": known[name]})

        def by_number(known: dict[str, int]) -> Callable[[int], int]:
            return lambda number: {number: number for number in known.values()}[number]

        monkeypatch.setattr("pwd.getpwnam", by_name(users, "pw_u"))
        monkeypatch.setattr("pwd.getpwuid", by_number(users))
        monkeypatch.setattr("grp.getgrnam", by_name(groups, "gr_g"))
        monkeypatch.setattr("grp.getgrgid", by_number(groups))

    @pytest.mark.parametrize(
        ("users", "groups", "number", "options"),
        [
            ({}, {}, None, ["--user-group"]),
            ({}, {"etcd": 990}, None, ["--gid", "990"]),
            ({}, {"etcd": 990}, 991, ["--gid", "990", "--uid", "991"]),
            ({}, {}, 991, ["--user-group", "--uid", "991"]),
            ({"other": 991}, {"etcd": 990}, 991, ["--gid", "990"]),
        ],
        ids=["new", "its group is left", "its number is known", "both are gone", "its number is another's"],
    )
    def test_a_user_that_is_missing_is_made(
        self,
        host: install_component.Host,
        monkeypatch: pytest.MonkeyPatch,
        users: dict[str, int],
        groups: dict[str, int],
        number: int | None,
        options: list[str],
    ) -> None:
        commands: list[list[str]] = []

        def add(command: list[str]) -> None:
            commands.append(command)
            users["etcd"] = 995

        self.accounts(monkeypatch, users, groups)
        monkeypatch.setattr(install_component, "run", add)
        if number:
            host.manifest.add("user", "etcd", number=number)
        host.user("etcd")
        (command,) = commands
        assert command[:2] == ["useradd", "--system"]
        assert command[2 : command.index("--no-create-home")] == options
        assert host.changes == [{"path": "user etcd", "what": "created"}]
        assert [entry["number"] for entry in remembered(host.manifest)] == [995]

    def test_a_group_that_is_missing_is_made(
        self, host: install_component.Host, commands: list[list[str]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.accounts(monkeypatch, {"etcd": 990}, {})
        host.user("etcd")
        assert commands == [["groupadd", "--system", "--gid", "990", "etcd"]]
        assert host.changes == [{"path": "group etcd", "what": "created"}]

    def test_both_are_there(
        self, host: install_component.Host, commands: list[list[str]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.accounts(monkeypatch, {"etcd": 990}, {"etcd": 990})
        host.user("etcd")
        assert (commands, host.changes) == ([], [])

    def test_a_number_is_the_user_of_a_pod(self, host: install_component.Host) -> None:
        assert host.owner("65532", "") == (65532, 65532)

    def test_check_mode_foretells_the_numbers(self, manifest: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
        pretended = install_component.Host(check_mode=True, manifest=manifest)
        self.accounts(monkeypatch, {}, {"etcd": 990})
        assert pretended.owner("etcd", "") == (0, 990)
        manifest.add("user", "etcd", number=991)
        assert pretended.owner("etcd", "") == (991, 990)
        self.accounts(monkeypatch, {"other": 991}, {})
        assert pretended.owner("etcd", "") == (0, 0)
