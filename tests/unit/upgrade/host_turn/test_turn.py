"""What a host keeps when a turn begins, and how it puts that back; with real files below another root."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.component_unit import fingerprint

import distribute_components
from kubeproof.upgrade.host_turn import files, record, units
from kubeproof.upgrade.host_turn.errors import TurnError
from kubeproof.upgrade.host_turn.main import main, parser
from kubeproof.upgrade.host_turn.record import Places
from kubeproof.upgrade.host_turn.turn import Turn, Wanted, summary

UNIT = "kube-apiserver.service"
OLD, NEW = b"old " * (1 << 19), b"new " * (1 << 19)


class Systemd:
    """Units as systemd would have them."""

    def __init__(self) -> None:
        self.units: dict[str, dict[str, str]] = {}
        self.done: list[str] = []
        self.broken: set[str] = set()
        self.slow: set[str] = set()

    def show(self, unit: str) -> dict[str, str]:
        return dict(self.units.get(unit, {"ActiveState": "inactive", "InvocationID": ""}))

    def show_all(self, units: Sequence[str]) -> dict[str, dict[str, str]]:
        return {unit: self.show(unit) for unit in units}

    def run(self, unit: str, invocation: str) -> None:
        self.units[unit] = {"ActiveState": "active", "InvocationID": invocation}

    def reload(self) -> None:
        self.done.append("reload")

    def restart(self, unit: str, seconds: float, started: Callable[[str], None]) -> str:
        self.done.append(f"restart {unit}")
        if unit in self.broken:
            return f"{unit} is failed"
        invocation = f"restarted-{len(self.done)}"
        started(invocation)
        if unit in self.slow:
            self.units[unit] = {"ActiveState": "activating", "InvocationID": invocation}
            return f"{unit} is activating {seconds} s after it was restarted"
        self.run(unit, invocation)
        return ""

    def wait(self, unit: str, seconds: float) -> str:
        self.done.append(f"wait for {unit}")
        if unit in self.slow:
            return f"{unit} is activating after another {seconds} s"
        self.run(unit, self.units[unit]["InvocationID"])
        return ""

    def stop(self, unit: str) -> None:
        self.done.append(f"stop {unit}")

    def start_timer(self, seconds: int) -> None:
        self.done.append(f"start timer of {seconds} s")

    def stop_timer(self) -> None:
        self.done.append("stop timer")


@dataclasses.dataclass
class Site:
    """A host below a directory, with an API server of the old version."""

    root: Path
    systemd: Systemd = dataclasses.field(default_factory=Systemd)
    said: list[str] = dataclasses.field(default_factory=list)
    series: str = ""

    @property
    def places(self) -> Places:
        return Places(str(self.root))

    @property
    def turn(self) -> Turn:
        return Turn(self.places, self.systemd, lambda: self.series, self.said.append)  # type: ignore[arg-type]

    def path(self, name: str) -> Path:
        return self.root / name.lstrip("/")

    def write(self, name: str, content: bytes, mode: int = 0o644) -> Path:
        path = self.path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        path.chmod(mode)
        return path

    def begin(self, **more: Any) -> None:
        wanted = Wanted("api-servers 1.37.2", "kube-apiserver 1.36.3", {"kube-apiserver": "1.36.3"}, [UNIT], 900)
        self.turn.begin(wanted._replace(**more))

    def switch(self, name: str, content: bytes) -> None:
        """What a run does to a program, by its own module."""
        staging = distribute_components.prepare_staging(needed=True, directory=self.places.state)
        digest = hashlib.sha256(content).hexdigest()
        Path(staging, digest).write_bytes(content)
        entry = {"path": str(self.path(name)), "sha256": digest, "mode": "0755"}
        present = distribute_components.Files(self.places.state)
        distribute_components.converge(present, [entry], staging)
        present.save()

    @property
    def recorded(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(Path(self.places.record).read_text())
        return found


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.setattr(distribute_components, "OWNER", (os.getuid(), os.getgid()))
    made = Site(tmp_path)
    made.write("/usr/local/bin/kube-apiserver", OLD, 0o755)
    made.write("/etc/kubernetes/apiserver/encryption.yaml", b"old keys", 0o640)
    made.write("/etc/kubernetes/apiserver/server.key", b"private", 0o600)
    made.write(f"/etc/systemd/system/{UNIT}", b"[Service]\nExecStart=old\n")
    inputs = ["/etc/kubernetes/apiserver", "/usr/local/bin/kube-apiserver", f"/etc/systemd/system/{UNIT}"]
    known = {name: fingerprint(str(made.path(name))) for name in inputs}
    made.write(f"/var/lib/kubeproof/units/{UNIT}.json", json.dumps({"inputs": known, "invocation": "one"}).encode())
    made.write("/var/lib/kubeproof/manifest.json", json.dumps({"version": 1, "entries": []}).encode())
    made.systemd.run(UNIT, "one")
    return made


def upgrade(site: Site) -> None:
    """What a turn does to an API server, up to its restart."""
    site.switch("/usr/local/bin/kube-apiserver", NEW)
    site.write(f"/etc/systemd/system/{UNIT}", b"[Service]\nExecStart=new --emulated-version=1.36\n")
    site.write("/etc/kubernetes/apiserver/encryption.yaml", b"new keys", 0o600)
    added = site.write("/etc/kubernetes/apiserver/authentication.yaml", b"only the new one reads this")
    entries = [{"kind": "file", "path": f"/{added.relative_to(site.root)}", "backup": None}]
    site.write("/var/lib/kubeproof/manifest.json", json.dumps({"version": 1, "entries": entries}).encode())
    inputs = json.loads(site.path(f"/var/lib/kubeproof/units/{UNIT}.json").read_text())["inputs"]
    site.write(
        f"/var/lib/kubeproof/units/{UNIT}.json",
        json.dumps({"inputs": dict.fromkeys(inputs, "new"), "invocation": "two"}).encode(),
    )
    site.systemd.run(UNIT, "two")


def test_a_turn_that_nobody_confirms_is_put_back(site: Site) -> None:
    site.begin()
    upgrade(site)
    assert site.turn.put_back("host", "it was not confirmed")
    assert site.path("/usr/local/bin/kube-apiserver").read_bytes() == OLD
    assert site.path("/usr/local/bin/kube-apiserver").stat().st_mode & 0o7777 == 0o755
    assert b"ExecStart=old" in site.path(f"/etc/systemd/system/{UNIT}").read_bytes()
    keys = site.path("/etc/kubernetes/apiserver/encryption.yaml")
    assert (keys.read_bytes(), keys.stat().st_mode & 0o7777) == (b"old keys", 0o640)
    assert not site.path("/etc/kubernetes/apiserver/authentication.yaml").exists()
    assert site.systemd.done == ["start timer of 900 s", "reload", f"restart {UNIT}", "stop timer"]
    assert site.said[-1] == "api-servers 1.37.2 is put back to kube-apiserver 1.36.3"


def test_the_next_run_has_no_reason_to_restart_what_was_put_back(site: Site) -> None:
    site.begin()
    upgrade(site)
    site.turn.put_back("host", "it was not confirmed")
    noted = json.loads(site.path(f"/var/lib/kubeproof/units/{UNIT}.json").read_text())
    assert noted["invocation"] == site.systemd.show(UNIT)["InvocationID"]
    assert noted["inputs"] == {name: fingerprint(str(site.path(name))) for name in noted["inputs"]}


def test_the_next_look_is_told_and_no_key_stays_behind(site: Site) -> None:
    site.begin()
    assert Path(site.places.record).stat().st_mode & 0o7777 == 0o600
    upgrade(site)
    site.turn.put_back("host", "it was not confirmed")
    told = site.recorded
    assert (told["state"], told["by"], told["act"]) == ("put back", "host", "api-servers 1.37.2")
    assert told["former"] == {"kube-apiserver": "1.36.3"}
    assert "files" not in told
    assert "cHJpdmF0ZQ" not in Path(site.places.record).read_text()
    assert not Path(site.places.programs).exists()


def test_a_summary_has_no_keys(site: Site) -> None:
    site.begin()
    assert "cHJpdmF0ZQ" in Path(site.places.record).read_text()
    assert json.loads(summary(site.places))["state"] == "unconfirmed"
    assert "cHJpdmF0ZQ" not in summary(site.places)


def test_a_confirmed_turn_stays(site: Site) -> None:
    site.begin()
    upgrade(site)
    site.turn.confirm()
    assert site.turn.put_back("host", "it was not confirmed")
    assert site.path("/usr/local/bin/kube-apiserver").read_bytes() == NEW
    assert f"restart {UNIT}" not in site.systemd.done
    assert not Path(site.places.record).exists()


def test_whoever_puts_back_first_the_other_finds_nothing_to_do(site: Site) -> None:
    site.begin()
    upgrade(site)
    assert site.turn.put_back("run", "its gate said no")
    before = list(site.systemd.done)
    assert site.turn.put_back("host", "it was not confirmed")
    assert [each for each in site.systemd.done[len(before) :] if each.startswith("restart")] == []
    assert site.recorded["by"] == "run"


def test_a_turn_that_the_host_has_put_back_cannot_be_confirmed(site: Site) -> None:
    site.begin()
    upgrade(site)
    site.turn.put_back("host", "it was not confirmed")
    with pytest.raises(TurnError, match=r"has put back api-servers 1\.37\.2, since it was not confirmed within 900 s"):
        site.turn.confirm()


def test_to_confirm_twice_does_no_harm(site: Site) -> None:
    site.begin()
    site.turn.confirm()
    site.turn.confirm()


def test_a_host_that_is_interrupted_does_it_again(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.begin()
    upgrade(site)
    with monkeypatch.context() as interrupted:

        def lost(*_: Any) -> None:
            raise KeyboardInterrupt

        interrupted.setattr(site.systemd, "restart", lost)
        with pytest.raises(KeyboardInterrupt):
            site.turn.put_back("host", "it was not confirmed")
    assert site.recorded["state"] == "putting back"
    with pytest.raises(TurnError):
        site.turn.confirm()
    assert site.turn.put_back("host", "it was not confirmed")
    assert site.recorded["state"] == "put back"
    assert site.systemd.done[-2:] == [f"restart {UNIT}", "stop timer"]


def test_another_turn_begins_only_after_the_last_one_is_over(site: Site) -> None:
    site.begin()
    with pytest.raises(TurnError, match=r"an earlier turn of this host \(api-servers 1\.37\.2\) was not confirmed"):
        site.begin()
    site.turn.put_back("run", "killed")
    site.begin(act="api-servers 1.37.3")
    assert site.recorded["act"] == "api-servers 1.37.3"
    assert site.recorded["state"] == "unconfirmed"


def test_what_was_not_touched_is_not_restarted(site: Site) -> None:
    site.begin()
    assert site.turn.put_back("host", "it was not confirmed")
    assert f"restart {UNIT}" not in site.systemd.done


def test_a_process_that_was_only_restarted_is_restarted_with_what_it_had(site: Site) -> None:
    site.begin()
    site.systemd.run(UNIT, "two")
    site.turn.put_back("host", "it was not confirmed")
    assert f"restart {UNIT}" in site.systemd.done


def test_a_unit_that_did_not_run_is_not_started(site: Site) -> None:
    site.systemd.units[UNIT] = {"ActiveState": "inactive", "InvocationID": "one"}
    site.begin()
    upgrade(site)
    site.turn.put_back("host", "it was not confirmed")
    assert f"restart {UNIT}" not in site.systemd.done


@pytest.mark.parametrize(
    "changed",
    ["/usr/local/bin/kube-apiserver", "/etc/kubernetes/apiserver/encryption.yaml", f"/etc/systemd/system/{UNIT}"],
)
def test_a_process_that_was_not_restarted_yet_is_not_restarted_for_its_files(site: Site, changed: str) -> None:
    """Turns of members begin together: of one that fails the others have the new files, and the old process.

    Were these restarted when they are put back, two members would be away at the same time.
    """
    old = site.path(changed).read_bytes()
    site.begin()
    site.switch(changed, NEW) if old == OLD else site.write(changed, b"new")
    assert site.turn.put_back("run", "an earlier run was killed in this turn")
    assert site.path(changed).read_bytes() == old
    assert not [each for each in site.systemd.done if each.startswith("restart ")]
    noted = json.loads(site.path(f"/var/lib/kubeproof/units/{UNIT}.json").read_text())["inputs"]
    now = {name: fingerprint(str(site.path(name))) for name in noted}
    assert noted == json.loads(json.dumps(now)), "nor by the next run"


def test_a_unit_that_is_down_is_started_with_what_it_had(site: Site) -> None:
    site.begin()
    upgrade(site)
    site.systemd.units[UNIT] = {"ActiveState": "failed", "InvocationID": "one"}
    site.turn.put_back("host", "it was not confirmed")
    assert f"restart {UNIT}" in site.systemd.done


def test_a_program_that_was_not_there_goes(site: Site) -> None:
    site.begin()
    site.switch("/usr/local/bin/crictl", NEW)
    site.turn.put_back("host", "it was not confirmed")
    assert not site.path("/usr/local/bin/crictl").exists()


def test_a_file_of_somebody_else_stays(site: Site) -> None:
    site.begin()
    upgrade(site)
    site.write("/etc/kubernetes/apiserver/notes.txt", b"an operator's")
    site.turn.put_back("host", "it was not confirmed")
    assert site.path("/etc/kubernetes/apiserver/notes.txt").exists()


def test_a_program_that_is_replaced_twice_is_put_back_to_the_first(site: Site) -> None:
    site.begin()
    site.switch("/usr/local/bin/kube-apiserver", NEW)
    site.switch("/usr/local/bin/kube-apiserver", NEW + b"er")
    site.turn.put_back("host", "it was not confirmed")
    assert site.path("/usr/local/bin/kube-apiserver").read_bytes() == OLD


def spoil(staged: Path) -> None:
    staged.write_bytes(b"damaged")


def test_on_a_disk_that_is_full_the_old_program_is_put_back_without_a_copy(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.begin()
    site.switch("/usr/local/bin/kube-apiserver", NEW)

    def full(*_arguments: Any, **_more: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fdatasync", full)
    assert site.turn.put_back("host", "it was not confirmed")
    program = site.path("/usr/local/bin/kube-apiserver")
    assert (program.read_bytes(), program.stat().st_mode & 0o7777) == (OLD, 0o755)
    assert sorted(each.name for each in program.parent.iterdir()) == ["kube-apiserver"]


def test_a_program_is_put_back_in_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What etcd syncs meanwhile waits for no more than one of them."""
    monkeypatch.setattr(files, "_STEP", 4)
    (kept := tmp_path / "kept").write_bytes(b"0123456789")
    sizes: list[int] = []
    monkeypatch.setattr("os.fdatasync", lambda descriptor: sizes.append(os.fstat(descriptor).st_size))
    assert files.place(str(kept), hashlib.sha256(b"0123456789").hexdigest(), 0o755, str(tmp_path / "program"))
    assert (tmp_path / "program").read_bytes() == b"0123456789"
    assert sizes == [4, 8, 10]


def test_a_unit_that_is_still_what_it_was_is_not_restarted_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    """The job is queued; what is active for a moment yet is the process that is to go."""
    states = iter([*[("active", "old")] * 3, ("deactivating", "old"), ("active", "new")])

    class Restarting(units.Systemd):
        def show(self, unit: str) -> dict[str, str]:  # noqa: ARG002
            state, invocation = next(states)
            return {"ActiveState": state, "InvocationID": invocation}

        @staticmethod
        def _run(*_arguments: str) -> str:
            return ""

    monkeypatch.setattr("kubeproof.upgrade.host_turn.units.time.sleep", lambda _seconds: None)
    monkeypatch.setattr("kubeproof.upgrade.host_turn.units.subprocess.run", lambda *_arguments, **_more: None)
    started: list[str] = []
    assert Restarting().restart(UNIT, 5.0, started.append) == ""
    assert next(states, None) is None
    assert started == ["new"]


def test_a_unit_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    states = iter(["activating", "active", "activating"])

    class Starting(units.Systemd):
        def show(self, unit: str) -> dict[str, str]:  # noqa: ARG002
            return {"ActiveState": next(states)}

    monkeypatch.setattr("kubeproof.upgrade.host_turn.units.time.sleep", lambda _seconds: None)
    assert Starting().wait(UNIT, 5.0) == ""
    assert Starting().wait(UNIT, -1.0).startswith(f"{UNIT} is still activating")


class Manager(units.Systemd):
    """What is asked of systemctl, and answered in its stead."""

    def __init__(self, directory: Path, **answers: str) -> None:
        super().__init__(str(directory))
        self.drop_in = directory / f"{units.TIMER}.d" / "10-turn.conf"
        self.asked: list[str] = []
        self.answers = answers

    def _run(self, *arguments: str) -> str:  # type: ignore[override]
        self.asked.append(" ".join(arguments))
        return self.answers.get(arguments[0], "")


def shown(path: Path | str, timer: str = "no", service: str = "no") -> str:
    return f"NeedDaemonReload={timer}\nDropInPaths={path}\n\nNeedDaemonReload={service}\nDropInPaths=\n"


def test_the_timer_has_the_time_of_its_turn(tmp_path: Path) -> None:
    manager = Manager(tmp_path)
    manager.start_timer(2880)
    # What the timer had before, by its unit file, is over.
    assert manager.drop_in.read_text() == "[Timer]\nOnActiveSec=\nOnActiveSec=2880\n"
    assert manager.drop_in.stat().st_mode & 0o777 == 0o644
    assert manager.asked == [
        "daemon-reload", f"enable --no-reload --quiet {units.TIMER}", f"restart {units.TIMER}",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("answer", "reloads"),
    [
        (shown("{drop_in}"), False),
        (shown("/run/systemd/system/other.conf {drop_in}"), False),
        (shown("{drop_in}", timer="yes"), True),
        (shown("{drop_in}", service="yes"), True),
        # A turn that was killed has written it, and systemd has not read it.
        (shown(""), True),
    ],
    ids=["known", "another-one", "timer", "service", "never-read"],
)
def test_unit_files_are_read_again_only_if_there_is_something_new(tmp_path: Path, answer: str, reloads: bool) -> None:
    manager = Manager(tmp_path)
    manager.start_timer(900)
    manager.answers["show"] = answer.format(drop_in=manager.drop_in)
    manager.asked.clear()
    manager.start_timer(900)
    assert ("daemon-reload" in manager.asked) == reloads
    manager.asked.clear()
    manager.start_timer(1080)
    assert manager.asked[0] == "daemon-reload", "another time"
    manager.asked.clear()
    manager.stop_timer()
    assert manager.asked == [f"disable --now --no-reload --quiet {units.TIMER}"]


def test_units_are_asked_for_together(tmp_path: Path) -> None:
    manager = Manager(tmp_path, show="ActiveState=active\nInvocationID=a\n\nActiveState=inactive\nInvocationID=\n")
    assert manager.show_all(["one.service", "two.service"]) == {
        "one.service": {"ActiveState": "active", "InvocationID": "a"},
        "two.service": {"ActiveState": "inactive", "InvocationID": ""},
    }
    assert manager.asked == ["show --property=ActiveState,InvocationID -- one.service two.service"]
    with pytest.raises(TurnError, match=r"has shown 2 units, and was asked for one\.service"):
        manager.show("one.service")


@pytest.mark.parametrize("damage", [Path.unlink, spoil], ids=["gone", "damaged"])
def test_without_the_old_program_nothing_is_restarted_and_it_is_said(
    site: Site, damage: Callable[[Path], None]
) -> None:
    site.begin()
    upgrade(site)
    damage(Path(site.places.staged) / hashlib.sha256(OLD).hexdigest())
    assert not site.turn.put_back("host", "it was not confirmed")
    assert site.path("/usr/local/bin/kube-apiserver").read_bytes() == NEW
    assert f"restart {UNIT}" not in site.systemd.done
    assert site.recorded["state"] == "putting back"
    assert "kube-apiserver cannot be put back" in site.recorded["problems"][0]


def test_a_unit_that_does_not_start_is_tried_again(site: Site) -> None:
    site.begin()
    upgrade(site)
    site.systemd.broken.add(UNIT)
    assert not site.turn.put_back("host", "it was not confirmed")
    assert site.recorded["problems"] == [f"{UNIT} is failed"]
    site.systemd.broken.clear()
    # As systemd has it by then.
    site.systemd.units[UNIT] = {"ActiveState": "failed", "InvocationID": "three"}
    assert site.turn.put_back("host", "it was not confirmed")
    assert site.recorded["state"] == "put back"


def test_a_unit_that_takes_its_time_to_start_is_not_restarted_again(site: Site) -> None:
    """A member that reads much data would never get to its end."""
    site.begin(start_seconds=240)
    upgrade(site)
    site.systemd.slow.add(UNIT)
    for _ in range(2):
        assert not site.turn.put_back("host", "it was not confirmed")
    assert site.systemd.done.count(f"restart {UNIT}") == 1
    assert site.recorded["problems"] == [f"{UNIT} is activating after another 240 s"]
    site.systemd.slow.clear()
    assert site.turn.put_back("run", "an earlier run was killed in this turn")
    assert site.systemd.done.count(f"restart {UNIT}") == 1
    assert site.recorded["state"] == "put back"


@pytest.mark.parametrize(("by_others", "restarts"), [(False, 1), (True, 2)])
def test_a_unit_that_has_started_meanwhile_is_restarted_if_others_did_that(
    site: Site, by_others: bool, restarts: int
) -> None:
    """It need not be what was put back."""
    site.begin()
    upgrade(site)
    site.systemd.slow.add(UNIT)
    assert not site.turn.put_back("host", "it was not confirmed")
    site.systemd.slow.clear()
    site.systemd.run(UNIT, "another" if by_others else site.systemd.show(UNIT)["InvocationID"])
    assert site.turn.put_back("host", "it was not confirmed")
    assert site.systemd.done.count(f"restart {UNIT}") == restarts


def test_a_run_that_is_still_at_work_is_kept_out(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bool] = []
    restart = site.systemd.restart

    def watched(unit: str, seconds: float, started: Callable[[str], None]) -> str:
        seen.append(Path(site.places.run).exists())
        return restart(unit, seconds, started)

    monkeypatch.setattr(site.systemd, "restart", watched)
    site.begin()
    upgrade(site)
    site.turn.put_back("host", "it was not confirmed")
    assert seen == [True]
    assert not Path(site.places.run).exists()


def test_a_static_pod_is_left_to_its_kubelet(site: Site) -> None:
    manifest = site.write("/etc/kubernetes/manifests/kube-apiserver.json", b'{"metadata": {"uid": "old"}}', 0o600)
    site.begin()
    manifest.write_bytes(b'{"metadata": {"uid": "new"}}')
    site.turn.put_back("host", "it was not confirmed")
    assert manifest.read_bytes() == b'{"metadata": {"uid": "old"}}'
    assert f"restart {UNIT}" not in site.systemd.done


def test_the_successor_of_a_static_pod_does_not_come_after_it_was_put_back(site: Site) -> None:
    manifest = site.write("/etc/kubernetes/manifests/kube-apiserver.json", b'{"metadata": {"uid": "old"}}', 0o600)
    site.begin()
    manifest.unlink()
    successor = site.write("/etc/kubernetes/manifests/.kube-apiserver.next", b'{"metadata": {"uid": "new"}}', 0o600)
    site.turn.put_back("run", "an earlier run was killed in this turn")
    assert manifest.read_bytes() == b'{"metadata": {"uid": "old"}}'
    assert not successor.exists()
    assert "stop kubeproof-next-kube-apiserver.timer" in site.systemd.done


# --- etcd, whose old program must not meet newer data ---


def etcd_turn(site: Site) -> None:
    site.write("/usr/local/bin/etcd", OLD, 0o755)
    site.systemd.run("etcd.service", "one")
    site.begin(act="etcd 3.7.3", what="etcd 3.6.16", former={"etcd": "3.6.16"}, units=["etcd.service"])
    site.switch("/usr/local/bin/etcd", NEW)
    site.systemd.run("etcd.service", "two")


@pytest.mark.parametrize("series", ["3.6.0", "", "3.5.0"])
def test_a_member_is_put_back_while_its_cluster_is_of_the_old_version(site: Site, series: str) -> None:
    etcd_turn(site)
    site.series = series
    assert site.turn.put_back("host", "it was not confirmed")
    assert site.path("/usr/local/bin/etcd").read_bytes() == OLD
    assert site.recorded["state"] == "put back"


@pytest.mark.parametrize("series", ["3.7.0", "3.10.0", "4.0.0"])
def test_a_member_whose_cluster_has_moved_stays(site: Site, series: str) -> None:
    etcd_turn(site)
    site.series = series
    assert site.turn.put_back("host", "it was not confirmed")
    assert site.path("/usr/local/bin/etcd").read_bytes() == NEW
    assert site.recorded["state"] == "kept"
    assert f"etcd is not put back to 3.6.16: its cluster is of version {series} by now" in site.said
    assert site.systemd.done[-1] == "stop timer"


# --- files and the record ---


def test_fingerprints_are_those_of_the_module(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(OLD)
    (tmp_path / "directory").mkdir()
    (tmp_path / "directory/small").write_bytes(b"small")
    for name in ("large", "directory", "directory/small", "missing"):
        assert files.fingerprint(str(tmp_path / name)) == fingerprint(str(tmp_path / name))


def test_a_link_is_put_back_as_a_link(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to("there")
    was = files.kept(str(link))
    link.unlink()
    link.write_text("a file")
    assert files.put(str(link), was)
    assert link.is_symlink()
    assert os.readlink(link) == "there"  # noqa: PTH115 - as it is written
    assert not files.put(str(link), was)


def test_a_damaged_record_is_no_reason_to_guess(site: Site) -> None:
    site.begin()
    Path(site.places.record).write_text("{")
    with pytest.raises(TurnError, match="is damaged"):
        site.turn.put_back("host", "it was not confirmed")


def test_drop_ins_are_kept(site: Site) -> None:
    drop_in = site.write(f"/etc/systemd/system/{UNIT}.d/proxy.conf", b"[Service]\n")
    assert str(drop_in) in record.before(site.places, [UNIT])["files"]


def test_the_command_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, site: Site) -> None:
    monkeypatch.setattr("kubeproof.upgrade.host_turn.main.Places", lambda: site.places)
    given = parser().parse_args(["begin", "--act", "a", "--what", "b", "--seconds", "9", "--unit", "c", "--unit=d"])
    assert (given.unit, given.seconds, given.former) == (["c", "d"], 9, "{}")
    assert main(["show"]) == 0
    assert capsys.readouterr().out == "{}\n"
    Path(site.places.record).parent.mkdir(exist_ok=True)
    Path(site.places.record).write_text("{")
    assert main(["confirm"]) == 1
    assert "is damaged" in capsys.readouterr().err
