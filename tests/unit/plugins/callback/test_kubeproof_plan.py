"""The plan at the end of ``ansible-playbook --check``, from real plays on this machine, of which nothing is written."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.unit.ansible_program import ansible, complaints

INVENTORY = "cp1,w1,"


def playbook(
    directory: Path, *options: str, name: str = "cluster", **environment: str
) -> subprocess.CompletedProcess[str]:
    """A playbook of two plays: each would write a file, on all hosts and on one."""

    def play(title: str, hosts: str, path: str) -> dict[str, Any]:
        copied = {"dest": str(directory / path), "content": "x"}
        tasks = [
            {"name": f"Write {path}", "ansible.builtin.copy": copied},
            {"name": "Fail", "ansible.builtin.fail": {"msg": "full"}, "when": "broken | default(false)"},
        ]
        local = {"ansible_connection": "local", "ansible_python_interpreter": "{{ ansible_playbook_python }}"}
        return {"name": title, "hosts": hosts, "gather_facts": False, "vars": local, "tasks": tasks}

    path = directory / f"{name}.yml"
    path.write_text(yaml.safe_dump([play("Install etcd", "all", "a"), play("Install kubelets", "w1", "b")]))
    return ansible("playbook", "-i", INVENTORY, str(path), *options, **environment)


def test_ansibles_own_output_ends_with_the_steps(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    done = playbook(tmp_path, "--check", COLUMNS="80", KUBEPROOF_PLAN=str(path))
    assert (done.returncode, complaints(done)) == (0, []), done.stdout + done.stderr
    lines = [line.rstrip() for line in done.stdout.partition("PLAY RECAP")[2].splitlines() if line]
    steps = [line for line in lines if line.startswith(("Install", "   1", "   2"))]
    assert steps == ["Install etcd", "   1 Write a  cp1, w1", "Install kubelets", "   2 Write b  w1"]
    assert lines[-1] == "2 steps on 2 hosts, 0 restarts. Nothing was changed."
    assert [step["hosts"] for step in json.loads(path.read_text())] == [["cp1", "w1"], ["w1"]]
    assert not (tmp_path / "a").exists()


def test_with_nothing_to_do_it_says_so(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_text("x")
    done = playbook(tmp_path, "--check")
    assert done.stdout.splitlines()[-1] == "Nothing to change.", done.stdout + done.stderr


def test_where_a_task_fails_it_says_that_a_run_would_end(tmp_path: Path) -> None:
    done = playbook(tmp_path, "--check", "-e", "broken=true")
    assert done.returncode != 0
    assert "A run would be refused for this reason, or end here." in done.stdout


@pytest.mark.parametrize(
    ("options", "name", "environment"),
    [
        ((), "cluster", {}),
        (("--check",), "upgrade", {}),
        # ./kubeproof plan shows it.
        (("--check",), "cluster", {"ANSIBLE_STDOUT_CALLBACK": "kubeproof"}),
    ],
)
def test_no_other_run_ends_with_steps(
    tmp_path: Path, options: tuple[str, ...], name: str, environment: dict[str, str]
) -> None:
    done = playbook(tmp_path, *options, name=name, **environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "steps on" not in done.stdout


def test_the_output_of_kubeproof_keeps_the_same_steps_in_its_profile(tmp_path: Path) -> None:
    kept = {"ANSIBLE_STDOUT_CALLBACK": "kubeproof", "KUBEPROOF_PROFILE": str(tmp_path / "profile.json")}
    playbook(tmp_path, "--check", **kept)
    listed = json.loads((tmp_path / "profile.json").read_text())["steps"]
    playbook(tmp_path, "--check", KUBEPROOF_PLAN=str(tmp_path / "plan.json"))
    assert listed == json.loads((tmp_path / "plan.json").read_text())
    playbook(tmp_path, **kept)
    assert "steps" not in json.loads((tmp_path / "profile.json").read_text())
