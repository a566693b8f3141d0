"""etcd's unit begins no new cluster where a member was ready before and its data is not there."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import jinja2
import pytest
import yaml
from ansible.module_utils import etcd_member

ROLE = Path(__file__).parents[3] / "roles" / "etcd"
TEMPLATE = ROLE / "templates" / "etc" / "systemd" / "system" / "etcd.service.j2"


class Unit:
    """The unit of a host whose data and memory are in a directory."""

    def __init__(self, root: Path) -> None:
        self.data, self.lived = root / "data", root / "lived"
        self.data.mkdir()
        text = jinja2.Template(TEMPLATE.read_text()).render(
            etcd_data_directory=str(self.data),
            __etcd_lived=str(self.lived),
            cluster_bin_directory="/usr/local/bin",
            __cluster_host={"limits": {"nofile": 20000}},
        )
        self.lines = text.replace("\\\n", " ").splitlines()

    def run(self, kind: str) -> subprocess.CompletedProcess[str]:
        """Run one of its commands, as systemd does: what it quotes is one argument."""
        (line,) = [line for line in self.lines if line.startswith(f"{kind}=")]
        match = re.fullmatch(r"\w+=[-+]+/bin/sh -c '([^']*)'", line)
        assert match
        assert "%" not in match[1]
        assert "$" not in match[1]
        script = match[1].replace("sleep 5", "sleep 0")
        return subprocess.run(["/bin/sh", "-c", script], capture_output=True, text=True, check=False)

    def begins(self) -> bool:
        """Whether it would start etcd."""
        return self.run("ExecStartPre").returncode == 0

    def fill(self) -> None:
        """Give the member data."""
        wal = self.data / "member" / "wal"
        wal.mkdir(parents=True)
        (wal / "0000000000000000-0000000000000000.wal").touch()


@pytest.fixture
def unit(tmp_path: Path) -> Unit:
    return Unit(tmp_path)


def test_a_first_start_begins_a_cluster(unit: Unit) -> None:
    assert unit.begins()


def test_so_does_one_after_a_start_that_came_to_nothing(unit: Unit) -> None:
    unit.fill()
    assert unit.begins()


def test_a_member_that_was_ready_goes_on(unit: Unit) -> None:
    unit.fill()
    assert unit.run("ExecStartPost").returncode == 0
    assert unit.lived.read_text() == f"{unit.data}\n"
    assert unit.begins()


@pytest.mark.parametrize("left", ["", "member", "member/wal", "lost+found"])
def test_but_not_without_its_data(unit: Unit, left: str) -> None:
    unit.run("ExecStartPost")
    (unit.data / left).mkdir(parents=True, exist_ok=True)
    assert not unit.begins()
    said = unit.run("ExecStartPre").stdout
    assert said == f"A member of etcd was ready in {unit.data}, and its data is not there: is its disk mounted?\n"


def test_nor_where_its_directory_is_gone(unit: Unit) -> None:
    unit.run("ExecStartPost")
    unit.data.rmdir()
    assert not unit.begins()
    # Without the dash systemd can't make the sandbox, and says nothing that helps.
    assert f"ReadWritePaths=-{unit.data}" in unit.lines


def test_its_place_is_the_one_that_others_look_at() -> None:
    assert yaml.safe_load((ROLE / "vars" / "main.yml").read_text())["__etcd_lived"] == etcd_member.LIVED
