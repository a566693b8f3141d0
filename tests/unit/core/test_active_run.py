"""The record of the run that changes a cluster: who holds it, and when it is over. With real processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from kubeproof.core import active_run
from kubeproof.core.active_run import ActiveRun, Busy, Machine, Process

ELSEWHERE = Machine("ctl2", "b" * 32, "another boot", "pid:[1]")


@pytest.fixture
def other() -> Iterator[subprocess.Popen[bytes]]:
    """A process of somebody else."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process
        process.kill()


def put(directory: Path, run: ActiveRun, age: float = 0.0) -> None:
    """Have a record as a run has left it so many seconds ago."""
    path = directory / active_run.NAME
    path.write_text(json.dumps(run.data()))
    os.utime(path, (time.time() - age,) * 2)


def remaining(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_one_at_a_time_and_the_refusal_says_who_and_what_to_do(tmp_path: Path, other: subprocess.Popen[bytes]) -> None:
    active_run.claim(tmp_path, "ansible-playbook playbooks/cluster.yml", other.pid)
    with pytest.raises(Busy) as caught:
        active_run.claim(tmp_path, "kubeproof up", os.getpid())
    said = str(caught.value)
    assert said.startswith("another run is changing this cluster: `ansible-playbook playbooks/cluster.yml` of ")
    assert f" on {Machine.here().name}, process {other.pid}, since 20" in said
    assert f"end it (kill {other.pid}) and run this again" in said


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_run_that_was_killed_blocks_nobody(
    tmp_path: Path, other: subprocess.Popen[bytes], number: signal.Signals
) -> None:
    active_run.claim(tmp_path, "ansible-playbook", other.pid)
    other.send_signal(number)
    # Not waited for by its parent: a zombie.
    os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)
    assert active_run.claim(tmp_path, "kubeproof up", os.getpid()).command == "kubeproof up"


def test_another_process_of_the_same_number_is_another(tmp_path: Path) -> None:
    mine = Process.of(os.getpid())
    put(tmp_path, ActiveRun.new("of before", replace(mine, started="1")))
    assert active_run.own(tmp_path, os.getpid()) is None
    assert active_run.claim(tmp_path, "now", os.getpid()).processes == (mine,)


@pytest.mark.parametrize(("answer", "alive"), [(PermissionError(), True), (ProcessLookupError(), False)])
def test_a_process_of_another_user_may_be_hidden(monkeypatch: pytest.MonkeyPatch, answer: OSError, alive: bool) -> None:
    def kill(_pid: int, _number: int) -> None:
        raise answer

    # As /proc mounted with hidepid shows it.
    monkeypatch.setattr(active_run, "_status", lambda pid: Path(f"/proc/hidden-{pid}/stat").read_text().split())
    monkeypatch.setattr(os, "kill", kill)
    assert Process(4711, "1").alive is alive


def test_the_same_process_claims_once(tmp_path: Path) -> None:
    first = active_run.claim(tmp_path, "one", os.getpid())
    assert active_run.claim(tmp_path, "two", os.getpid()) == first
    assert active_run.own(tmp_path, os.getpid()) == first


def test_what_a_run_starts_joins_it_and_keeps_it_when_the_first_is_killed(tmp_path: Path) -> None:
    """``kubeproof up`` starts ansible-playbook, which continues for a while without it."""
    first = subprocess.Popen(
        [sys.executable, "-c", "import subprocess, sys; subprocess.run([sys.executable, '-c', 'input()'])"],
        stdin=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        children = Path(f"/proc/{first.pid}/task/{first.pid}/children")
        while not children.read_text():
            time.sleep(0.01)
        child = int(children.read_text())
        active_run.claim(tmp_path, "kubeproof up", first.pid)
        joined = active_run.claim(tmp_path, "ansible-playbook", child)
        assert (joined.command, [each.pid for each in joined.processes]) == ("kubeproof up", [first.pid, child])
        os.kill(first.pid, signal.SIGKILL)
        first.wait()
        with pytest.raises(Busy, match=f"kill {child}"):
            active_run.claim(tmp_path, "kubeproof up", os.getpid())
    finally:
        os.killpg(first.pid, signal.SIGKILL)
        first.communicate()


def test_a_run_that_has_ended_leaves_nothing(tmp_path: Path, other: subprocess.Popen[bytes]) -> None:
    with active_run.held(tmp_path, "kubeproof up"):
        assert active_run.claim(tmp_path, "ansible-playbook", other.pid).command == "kubeproof up"
        active_run.release(tmp_path, other.pid)
        assert active_run.own(tmp_path, os.getpid()) is not None
        assert active_run.own(tmp_path, other.pid) is None
    assert remaining(tmp_path) == []
    active_run.release(tmp_path / "gone", os.getpid())


def test_the_last_one_to_leave_ends_it(tmp_path: Path, other: subprocess.Popen[bytes]) -> None:
    with active_run.held(tmp_path, "kubeproof up"):
        active_run.claim(tmp_path, "ansible-playbook", other.pid)
    assert remaining(tmp_path) == [active_run.NAME]
    active_run.release(tmp_path, os.getpid())
    assert remaining(tmp_path) == [active_run.NAME]
    active_run.release(tmp_path, other.pid)
    assert remaining(tmp_path) == []


class TestAnotherMachine:
    """One that shares the state directory, or works on the same hosts: its processes cannot be seen."""

    def run(self, machine: Machine = ELSEWHERE) -> ActiveRun:
        return replace(ActiveRun.new("ansible-playbook", Process(1, "1")), machine=machine)

    def test_is_respected_until_its_last_sign_of_life_is_old(self, tmp_path: Path) -> None:
        put(tmp_path, self.run(), age=600)
        with pytest.raises(Busy) as caught:
            active_run.claim(tmp_path, "kubeproof up", os.getpid())
        said = str(caught.value)
        assert " on ctl2, since 20" in said
        assert "with its last sign of life 10 min ago" in said
        assert f"it is over 30 minutes after its last sign of life, or when {tmp_path / active_run.NAME}" in said
        put(tmp_path, self.run(), age=active_run.EXPIRES + 5)
        assert active_run.claim(tmp_path, "kubeproof up", os.getpid()).machine == Machine.here()

    @pytest.mark.parametrize(
        ("identity", "name", "over"),
        [
            ("a" * 32, Machine.here().name, True),
            ("a" * 32, "ctl2", False),
            # Containers of one image have no identity, and may have one name.
            ("", Machine.here().name, False),
        ],
        ids=["rebooted", "another", "container"],
    )
    def test_may_be_this_one_before_it_was_booted(
        self, identity: str, name: str, over: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        here = replace(Machine.here(), identity=identity)
        monkeypatch.setattr(Machine, "here", lambda: here)
        assert self.run(replace(here, name=name, boot="an earlier boot")).over(0) is over

    def test_may_be_a_container_of_this_one(self) -> None:
        here = Machine.here()
        run = replace(self.run(replace(here, namespace="pid:[1]")), processes=(Process.of(os.getpid()),))
        assert not run.over(0)
        assert run.over(active_run.EXPIRES + 1)

    def test_is_told_by_each_task_that_the_run_lives(self, tmp_path: Path) -> None:
        put(tmp_path, active_run.claim(tmp_path, "up", os.getpid()), age=600)
        active_run.own(tmp_path, os.getpid())
        assert time.time() - (tmp_path / active_run.NAME).stat().st_mtime < 60


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"id": 1, "machine": {"name": 1}}'])
def test_what_is_no_record_holds_nobody_up(tmp_path: Path, content: str) -> None:
    (tmp_path / active_run.NAME).write_text(content)
    assert active_run.own(tmp_path, os.getpid()) is None
    assert active_run.claim(tmp_path, "up", os.getpid()).command == "up"


def test_a_record_is_read_as_it_was_written() -> None:
    run = ActiveRun.new("up", Process.of(os.getpid()))
    assert ActiveRun.parse(json.loads(json.dumps(run.data()))) == run


def test_a_command_line_is_shown_without_what_may_be_secret() -> None:
    given = [
        *("-i", "inventory/mine/hosts.yml", "--inventory=more", "-e", "vault.yml", "--extra-vars", '{"password": "x"}'),
        *("--limit", "w1", "--check", "playbooks/cluster.yml", "-eansible_become_password=x", "--tags=etcd", "-K"),
    ]
    command = [sys.executable, "-c", "input()", *given]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        while b"input" not in Path(f"/proc/{process.pid}/cmdline").read_bytes():
            time.sleep(0.01)
        shown = active_run.playbook_command(process.pid)
        process.kill()
    assert shown == (
        "ansible-playbook -i inventory/mine/hosts.yml --inventory=more --limit w1 playbooks/cluster.yml --tags=etcd"
    )
