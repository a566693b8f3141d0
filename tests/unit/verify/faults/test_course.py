"""What becomes of a campaign when things go wrong that are no fault of the cluster's history."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tests.unit.verify.observe.this_machine import Local

from kubeproof.verify.act import workspace
from kubeproof.verify.faults import campaign, kinds
from kubeproof.verify.faults.campaign import Campaign, Outcome, Recording
from kubeproof.verify.faults.checker import Entry, History
from kubeproof.verify.faults.kinds import Kind
from kubeproof.verify.observe.hosts import CommandFailed, Host, NotObservable


class FakeHost:
    """A host that remembers commands, and answers those that it knows."""

    def __init__(self, **answers: str) -> None:
        self.name = "w1"
        self.commands: list[str] = []
        self._answers = answers

    def run(self, command: str, *arguments: str) -> str:
        self.commands.append(" ".join([command, *arguments]))
        return next((said for word, said in self._answers.items() if word in command), "")

    def attempt(self, command: str, *arguments: str) -> tuple[int, str, str]:
        return 0, self.run(command, *arguments), ""

    def write(self, path: str, content: bytes) -> None:
        """It has room."""


def kind(name: str, *, fails: BaseException | None = None, targets: Sequence[str] = ("cp1",)) -> Kind:
    """A kind of fault that does nothing."""

    @contextmanager
    def hit(_field: Any, _host: Any) -> Iterator[None]:
        if fails:
            raise fails
        yield

    hosts = [cast(Host, SimpleNamespace(name=each)) for each in targets]
    return dataclasses.replace(kinds.KINDS[0], name=name, targets=lambda _: hosts, hit=hit, hold=0)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs a campaign in a cluster that is whole; what fails at its end may be given by a method's name."""
    monkeypatch.setattr(campaign, "_CALM_SECONDS", 0)
    written: list[Entry] = [{"op": "write", "register": 0, "value": 5, "start": 1.0, "end": 2.0, "outcome": "ok"}]
    for name in ("start", "stop"):
        monkeypatch.setattr(Recording, name, lambda *_: History(written))

    def campaign_of(*chosen: Kind, failing: str = "") -> Outcome:
        def fail(*_: object) -> str:
            raise CommandFailed("etcdctl ended with 1")

        mine = Campaign.__new__(Campaign)
        mine.tell = lambda _: None
        mine.field = cast(Any, SimpleNamespace(client=FakeHost()))
        for name, said in {
            "_remove_recordings": None,
            "_application": "",
            "_registers": None,
            "await_whole": None,
            "_settings": {"api": {"namespace": "ours"}},
            "_token": "",
            "_offset": 0.0,
            "missing": "",
            "_value": 5,
            "_diverged": "",
        }.items():
            monkeypatch.setattr(mine, name, fail if name == failing else lambda *_, said=said: said)
        return mine.run(chosen, len(chosen), 1, 60)

    return campaign_of


@pytest.mark.parametrize("failing", ["_value", "_diverged"])
def test_a_cluster_that_cannot_be_asked_at_the_end_fails_the_campaign(run: Any, failing: str) -> None:
    outcome = run(kind("a"), failing=failing)
    assert not outcome.violations, "nobody knows whether it was lost"
    told = outcome.document()["failures"]
    assert any("CommandFailed: etcdctl ended with 1" in each for each in told)


def test_a_fault_without_a_host_is_left_out(run: Any) -> None:
    outcome = run(kind("a", targets=()), kind("b"))
    assert outcome.left_out == {"a": "there is no host that it could hit"}
    assert [each.kind.name for each in outcome.struck] == ["b"]


def test_a_fault_that_could_not_be_put_in_ends_the_campaign_and_is_told(run: Any) -> None:
    outcome = run(kind("a", fails=CommandFailed("cp1: no route")))
    assert "a: CommandFailed: cp1: no route" in outcome.document()["failures"]


def test_an_interrupted_campaign_has_a_report(run: Any) -> None:
    outcome = run(kind("a", fails=KeyboardInterrupt()))
    assert outcome.interrupted
    assert "it was interrupted after 0 of 1 faults" in outcome.document()["failures"]


def traced(monkeypatch: pytest.MonkeyPatch, program: Sequence[str]) -> None:
    popen = subprocess.Popen
    monkeypatch.setattr(kinds, "_etcd_process", lambda *_: 1)
    monkeypatch.setattr(subprocess, "Popen", lambda _command, **given: popen(program, **given))
    with kinds._traced(cast(Any, None), cast(Any, "cp1"), "error=ENOSPC"):
        # Until it has ended, if it does.
        popen(["sleep", "1"]).wait()


def test_a_tracer_that_could_not_attach_has_done_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotObservable, match="it ended with 1"):
        traced(monkeypatch, [sys.executable, "-c", "raise SystemExit(1)"])


def test_a_tracer_that_is_not_installed_neither(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotObservable, match="strace is not installed"):
        traced(monkeypatch, ["/nowhere/strace"])


@pytest.mark.parametrize("program", [["true"], ["sleep", "60"]])
def test_a_tracer_ends_with_what_it_traces_or_when_it_is_told(
    monkeypatch: pytest.MonkeyPatch, program: list[str]
) -> None:
    traced(monkeypatch, program)


def test_a_recorder_ends_by_itself_when_nobody_ends_it() -> None:
    host = FakeHost()
    Recording(cast(Host, host), {"api": {"namespace": "ours"}}, "token", 90.0).start()
    (started,) = (each for each in host.commands if each.startswith("systemd-run"))
    assert "--property=RuntimeMaxSec=90 --description=ours " in started


@pytest.mark.parametrize("starts", [True, False])
def test_a_recorder_that_does_not_start_ends_the_campaign(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, starts: bool
) -> None:
    """Nothing would be recorded, and what happens meanwhile takes long."""
    programs = {
        "systemd-run": f'for log; do :; done; {"touch" if starts else "true"} "$log"',
        "systemctl": f"exit {0 if starts else 3}",
        "journalctl": "echo No module named recorder",
    }
    for name, does in programs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{does}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    host = Host("w1", frozenset(), "127.0.0.1", Local())
    recording = Recording(host, {"api": {"namespace": "ours"}}, "token", 90.0)
    monkeypatch.setattr(recording, "_directory", str(tmp_path / "recorded"))
    with nullcontext() if starts else pytest.raises(CommandFailed, match="No module named recorder"):
        recording.start()


@pytest.mark.parametrize(
    ("described", "stays"), [("ours", True), ("gone", False), ("kubeproof-faults-1.service", False)]
)
def test_recorders_go_with_their_namespace(described: str, *, stays: bool) -> None:
    host = FakeHost(**{"find /run": "/run/kubeproof-faults-1\n", "Description": f"{described}\n"})
    campaign.remove_recordings(cast(Host, host), {"ours"})
    removed = [each for each in host.commands if "stop" in each or "rm -rf" in each]
    assert bool(removed) is not stays


def test_rights_of_a_recorder_that_was_killed_are_found() -> None:
    deleted: list[str] = []

    class Api:
        """One with a role in kube-system, and nothing else."""

        def items(self, path: str, **_: str) -> list[dict[str, Any]]:
            role = {"metadata": {"name": "kubeproof-verify-1-recorder", "labels": {workspace.LABEL: "1"}}}
            return [role] if "/namespaces/kube-system/role" in path else []

        def delete(self, path: str) -> None:
            deleted.append(path)

    workspace.remove_leftovers(cast(Any, Api()))
    group = "/apis/rbac.authorization.k8s.io/v1/namespaces/kube-system"
    assert deleted == [f"{group}/{each}/kubeproof-verify-1-recorder" for each in ("rolebindings", "roles")]
