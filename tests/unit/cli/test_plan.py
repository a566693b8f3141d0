"""How a plan is shown, and as data."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from kubeproof.cli import main, plan
from kubeproof.core import paths
from kubeproof.core.errors import KubeproofError
from kubeproof.install import playbook
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


def shown(profile: dict[str, Any]) -> str:
    output = io.StringIO()
    console = Console(file=output, width=120)
    for line in plan.rendered(profile, inventory.load(EXAMPLE), installed=True):
        console.print(line)
    return output.getvalue()


def test_hosts_with_the_same_changes_are_shown_together() -> None:
    relative = EXAMPLE.relative_to(paths.PROJECT)
    lines = [line.rstrip() for line in shown(PROFILE).splitlines()]
    assert lines == [
        "  kubelet  w1, w2",
        "      /etc/kubernetes/kubelet/config.yaml: content",
        "  kubelet  w1",
        f"      {RESTART}",
        "  Fetch  w1",
        "      Fetch",
        f"4 changes on 2 hosts, 1 restart. Nothing was changed; `./kubeproof up -i {relative}` does it.",
    ]


def test_nothing_to_change_is_said() -> None:
    assert shown({"changes": []}).startswith("Nothing to change on ")


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
    assert document == {"schema": 1, "ok": True, "installed": True, **PROFILE}


def test_a_run_that_would_be_refused_is_a_failure(
    installed: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(playbook, "run", Runs({**PROFILE, "failures": [{"message": "no"}]}, status=2))
    assert main.main(["plan", "-i", str(installed), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["ok"] is False
    assert main.main(["plan", "-i", str(installed)]) == 1
    assert "Nothing was changed" in capsys.readouterr().out


def test_a_new_cluster_is_checked_and_its_hosts_are_named(
    installed: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (installed.parent / ".kubeproof" / "pki").rmdir()
    runs = Runs({"changes": []})
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
