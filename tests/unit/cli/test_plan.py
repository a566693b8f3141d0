"""How a plan is shown, and as data."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
from rich.console import Console
from tests.unit.install import plans

from kubeproof.cli import main, plan
from kubeproof.core import paths
from kubeproof.core.errors import KubeproofError
from kubeproof.install import playbook, reasons, steps
from kubeproof.install.playbook import Run
from kubeproof.local_hosts import lifecycle
from kubeproof.settings import inventory

EXAMPLE = paths.PROJECT / "inventory" / "example" / "hosts.yml"
RESTART = "kubelet.service: restarted: changed since its start: /etc/kubernetes/kubelet"
PROFILE: dict[str, Any] = {
    "changes": [
        {"host": "w2", "role": "kubelet", "task": "Install", "what": ["/etc/kubernetes/kubelet/config.yaml: content"]},
        {"host": "w1", "role": "kubelet", "task": "Install", "what": ["/etc/kubernetes/kubelet/config.yaml: content"]},
        {"host": "w1", "role": "kubelet", "task": "Start", "what": [RESTART]},
        {"host": "w1", "role": "", "task": "Fetch", "what": []},
    ],
    "steps": steps.data(plans.made()),
    "warnings": [],
    "failures": [],
}


class Runs:
    """Stands in for ansible-playbook: what it was given, and the profile that it leaves."""

    def __init__(self, profile: dict[str, Any], status: int = 0) -> None:
        self.given: list[str] = []
        self._run = Run(status, Path("run.log"), profile)

    def __call__(self, _name: str, _sources: Any, _state: Path, arguments: list[str], **_options: Any) -> Run:
        self.given = list(arguments)
        return self._run


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """An inventory of hosts of one's own, with a cluster."""
    path = tmp_path / "hosts.yml"
    path.write_text(EXAMPLE.read_text())
    (tmp_path / ".kubeproof" / "pki").mkdir(parents=True)
    return path


def shown(profile: dict[str, Any], status: int = 0) -> str:
    output = io.StringIO()
    console = Console(file=output, width=120)
    ended = Run(status, Path("run.log"), profile)
    for line in plan.rendered(ended, inventory.load(EXAMPLE), installed=True):
        console.print(line)
    return output.getvalue()


def test_the_steps_are_shown_and_how_to_do_them() -> None:
    lines = [line.rstrip() for line in shown(PROFILE).splitlines()]
    assert lines[0] == "Install etcd"
    command = f"./kubeproof up -i {EXAMPLE.relative_to(paths.PROJECT)}"
    assert lines[-1] == f"7 steps on 8 hosts, 8 restarts. Nothing was changed; `{command}` does it."


def test_nothing_to_change_is_said_of_the_hosts_that_were_compared() -> None:
    hosts = len(inventory.load(EXAMPLE).members)
    assert shown({"steps": []}) == f"Nothing to change on {hosts} hosts.\n"
    behind = {"steps": [], "left_behind": {"w1": "it was left behind"}, "failures": []}
    assert shown(behind, status=4) == f"Nothing to change on {hosts - 1} host{'s' * (hosts > 2)}.\n"


def test_check_mode_is_what_shows_it(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = Runs(PROFILE)
    monkeypatch.setattr(playbook, "run", runs)
    assert main.main(["plan", "-i", str(installed)]) == 0
    assert runs.given == ["--check"]
    assert main.main(["plan", "-i", str(installed), "--diff"]) == 0
    assert runs.given == ["--check", "--diff"]


def test_as_data(installed: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(playbook, "run", Runs(PROFILE))
    assert main.main(["plan", "-i", str(installed), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    described = json.loads((paths.PROJECT / "docs" / "plan.schema.json").read_text())
    jsonschema.validate(document, described)
    assert document["schema"] == described["properties"]["schema"]["const"]
    listed = json.loads(json.dumps(PROFILE))
    assert document == {"schema": 1, "ok": True, "installed": True, "left_behind": [], "refusals": [], **listed}


def test_the_schema_has_all_kinds_of_reasons() -> None:
    described = json.loads((paths.PROJECT / "docs" / "plan.schema.json").read_text())
    kinds = described["$defs"]["step"]["properties"]["reasons"]["items"]["properties"]["kind"]
    assert kinds["enum"] == list(reasons.KINDS)


def test_a_run_that_would_be_refused_is_a_failure(
    installed: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failure = {"host": "w1", "role": "etcd", "task": "Install", "message": "full", "hint": "make room", "path": "x"}
    monkeypatch.setattr(playbook, "run", Runs({**PROFILE, "failures": [failure]}, status=2))
    assert main.main(["plan", "-i", str(installed), "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    jsonschema.validate(document, json.loads((paths.PROJECT / "docs" / "plan.schema.json").read_text()))
    assert document["ok"] is False
    assert document["refusals"] == [{"host": "w1", "problem": "full", "remediation": "make room", "check": ""}]
    assert main.main(["plan", "-i", str(installed)]) == 1
    assert "Nothing was changed" in capsys.readouterr().out


def test_a_new_cluster_is_checked_and_its_hosts_are_named(
    installed: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (installed.parent / ".kubeproof" / "pki").rmdir()
    runs = Runs({"steps": []})
    monkeypatch.setattr(playbook, "run", runs)
    assert main.main(["plan", "-i", str(installed)]) == 0
    # What is behind can't be compared with anything yet.
    assert runs.given == ["--check", "--tags", "host"]
    assert "Nothing of this cluster is installed yet" in capsys.readouterr().out


def test_local_hosts_that_do_not_run_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "hosts.yml"
    path.write_text((paths.PROJECT / "inventory" / "local" / "hosts.yml").read_text())
    monkeypatch.setattr(lifecycle, "status", lambda local: dict.fromkeys(local.hosts, "missing"))
    with pytest.raises(KubeproofError, match=r"cp1 \(missing\).*kubeproof up -i"):
        plan.require_hosts(inventory.load(path))
