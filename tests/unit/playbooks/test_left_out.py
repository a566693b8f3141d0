"""A run that leaves out a control-plane host, the first one above all, does what it would do through it elsewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
HOSTS = """
[control_plane]
cp[1:3]
[etcd]
cp[1:3]
[workers]
w[1:2]
[all:vars]
ansible_connection=local
"""
MESSAGE = "through={{ __cluster_speaker }}"
PLAY = [
    {
        "name": "Who speaks",
        "hosts": "control_plane:workers",
        "gather_facts": False,
        "roles": ["cluster"],
        "tasks": [
            {"name": "Say", "ansible.builtin.debug": {"msg": "through={{ __cluster_speaker }}"}, "run_once": True}
        ],
    }
]


def play(directory: Path, *arguments: str) -> str:
    (directory / "hosts").write_text(HOSTS)
    command = [str(Path(sys.executable).parent / "ansible-playbook"), "-i", str(directory / "hosts"), *arguments]
    environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "NO_COLOR": "1"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize(
    ("limit", "speaker"), [("all", "cp1"), ("!cp1", "cp2"), ("!cp1:!cp2", "cp3"), ("w2", "cp1"), ("cp3:w1", "cp3")]
)
def test_the_api_is_asked_through_a_host_that_takes_part(tmp_path: Path, limit: str, speaker: str) -> None:
    (tmp_path / "play.yml").write_text(yaml.safe_dump(PLAY))
    assert f"through={speaker}" in play(tmp_path, "--limit", limit, str(tmp_path / "play.yml"))


@pytest.mark.parametrize("limit", ["!cp1", "cp2:cp3"])
def test_no_play_of_an_installation_is_for_one_host_only(tmp_path: Path, limit: str) -> None:
    shown = play(tmp_path, "--list-hosts", "--limit", limit, str(ROOT / "playbooks" / "cluster.yml"))
    counts = re.findall(r"play #\d+ \(.*\): (.*?)\t.*\n.*\n +hosts \((\d+)\):", shown)
    assert "Install DNS and add-ons" in [name for name, _ in counts]
    assert [name for name, count in counts if count == "0"] == []


def test_no_role_picks_a_host_of_the_control_plane_by_its_place() -> None:
    places = re.compile(r"control_plane\[0\]|groups\[['\"]control_plane['\"]\] *\| *first")
    files = [path for part in ("playbooks", "roles") for path in (ROOT / part).rglob("*") if path.is_file()]
    assert [str(path) for path in files if places.search(path.read_text())] == []
