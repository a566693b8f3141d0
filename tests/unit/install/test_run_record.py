"""The record of a playbook run, and how it is shown."""

from __future__ import annotations

import io
import itertools
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from rich.console import Console

from kubeproof.install.reporter import RunReporter
from kubeproof.install.run_record import Recorder, changes_of, message, write_profile


@pytest.fixture
def output() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def log() -> list[str]:
    return []


@pytest.fixture
def recorder(output: io.StringIO, log: list[str]) -> Recorder:
    """A recorder that tells to a log, with a clock that ticks at each look."""
    listener = RunReporter(Console(file=output, width=100), "run.log")
    ticks = itertools.count()
    return Recorder(listener, log.append, clock=lambda: float(next(ticks)))


def install(recorder: Recorder, role: str, *outcomes: str) -> None:
    """A task of a role on as many hosts as there are outcomes."""
    identity = f"{role}{len(recorder.phases)}"
    recorder.task(identity, f"Install {role}", role, f"roles/{role}/tasks/main.yml:3", "install_component")
    for number, outcome in enumerate(outcomes, 1):
        recorder.outcome(identity, f"w{number}", outcome, {"msg": f"{role} went wrong"} if outcome == "failed" else {})


def test_a_role_is_told_in_one_line(recorder: Recorder, output: io.StringIO) -> None:
    recorder.play("Nodes")
    install(recorder, "kubelet", "changed", "ok")
    install(recorder, "kubelet", "changed", "ok")
    install(recorder, "kube-proxy", "ok", "ok")
    recorder.end()
    lines = [line.split() for line in output.getvalue().splitlines()]
    assert [line[:3] for line in lines] == [["✔", "kubelet", "w1,"], ["✔", "kube-proxy", "w1,"]]
    assert lines[0][4:6] == ["2", "changed"]
    assert "unchanged" in lines[1]


def test_a_phase_in_which_nobody_had_anything_to_do_is_not_told(recorder: Recorder, output: io.StringIO) -> None:
    recorder.play("Store, where it leads")
    install(recorder, "etcd", "skipped", "skipped")
    recorder.play("Nodes")
    install(recorder, "kubelet", "skipped", "ok")
    recorder.end()
    assert "etcd" not in output.getvalue()
    assert "kubelet" in output.getvalue()


def test_warnings_are_told_at_the_end_each_once(recorder: Recorder, output: io.StringIO, log: list[str]) -> None:
    recorder.play("Store")
    recorder.task("1", "Hand over", "etcd", "x")
    for host in ("cp2", "cp1"):
        recorder.outcome("1", host, "ok", {"warnings": ["a write may fail"]})
    recorder.outcome("1", "cp3", "ok", {"warnings": ["it stays"], "deprecations": [{"msg": "old", "version": "2.23"}]})
    recorder.end()
    assert [line.strip() for line in output.getvalue().splitlines()[-3:]] == [
        "! cp1, cp2 · a write may fail",
        "! cp3 · it stays",
        "! cp3 · deprecated: old",
    ]
    assert any("a write may fail" in line for line in log)


def test_a_difference_of_files_is_shown_and_logged(recorder: Recorder, output: io.StringIO, log: list[str]) -> None:
    recorder.play("Nodes")
    recorder.task("1", "Install the kubelet", "kubelet", "x")
    recorder.outcome("1", "w1", "changed", {})
    recorder.diff("1", "w1", "--- before: /etc/kubelet\n\x1b[0;32m+maxPods: 70\x1b[0m\n")
    recorder.end()
    assert output.getvalue().splitlines()[:3] == [
        "w1 · kubelet: Install the kubelet", "--- before: /etc/kubelet", "+maxPods: 70"
    ]  # fmt: skip
    assert log[-2:] == ["  w1: --- before: /etc/kubelet", "  w1: +maxPods: 70"]


def test_one_role_in_two_plays_is_two_phases(recorder: Recorder) -> None:
    for play in ("First", "Second"):
        recorder.play(play)
        install(recorder, "etcd", "ok")
    recorder.end()
    assert [(phase.play, phase.role) for phase in recorder.phases] == [("First", "etcd"), ("Second", "etcd")]


def test_a_role_that_only_checks_its_arguments_is_not_told(recorder: Recorder, output: io.StringIO) -> None:
    recorder.play("Nodes")
    recorder.task("1", "Validate", "cluster", "x", "ansible.builtin.validate_argument_spec")
    recorder.outcome("1", "w1", "ok", {})
    recorder.end()
    assert output.getvalue() == ""


def test_a_play_that_was_left_out_is_not_told(recorder: Recorder, output: io.StringIO) -> None:
    recorder.play("Install etcd")
    recorder.task("1", "Leave out", "", "x", "ansible.builtin.meta")
    recorder.end()
    assert output.getvalue() == ""


def test_the_same_failure_on_several_hosts_is_told_once(recorder: Recorder, output: io.StringIO) -> None:
    recorder.play("Nodes")
    install(recorder, "kubelet", "failed", "failed", "ok")
    recorder.end()
    told = output.getvalue()
    assert "✘ w1, w2 · kubelet: Install kubelet" in told
    assert told.count("kubelet went wrong") == 1
    assert "run.log" in told


def test_a_failure_that_is_ignored_is_none(recorder: Recorder) -> None:
    recorder.play("Nodes")
    install(recorder, "kubelet", "ignored")
    recorder.end()
    assert not recorder.failures


def test_a_hint_is_shown(recorder: Recorder, output: io.StringIO) -> None:
    recorder.play("Nodes")
    recorder.task("1", "Start", "etcd", "x")
    recorder.outcome("1", "w1", "unreachable", {"msg": "no route", "hint": "start the host"})
    recorder.end()
    assert "start the host" in output.getvalue()


def test_everything_is_in_the_log(recorder: Recorder, log: list[str]) -> None:
    recorder.play("Nodes")
    install(recorder, "kubelet", "ok", "failed")
    assert log[0] == "PLAY Nodes"
    assert log[1].startswith("TASK kubelet : Install kubelet")
    assert log[3] == '  w2: failed {"msg": "kubelet went wrong"}'


def test_the_log_says_when_a_task_began(output: io.StringIO, log: list[str]) -> None:
    recorder = Recorder(
        RunReporter(Console(file=output), "run.log"),
        log.append,
        date=lambda: datetime(2026, 11, 30, 3, 4, 5, tzinfo=UTC),
    )
    recorder.play("Nodes")
    install(recorder, "kubelet", "ok")
    assert log[1].endswith("  2026-11-30T03:04:05Z")


def test_a_play_that_is_told_as_one_is_one_line_with_its_whole_title(recorder: Recorder, output: io.StringIO) -> None:
    title = "6/18 api-servers kubernetes 1.36.3 as 1.35"
    for _ in range(2):
        recorder.play(title, as_one=True)
        install(recorder, "upgrade", "ok")
        install(recorder, "apiserver", "changed")
    recorder.play("Look again")
    install(recorder, "preflight", "ok")
    recorder.end()
    first, second, third = output.getvalue().splitlines()
    assert title in first
    assert "w1" in first
    assert "1 changed" in first
    assert first == second
    assert "preflight" in third
    assert [task.role for task in recorder.phases[0].tasks] == ["upgrade", "apiserver"]


def test_a_long_title_leaves_room_for_the_hosts(output: io.StringIO, log: list[str]) -> None:
    recorder = Recorder(RunReporter(Console(file=output, width=80), "run.log"), log.append)
    recorder.play("rehearsal etcd 3.7.3, kubernetes 1.36.3, and all that goes with it", as_one=True)
    recorder.task("1", "Restart", "kubelet", "x")
    for host in ("cp1", "cp2", "cp3"):
        recorder.outcome("1", host, "changed", {})
    recorder.end()
    assert "cp1, cp2, cp3" in output.getvalue()


def test_the_profile_has_counts_and_times(recorder: Recorder, tmp_path: Path) -> None:
    recorder.play("Nodes")
    install(recorder, "kubelet", "changed", "ok")
    recorder.end()
    path = tmp_path / "profile.json"
    write_profile(recorder, path)
    profile = json.loads(path.read_text())
    assert profile["hosts"]["w1"]["changed"] == 1
    (phase,) = profile["phases"]
    (task,) = phase["tasks"]
    assert (phase["role"], task["outcomes"]) == ("kubelet", {"changed": 1, "ok": 1})
    assert phase["seconds"] >= task["seconds"] > 0
    assert list(tmp_path.iterdir()) == [path]


def test_the_profile_says_what_was_changed(recorder: Recorder) -> None:
    recorder.play("Nodes")
    recorder.task("1", "Install the kubelet", "kubelet", "x")
    recorder.outcome("1", "w1", "changed", {"changes": [{"path": "/etc/kubelet", "what": "content"}]})
    recorder.outcome("1", "w2", "ok", {"changes": []})
    recorder.outcome("1", "w3", "failed", {"changes": [{"path": "/etc/kubelet", "what": "content"}], "msg": "full"})
    recorder.end()
    profile = recorder.profile()
    assert profile["changes"] == [
        {"host": "w1", "role": "kubelet", "task": "Install the kubelet", "what": ("/etc/kubelet: content",)}
    ]
    assert [failure["message"] for failure in profile["failures"]] == ["full"]


def test_quiet_shows_what_failed_and_what_was_warned_of(output: io.StringIO) -> None:
    recorder = Recorder(RunReporter(Console(file=output, width=100), "run.log", quiet=True), lambda _line: None)
    recorder.play("Nodes")
    install(recorder, "kubelet", "changed")
    recorder.task("1", "Start", "etcd", "x")
    recorder.outcome("1", "w1", "ok", {"warnings": ["slow"]})
    install(recorder, "dns", "failed")
    recorder.end()
    shown = output.getvalue()
    assert "kubelet" not in shown
    assert "slow" in shown
    assert "dns went wrong" in shown


@pytest.mark.parametrize(
    ("result", "told"),
    [
        ({"changes": [{"path": "/etc/a", "what": "mode"}, "b"]}, ["/etc/a: mode", "b"]),
        ({"unit": "a.timer", "done": ["enabled", "restarted: x"]}, ["a.timer: enabled", "a.timer: restarted: x"]),
        ({"made": ["admin.kubeconfig"]}, ["admin.kubeconfig: created"]),
        ({"results": [{"changed": True, "changes": ["a"]}, {"changed": False, "changes": ["b"]}]}, ["a"]),
        ({"changed": True}, []),
    ],
)  # fmt: skip
def test_what_a_task_changed(result: dict[str, object], told: list[str]) -> None:
    assert changes_of(result) == told


@pytest.mark.parametrize(
    ("result", "words"),
    [
        ({"msg": "no space left"}, "no space left"),
        ({"msg": "non-zero return code", "stderr": "oops\n"}, "non-zero return code\noops"),
        ({"msg": "oops", "stderr": "oops"}, "oops"),
        ({"results": [{"failed": True, "msg": "a"}, {"msg": "fine"}, {"failed": True, "msg": "b"}]}, "a\nb"),
        ({"stderr": "\n".join(str(line) for line in range(50))}, "\n".join(str(line) for line in range(40, 50))),
        ({}, "it failed without saying why"),
    ],
)
def test_why_a_task_failed(result: dict[str, object], words: str) -> None:
    assert message(result) == words


@pytest.mark.parametrize("planning", [True, False])
def test_check_mode_leaves_the_steps_of_the_run(output: io.StringIO, planning: bool) -> None:
    recorder = Recorder(RunReporter(Console(file=output), "run.log"), lambda _line: None, planning=planning)
    changed = {"changed": True, "changes": [{"path": "/etc/x", "what": "created"}]}
    recorder.play("Install etcd")
    recorder.task("1", "Install etcd", "etcd", "x", "install_component")
    recorder.outcome("1", "cp1", "changed", changed)
    recorder.outcome("1", "cp2", "failed", {**changed, "msg": "full"})
    recorder.outcome("1", "cp3", "ok", {"changed": False})
    recorder.play("Wait for nodes and add-ons")
    recorder.task("2", "Wait", "nodes", "x", "kube_wait")
    recorder.outcome("2", "cp1", "ok", {"changed": False, "step": {"gate": {"after": ["nodes w1 Ready"]}}})
    recorder.end()
    profile = recorder.profile()
    assert ("steps" in profile) is planning
    told = [(step["phase"], step["hosts"], step["does"]) for step in profile.get("steps", ())]
    assert (
        told
        == [
            ("Install etcd", ["cp1"], ["/etc/x: created"]),
            ("Wait for nodes and add-ons", ["cp1"], []),
        ]
        * planning
    )
