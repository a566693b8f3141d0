"""The refusal of a reset in a real play, on made looks at etcd. Nothing is reset."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml
from tests.unit.ansible_program import ansible
from tests.unit.restore import made

from kubeproof.core import paths

SEEN = {"active": True, "free": 1, "placed": "", "problem": ""}


def reset(directory: Path, *limit: str) -> subprocess.CompletedProcess[str]:
    """The tasks of the role that follow its look, on three members and a worker that could not be looked at."""
    looks = {host: {**SEEN, "there": True, "live": made.live(host)} for host in ("cp1", "cp2", "cp3")}
    hosts = {host: {"__etcd_look": look} for host, look in looks.items()}
    groups = {"etcd": {"hosts": hosts}, "workers": {"hosts": {"w1": {"__etcd_look": {"failed": True, "msg": "?"}}}}}
    inventory = {"all": {"vars": {"ansible_connection": "local"}, "children": groups}}
    (directory / "hosts.yml").write_text(yaml.safe_dump(inventory))
    role = paths.PROJECT / "roles/reset"
    tasks = [task for task in yaml.safe_load((role / "tasks/main.yml").read_text()) if "etcd_reset_plan" in task]
    then = {"name": "Go on", "ansible.builtin.debug": {"msg": "going on with {{ inventory_hostname }}"}}
    variables = {
        "reset_voter": False,
        "cluster_etcd_port": 2379,
        "__reset_staying": yaml.safe_load((role / "vars/main.yml").read_text())["__reset_staying"],
    }
    play = {"hosts": "all", "gather_facts": False, "vars": variables, "tasks": [*tasks, then]}
    (directory / "play.yml").write_text(yaml.safe_dump([play]))
    return ansible("playbook", "--inventory", str(directory / "hosts.yml"), str(directory / "play.yml"), *limit)


@pytest.mark.parametrize("limit", ["cp3", "cp2:cp3", "cp3:w1"])
def test_no_host_goes_on_if_a_voter_would_be_taken(tmp_path: Path, limit: str) -> None:
    done = reset(tmp_path, "--limit", limit)
    assert done.returncode == 2
    assert "cp3 has one of 3 voting members of etcd, and cp1" in done.stdout
    assert "-e reset_voter=true" in done.stdout
    assert "going on" not in done.stdout


@pytest.mark.parametrize("options", [(), ("--limit", "w1"), ("--limit", "cp3", "-e", "reset_voter=true")])
def test_others_do(tmp_path: Path, options: tuple[str, ...]) -> None:
    done = reset(tmp_path, *options)
    assert done.returncode == 0, done.stdout
    assert "going on" in done.stdout
