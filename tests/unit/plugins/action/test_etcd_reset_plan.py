"""The refusal of a reset, and its end, in real plays, on made looks at etcd. Nothing is reset."""

from __future__ import annotations

import subprocess
import sys
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


STATE = ["admin.kubeconfig", "backup-identity.txt", "pki", "rehearsal", "rehearsed.json", "restore", "upgrade.json"]


def forget(directory: Path, *options: str) -> list[str]:
    """What is left in a state directory after the last task of a reset of three hosts."""
    state = directory / "state"
    state.mkdir()
    for name in STATE:
        (state / name).mkdir()
    members = {"etcd": "cp1", "control_plane": "cp1", "workers": "w1"}
    groups = {group: {"hosts": {host: None}} for group, host in members.items()}
    connection = {"ansible_connection": "local", "ansible_playbook_python": sys.executable}
    (directory / "hosts.yml").write_text(yaml.safe_dump({"all": {"vars": connection, "children": groups}}))
    role = paths.PROJECT / "roles/reset"
    name = "Remove the cluster's state from the controller"
    tasks = [task for task in yaml.safe_load((role / "tasks/main.yml").read_text()) if task["name"] == name]
    variables = {"reset_state": False, "cluster_state_directory": str(state)}
    play = {"hosts": "all", "gather_facts": False, "vars": variables, "tasks": tasks}
    play["vars_files"] = [str(role / "vars/main.yml")]
    (directory / "play.yml").write_text(yaml.safe_dump([play]))
    files = ("--inventory", str(directory / "hosts.yml"), str(directory / "play.yml"))
    done = ansible("playbook", *files, *options)
    assert done.returncode == 0, done.stdout
    return sorted(path.name for path in state.iterdir())


def test_what_was_begun_with_a_cluster_that_is_gone_is_over(tmp_path: Path) -> None:
    assert forget(tmp_path) == ["admin.kubeconfig", "backup-identity.txt", "pki"]


def test_what_was_begun_with_a_cluster_of_which_a_host_is_left_is_not(tmp_path: Path) -> None:
    assert forget(tmp_path, "--limit", "cp1", "-e", "reset_state=true") == STATE


def test_all_but_what_decrypts_backups_goes_if_asked_for(tmp_path: Path) -> None:
    assert forget(tmp_path, "-e", "reset_state=true") == ["backup-identity.txt"]
