"""A play that continues without hosts that cannot be reached, on made reports. No host but this one is touched."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.unit.ansible_program import ansible
from tests.unit.preflight.builders import report
from tests.unit.restore.test_record import restore

from kubeproof.components.lock import Lock
from kubeproof.core import paths
from kubeproof.install import playbook
from kubeproof.install.converged import Converged
from kubeproof.restore.record import Records

AWAY = {"unreachable": True, "problem": "No route to host"}


def tasks_of(path: str) -> list[dict[str, Any]]:
    """The tasks in a role, or in the plays of a playbook, that judge reports, leave hosts behind, or leave that out."""
    document: list[dict[str, Any]] = yaml.safe_load((paths.PROJECT / path).read_text())
    tasks = [task for entry in document for task in entry.get("tasks", [entry])]
    return [
        task
        for task in tasks
        if "left_behind" in task
        or task.get("preflight", {}).get("stage") == "hosts"
        or task.get("ansible.builtin.meta") == "end_role"
    ]


def run(
    directory: Path, *away: str, then: dict[str, Any] | None = None, start: str = ""
) -> subprocess.CompletedProcess[str]:
    """The preflight, a play in which nothing is to be done, and the end of a run."""
    hosts: dict[str, Any] = {}
    for number, name in enumerate(("cp1", "w1", "w2"), 1):
        # No ports are probed of these.
        installed = {"active": ["kubelet.service"], "units": ["kubelet.service"]}
        clock: dict[str, Any] = {"clock": {"start": 0, "end": 1}, "asked": {"before": 0, "after": 1}}
        found = report(number, hostname=name, installed=installed, **clock)
        hosts[name] = {"cluster_host_address": f"10.0.0.{number}", "made": AWAY if name in away else found}
    groups = {"etcd": ["cp1"], "control_plane": ["cp1"], "workers": ["w1", "w2"]}
    children = {group: {"hosts": {name: hosts[name] for name in names}} for group, names in groups.items()}
    variables: dict[str, Any] = {
        "ansible_connection": "local",
        "__preflight_purpose": "converge",
        "ansible_become": False,
    }
    # With --start-at-task Ansible gathers facts, whatever a play says.
    variables["ansible_python_interpreter"] = sys.executable
    (directory / "hosts.yml").write_text(yaml.safe_dump({"all": {"vars": variables, "children": children}}))
    fact = {"name": "Report", "ansible.builtin.set_fact": {"kubeproof_host": "{{ made }}", "cacheable": True}}
    say = {"name": "Say", "ansible.builtin.debug": {"msg": "going on with {{ inventory_hostname }}"}}
    play = {"hosts": "all", "gather_facts": False, "any_errors_fatal": True}
    plays = [
        {**play, "pre_tasks": [fact], "roles": ["judges"]},
        {**play, "tasks": [say, *([then] if then else [])]},
        {**play, "tasks": tasks_of("playbooks/parts/cluster.yml")},
    ]
    (directory / "play.yml").write_text(yaml.safe_dump(plays))
    judges = directory / "roles" / "judges" / "tasks"
    judges.mkdir(parents=True, exist_ok=True)
    (judges / "main.yml").write_text(yaml.safe_dump(tasks_of("roles/preflight/tasks/main.yml")))
    # As it is shown, and as `./kubeproof` records it.
    return ansible(
        "playbook",
        "--inventory",
        str(directory / "hosts.yml"),
        str(directory / "play.yml"),
        *(["--start-at-task", start] if start else []),
        ANSIBLE_STDOUT_CALLBACK="kubeproof",
        KUBEPROOF_LOG=str(directory / "log"),
        KUBEPROOF_PROFILE=str(directory / "profile.json"),
    )


def ended(directory: Path, done: subprocess.CompletedProcess[str]) -> playbook.Run:
    return playbook.Run(done.returncode, directory / "log", json.loads((directory / "profile.json").read_text()))


def test_all_that_can_be_reached_go_on_and_the_others_are_named(tmp_path: Path) -> None:
    done = run(tmp_path, "w1")
    log = (tmp_path / "log").read_text()
    assert ("going on with cp1" in log, "going on with w1" in log, "going on with w2" in log) == (True, False, True)
    found = ended(tmp_path, done)
    assert (done.returncode, found.ok, found.left_behind) == (4, True, ["w1"]), done.stdout
    assert "w1 was left behind; what it lacks is unknown, and so is when it last converged" in done.stdout + done.stderr
    assert "w2 was left behind" not in done.stdout + done.stderr
    assert "✘" not in done.stdout
    known = sorted(path.name for path in (tmp_path / ".kubeproof" / "rolling" / "converged").iterdir())
    assert known == ["cp1", "w2"]


def test_a_run_that_has_left_out_its_beginning_is_not_recorded(tmp_path: Path) -> None:
    done = run(tmp_path, start="Say")
    assert done.returncode == 2
    assert "has left out what comes before its first task" in done.stdout + done.stderr
    assert not (tmp_path / ".kubeproof" / "rolling" / "converged").exists()


def test_what_was_left_behind_is_caught_up_with(tmp_path: Path) -> None:
    assert run(tmp_path).returncode == 0
    later = run(tmp_path, "w1")
    assert "w1 was left behind; what it lacks is unknown: it has not converged since 20" in later.stdout + later.stderr
    done = run(tmp_path)
    found = ended(tmp_path, done)
    assert (done.returncode, found.ok, found.left_behind) == (0, True, [])


@pytest.mark.parametrize(
    ("away", "then", "current"),
    [((), None, True), (("w1",), None, False), ((), {"name": "Fail", "ansible.builtin.fail": {}}, False)],
    ids=["all", "left-behind", "failed"],
)
def test_what_all_hosts_have_is_current(
    tmp_path: Path, away: tuple[str, ...], then: dict[str, Any] | None, current: bool
) -> None:
    state = tmp_path / ".kubeproof"
    lock = Lock(state)
    lock.record_component("amd64", "etcd", {"version": "3.7.3"})
    lock.save()
    run(tmp_path, *away, then=then)
    assert Lock(state).versions("current" if current else "target") == {"etcd": "3.7.3"}
    assert Lock(state).versions("target" if current else "current") == {}


@pytest.mark.parametrize(
    ("away", "then", "over"),
    [
        ((), None, True),
        (("w1",), None, False),
        ((), {"name": "Fail", "ansible.builtin.fail": {}}, False),
        # Of this run, which has still to note its end.
        ((), {"name": "Restore", "ansible.builtin.set_fact": {"kubeproof_restore": {}, "cacheable": True}}, False),
    ],
    ids=["all", "left-behind", "failed", "restore"],
)
def test_a_restore_that_the_cluster_goes_on_without_is_over(
    tmp_path: Path, away: tuple[str, ...], then: dict[str, Any] | None, over: bool
) -> None:
    records = Records(tmp_path / ".kubeproof")
    begun = restore(records.fetched("20261121T200000Z", "B"))
    records.save(begun)
    done = run(tmp_path, *away, then=then)
    assert bool(records.load(begun.id).done) == over
    told = f"The restore {begun.id} of B, started at {begun.began}, was not finished, and will not be resumed"
    assert (told in (tmp_path / "log").read_text() + done.stdout) == over


def test_a_failure_later_on_is_one(tmp_path: Path) -> None:
    done = run(tmp_path, "w1", then={"name": "Fail", "ansible.builtin.fail": {"msg": "broken"}})
    found = ended(tmp_path, done)
    assert (found.ok, found.left_behind) == (False, ["w1"])
    assert done.returncode != 0


def test_what_the_cluster_does_not_do_without_is_refused(tmp_path: Path) -> None:
    done = run(tmp_path, "cp1")
    assert done.returncode == 2
    assert "going on" not in (tmp_path / "log").read_text()
    assert ended(tmp_path, done).left_behind == []


def test_a_damaged_record_is_none(tmp_path: Path) -> None:
    (tmp_path / "w1").write_text("yesterday")
    assert "so is when it last converged" in Converged(tmp_path).told("w1")


@pytest.mark.parametrize("failures", [[], [{"host": "w2"}]])
def test_only_what_was_left_behind_is_no_failure(tmp_path: Path, failures: list[Any]) -> None:
    profile = {"left_behind": {"w1": "?"}, "failures": failures}
    assert playbook.Run(4, tmp_path, profile).ok == (not failures)
    assert not playbook.Run(4, tmp_path, {"failures": failures}).ok
    assert not playbook.Run(2, tmp_path, profile).ok
