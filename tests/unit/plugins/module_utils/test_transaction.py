"""Packages are installed, and it is known exactly what that brought. By the real apt, in a root of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils import transaction
from ansible.module_utils.transaction import Apt, Dnf, PackagesError, Transaction
from tests.unit.plugins.module_utils import debian
from tests.unit.plugins.module_utils.debian import Debian

pytestmark = pytest.mark.skipif(not debian.available(), reason="there is no apt here")


HOLD = "import fcntl, time; fcntl.lockf(0, fcntl.LOCK_EX); print(flush=True); time.sleep(60)"


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Debian:
    made = Debian(tmp_path, monkeypatch)
    made.offer("tool", Depends="library", files={"/etc/tool/tool.conf": "default\n"})
    made.offer("library", architecture="amd64", Multi_Arch="same")
    made.offer("database", files={"/etc/database.conf": "default\n"})
    return made


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transaction, "POLL_SECONDS", 0.05)


def install(system: Debian, *names: str, patience: float = 5) -> list[str]:
    packages = Transaction(system.apt, str(system.root / "state"))
    came, warnings = packages.install(names, patience)
    assert warnings == []
    return [package.name for package in came]


def remembered(system: Debian) -> dict[str, dict[str, Any]]:
    path = system.root / "state/manifest.json"
    entries = json.loads(path.read_text())["entries"] if path.exists() else []
    return {entry["name"]: entry for entry in entries if entry["kind"] == "package"}


def test_what_comes_along_is_remembered_with_its_version(system: Debian) -> None:
    assert install(system, "tool") == ["library:amd64", "tool"]
    assert remembered(system) == {
        name: {"kind": "package", "name": name, "version": "1", "residue": False, "units": []}
        for name in ("library:amd64", "tool")
    }
    assert [path.name for path in (system.root / "state").iterdir()] == ["manifest.json"]


def test_what_others_install_before_meanwhile_and_afterwards_is_theirs(system: Debian) -> None:
    system.install_manually("library")
    assert install(system, "tool") == ["tool"]
    system.install_manually("database")
    assert install(system, "tool") == []
    assert set(remembered(system)) == {"tool"}


def test_a_failed_installation_claims_nothing_that_comes_later(system: Debian) -> None:
    """The case: apt fails, the operator spends the day on the host, the run is repeated."""
    system.offer("broken", Depends="nowhere")
    with pytest.raises(PackagesError, match=r"could not install broken.*nowhere"):
        install(system, "broken")
    system.install_manually("database")
    assert install(system, "tool") == ["library:amd64", "tool"]
    assert "database" not in remembered(system)


def test_an_upgraded_package_is_not_a_new_one(system: Debian) -> None:
    system.install_manually("library")
    system.offer("library", "2", architecture="amd64", Multi_Arch="same")
    system.offer("tool", "2", Depends="library (>= 2)")
    assert install(system, "tool") == ["tool"]
    assert system.states()["library:amd64"] == "installed"


def test_a_package_whose_configuration_was_left_is_known_for_that(system: Debian) -> None:
    system.install_manually("library")
    system.install_manually("tool")
    system.run("dpkg", "--remove", "tool")
    assert install(system, "tool") == ["tool"]
    assert remembered(system)["tool"]["residue"] is True


def test_lists_are_refreshed_when_there_are_none_or_they_do_not_know_a_package(system: Debian) -> None:
    assert install(system, "library") == ["library:amd64"]
    system.offer("later")
    assert install(system, "later") == ["later"]


def test_lists_that_are_old_are_refreshed(system: Debian, monkeypatch: pytest.MonkeyPatch) -> None:
    install(system, "library")
    asked: list[str] = []
    run: Callable[[list[str], float], subprocess.CompletedProcess[str]] = transaction.unlocked

    def noted(command: list[str], patience: float) -> subprocess.CompletedProcess[str]:
        asked.extend(command)
        return run(command, patience)

    monkeypatch.setattr(transaction, "unlocked", noted)
    install(system, "database")
    assert "update" not in asked
    monkeypatch.setattr(transaction, "FRESH_SECONDS", -1)
    install(system, "tool")
    assert "update" in asked


def test_a_package_that_no_source_has_is_named(system: Debian) -> None:
    with pytest.raises(PackagesError, match=r"no package source of this host has unheard-of\."):
        install(system, "tool", "unheard-of")
    assert system.states() == {}


def test_a_run_that_was_killed_is_settled_by_the_next(system: Debian, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Transaction, "settle", lambda _self: [])
        install(system, "tool")
    assert remembered(system) == {}
    monkeypatch.setattr(transaction, "manager", lambda: system.apt)
    transaction.finish_interrupted(str(system.root / "state"))
    assert set(remembered(system)) == {"library:amd64", "tool"}
    assert not (system.root / "usr/sbin/policy-rc.d").exists()


def test_what_a_killed_run_left_unpacked_is_configured(system: Debian, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Transaction, "settle", lambda _self: [])
        patch.setattr(Apt, "install", lambda *_: None)
        install(system, "library")
    (system.root / "state/packages.plan").write_text("library - - none < 1 amd64 same /x.deb\n")
    system.run("dpkg", "--unpack", str(system.repository / "library_1.deb"))
    monkeypatch.setattr(transaction, "manager", lambda: system.apt)
    transaction.finish_interrupted(str(system.root / "state"))
    assert system.states() == {"library:amd64": "installed"}
    assert set(remembered(system)) == {"library:amd64"}


def test_another_program_at_work_is_waited_for_and_named(system: Debian, monkeypatch: pytest.MonkeyPatch) -> None:
    install(system, "library")
    lock = (system.root / "var/lib/dpkg/lock-frontend").open("w")
    # A child's, as fcntl's locks are a process' own.
    holder = subprocess.Popen([sys.executable, "-c", HOLD], stdin=lock, stdout=subprocess.PIPE)
    assert holder.stdout is not None
    holder.stdout.readline()
    try:
        with pytest.raises(
            PackagesError, match=r"at work on this host's packages for 0 s: E: Could not get lock.*held"
        ):
            install(system, "tool", patience=0.2)
        assert set(remembered(system)) == {"library:amd64"}
        monkeypatch.setattr("time.sleep", lambda _seconds: holder.kill())
        assert install(system, "tool", patience=60) == ["tool"]
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()
        lock.close()


def test_services_of_these_packages_alone_may_not_start_meanwhile(system: Debian, tmp_path: Path) -> None:
    system.offer("daemon", files={"/lib/systemd/system/daemon.service": "", "/lib/systemd/system/d2.service": ""})
    system.offer("theirs", files={"/lib/systemd/system/theirs.service": ""})
    for name in ("daemon", "theirs"):
        system.install_manually(name)
    system.apt.forbid_starts(["tool", "daemon"])
    policy = system.root / "usr/sbin/policy-rc.d"
    text = policy.read_text().replace("dpkg-query ", f"dpkg-query --root={system.root} ")
    policy.write_text(text)
    answers = {
        words: subprocess.run([policy, *words.split()], check=False).returncode
        for words in (
            "daemon.service start",
            "--quiet daemon start",
            "d2 restart",
            "theirs.service start",
            "none start",
        )
    }
    assert answers == {
        "daemon.service start": 101, "--quiet daemon start": 101, "d2 restart": 101, "theirs.service start": 0,
        "none start": 0,
    }  # fmt: skip
    system.apt.allow_starts()
    assert not policy.exists()
    policy.write_text("#!/bin/sh\nexit 101\n")
    system.apt.forbid_starts(["tool"])
    system.apt.allow_starts()
    assert policy.read_text() == "#!/bin/sh\nexit 101\n", "somebody else's stays"


def test_units_that_a_package_switches_on_are_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    files = ["/lib/systemd/system/haproxy.service", "/usr/lib/systemd/system/x@.service", "/etc/default/haproxy"]
    assert transaction.units(files) == ["haproxy.service", "x@.service"]
    called: list[list[str]] = []
    shown = "Id=haproxy.service\nUnitFileState=enabled\nActiveState=inactive\n\nId=x@.service\nUnitFileState=disabled\n"

    def run(command: list[str], timeout: float = 0) -> subprocess.CompletedProcess[str]:
        called.append(command)
        off = any(word == "disable" for each in called for word in each)
        return subprocess.CompletedProcess(command, 0, shown.replace("=enabled", "=disabled") if off else shown)

    monkeypatch.setattr(transaction, "run", run)
    monkeypatch.setattr("os.path.isdir", lambda _path: True)
    assert transaction.switched_on(transaction.units(files)) == ["haproxy.service"]
    assert transaction.switch_off(["haproxy.service"]) == []
    assert ["systemctl", "disable", "--now", "--quiet", "haproxy.service"] in called


class Rpm:
    """Plays rpm and dnf: packages with the number of the transaction that brought them."""

    def __init__(self) -> None:
        self.packages = {"glibc": 10, "openssl": 20}
        self.commands: list[list[str]] = []
        self.locked = 0
        # Another one's transaction comes right before ours, and ours upgrades something too.
        self.brings = {"kernel": 30, "haproxy": 31, "lua": 31, "glibc": 31}
        self.says = "Complete!\n"

    def run(self, command: list[str], _timeout: float = 0) -> subprocess.CompletedProcess[str]:
        self.commands.append(command)
        if command[0] == "rpm" and "--all" in command:
            rows = "".join(f"{name}\t1-1\t{number}\n" for name, number in self.packages.items())
            return subprocess.CompletedProcess(command, 0, rows)
        if command[0] == "dnf":
            if self.locked:
                self.locked -= 1
                return subprocess.CompletedProcess(
                    command, 200, "Existing lock /var/cache/dnf/metadata_lock.pid: dnf is"
                )
            self.packages |= self.brings
            return subprocess.CompletedProcess(command, 0, self.says)
        return subprocess.CompletedProcess(command, 0, "")


def test_dnf_brings_what_has_its_transactions_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rpm = Rpm()
    rpm.locked = 2
    monkeypatch.setattr(transaction, "run", rpm.run)
    came, _ = Transaction(Dnf(), str(tmp_path / "state")).install(["haproxy", "openssl"], 5)
    assert [package.name for package in came] == ["haproxy", "lua"]
    assert [command[-1] for command in rpm.commands if command[0] == "dnf"][:1] == ["haproxy"]
    assert rpm.locked == 0


def test_what_another_transaction_brought_while_dnf_waited_is_theirs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rpm = Rpm()
    monkeypatch.setattr(transaction, "run", rpm.run)
    rpm.brings = {"nftables": 30, "kernel": 30, "haproxy": 31, "lua": 31}
    came, _ = Transaction(Dnf(), str(tmp_path / "state")).install(["haproxy", "nftables"], 5)
    assert [package.name for package in came] == ["haproxy", "lua"]
    rpm.brings, rpm.says = {"conntrack-tools": 40, "postgresql": 40}, "Nothing to do.\n"
    came, _ = Transaction(Dnf(), str(tmp_path / "state")).install(["conntrack-tools"], 5)
    assert came == []


def test_directories_of_links_to_units_stay(tmp_path: Path) -> None:
    empty, ours = tmp_path / "timers.target.wants", tmp_path / "new.target.wants"
    empty.mkdir(mode=0o750)
    with transaction.directories_kept(str(tmp_path)):
        empty.rmdir()
        ours.mkdir()
        ours.rmdir()
    assert empty.stat().st_mode & 0o777 == 0o750
    assert not ours.exists()
