"""Two runs of Ansible on one cluster: the second is refused, whichever way the first was started or has ended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import yaml
from ansible.errors import AnsibleActionFail
from ansible.parsing.dataloader import DataLoader
from plugins.action.active_run import ActionModule

from kubeproof.core import active_run
from kubeproof.core.active_run import ActiveRun, Process

ROOT = Path(__file__).resolve().parents[4]
CLAIM: dict[str, Any] = {"name": "Claim", "active_run": {}, "run_once": True}
RELEASE: dict[str, Any] = {"name": "Release", "active_run": {"state": "released"}, "run_once": True}
REFUSED = "another run is changing this cluster: `ansible-playbook -i hosts.yml play.yml` of "


class Cluster:
    """An inventory of two hosts that are this one, and runs on it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.waiting = directory / "waiting"
        python = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
        groups: dict[str, Any] = {"etcd": {"hosts": {"h1": {}}}, "workers": {"hosts": {"h2": {}}}}
        (directory / "hosts.yml").write_text(yaml.safe_dump({"all": {"vars": python, "children": groups}}))
        self.state = directory / ".kubeproof"

    def start(self, *tasks: dict[str, Any], options: tuple[str, ...] = ()) -> subprocess.Popen[str]:
        """Begin a run of tasks on all hosts."""
        play = {"hosts": "all", "gather_facts": False, "tasks": list(tasks)}
        (self.directory / "play.yml").write_text(yaml.safe_dump([play]))
        return subprocess.Popen(
            [sys.executable, "-m", "ansible", "playbook", "-i", "hosts.yml", "play.yml", *options],
            cwd=self.directory,
            env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "PYTHONPATH": str(ROOT / "src")},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, *tasks: dict[str, Any], options: tuple[str, ...] = ()) -> tuple[int, str]:
        """Exit status and output of a run."""
        process = self.start(*tasks, options=options)
        output, _ = process.communicate()
        return process.returncode, output

    @contextmanager
    def working(self, *tasks: dict[str, Any]) -> Iterator[subprocess.Popen[str]]:
        """A run that has carried out tasks, and is at work with another one."""
        touch = {"ansible.builtin.shell": f"touch {self.waiting}; while test -e {self.waiting}; do sleep 0.05; done"}
        process = self.start(*tasks, {"name": "Wait", **touch, "run_once": True})
        while not self.waiting.exists():
            assert process.poll() is None, process.communicate()[0]
            time.sleep(0.02)
        try:
            yield process
        finally:
            self.waiting.unlink()
            process.communicate()


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    return Cluster(tmp_path)


def test_a_second_run_is_refused_and_the_first_one_is_named(cluster: Cluster) -> None:
    with cluster.working(CLAIM) as first:
        record = json.loads((cluster.state / active_run.NAME).read_text())
        assert [each["pid"] for each in record["processes"]] == [first.pid]
        assert cluster.state.stat().st_mode & 0o777 == 0o700
        status, said = cluster.run(CLAIM)
        assert status == 2
        assert REFUSED in said
        assert f"process {first.pid}, since " in said
        # Verifications and looks claim nothing, and are not held up.
        assert cluster.run(CLAIM, RELEASE, options=("--check",))[0] == 0
        assert (cluster.state / active_run.NAME).exists()
    assert cluster.run(CLAIM)[0] == 0


def test_a_killed_run_does_not_block_the_next(cluster: Cluster) -> None:
    with cluster.working(CLAIM) as first:
        first.send_signal(signal.SIGKILL)
        first.wait()
        # Its task is still at work on the host; that of the next run is another.
        assert cluster.run(CLAIM)[0] == 0


def test_a_run_that_was_started_by_one_joins_it(cluster: Cluster) -> None:
    cluster.state.mkdir()
    with active_run.held(cluster.state, "kubeproof up"):
        status, said = cluster.run(CLAIM)
        assert status == 0, said
        assert active_run.own(cluster.state, os.getpid())


def test_a_released_cluster_is_free_before_the_run_has_ended(cluster: Cluster) -> None:
    with cluster.working(CLAIM, RELEASE):
        assert not (cluster.state / active_run.NAME).exists()
        assert cluster.run(CLAIM)[0] == 0


class TestOnHosts:
    """A claim of the host, whose module answers as it is asked to."""

    def claim(self, state: Path, monkeypatch: pytest.MonkeyPatch, *answers: dict[str, Any]) -> list[dict[str, Any]]:
        asked: list[dict[str, Any]] = []
        given = list(answers)
        plugin = ActionModule.__new__(ActionModule)
        plugin._loader = DataLoader()
        plugin._task = SimpleNamespace(args={"on_host": True}, check_mode=False)

        def execute(**call: Any) -> dict[str, Any]:
            asked.append(call["module_args"]["_run"])
            return given.pop(0)

        plugin._execute_module = execute
        monkeypatch.setattr("ansible.plugins.action.ActionBase.run", lambda *_: {})
        plugin.run(task_vars={"inventory_hostname": "h1", "cluster_state_directory": str(state)})
        return asked

    FREE: ClassVar[dict[str, Any]] = {"refused": "", "runs": []}

    def test_one_that_is_free(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (asked,) = self.claim(tmp_path, monkeypatch, self.FREE)
        run = active_run.own(tmp_path, os.getppid())
        assert run
        assert asked == {"record": run.data(), "over": []}

    def test_one_that_a_killed_run_has_left(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        killed = ActiveRun.new("ansible-playbook", Process(os.getpid(), "1"))
        left = {"refused": "another run", "runs": [{"id": killed.id, "record": killed.data(), "age": 1.0}]}
        asked = self.claim(tmp_path, monkeypatch, left, self.FREE)
        assert [each["over"] for each in asked] == [[], [killed.id]]
        with pytest.raises(AnsibleActionFail, match="another run"):
            self.claim(tmp_path, monkeypatch, left, left)

    def test_one_that_another_run_is_changing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        other = ActiveRun.new("ansible-playbook playbooks/cluster.yml", Process.of(os.getpid()))
        left = {"refused": "another run", "runs": [{"id": other.id, "record": other.data(), "age": 1.0}]}
        with pytest.raises(
            AnsibleActionFail, match=rf"another run is changing h1: `ansible-playbook \S+` of .*{os.getpid()}"
        ):
            self.claim(tmp_path, monkeypatch, left)

    @pytest.mark.parametrize("claimed", [True, False])
    def test_one_is_released_if_a_task_of_the_run_has_claimed_it(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, claimed: bool
    ) -> None:
        if claimed:
            self.claim(tmp_path, monkeypatch, self.FREE)
        else:
            # Everything was settled, so that no task has asked the host.
            active_run.claim(tmp_path, "ansible-playbook", os.getppid())
        run = active_run.own(tmp_path, os.getppid())
        assert run
        commands: list[str] = []
        plugin = ActionModule.__new__(ActionModule)
        plugin._loader = DataLoader()
        plugin._task = SimpleNamespace(args={"state": "released", "on_host": True}, check_mode=False)
        monkeypatch.setattr("ansible.plugins.action.ActionBase.run", lambda *_: {})
        monkeypatch.setattr(plugin, "_command", commands.append)
        plugin.run(task_vars={"inventory_hostname": "h1", "cluster_state_directory": str(tmp_path)})
        wanted = [f"rm -f /var/lib/kubeproof/runs/{run.id}.json && echo released"]
        assert commands == (wanted if claimed else [])

    def test_those_that_are_to_be_released(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        run = active_run.claim(tmp_path, "ansible-playbook", os.getppid())
        claims = tmp_path / "rolling" / "claims"
        claims.mkdir(parents=True)
        for host, of in (("h1", run.id), ("h2", "a run of yesterday"), ("h3", run.id)):
            (claims / host).write_text(of)
        monkeypatch.setattr("ansible.plugins.action.ActionBase.run", lambda *_: {})

        def asked(*, check: bool) -> list[str]:
            plugin = ActionModule.__new__(ActionModule)
            plugin._loader = DataLoader()
            plugin._task = SimpleNamespace(args={"state": "asked"}, check_mode=check)
            answer = plugin.run(task_vars={"inventory_hostname": "h1", "cluster_state_directory": str(tmp_path)})
            hosts: list[str] = answer["claimed"]
            return hosts

        assert asked(check=False) == ["h1", "h3"]
        assert asked(check=True) == []

    def test_one_that_cannot_be_asked(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        with pytest.raises(AnsibleActionFail, match="no space"):
            self.claim(tmp_path, monkeypatch, {"failed": True, "msg": "no space"})


def test_misuse_is_explained(cluster: Cluster) -> None:
    status, said = cluster.run({"name": "Wrong", "active_run": {"state": "held"}, "run_once": True})
    assert status == 2
    assert "state is 'held'; it must be one of claimed, asked, released" in said


@pytest.mark.parametrize(
    ("playbook", "options"),
    [
        ("cluster", ()),
        ("cluster", ("--tags", "kubelet")),
        ("restore", ("-e", "restore_from=latest")),
        ("replace-member", ("-e", "member=h1")),
        ("reset", ("-e", "reset_confirmed=true")),
    ],
)
def test_every_playbook_that_changes_a_cluster_is_refused(
    cluster: Cluster, playbook: str, options: tuple[str, ...]
) -> None:
    cluster.state.mkdir()
    with active_run.held(cluster.state, "kubeproof up"):
        # Of another session, as of another terminal.
        inventory = cluster.directory / "hosts.yml"
        command = (
            f"{sys.executable} -m ansible playbook -i {inventory} {ROOT}/playbooks/{playbook}.yml {' '.join(options)}"
        )
        done = subprocess.run(
            ["setsid", "--fork", "sh", "-c", f"sleep 0.3; {command} > {cluster.directory}/said 2>&1; echo done > done"],
            cwd=cluster.directory,
            env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "PYTHONPATH": str(ROOT / "src")},
            check=True,
        )
        assert done.returncode == 0
        while not (cluster.directory / "done").exists():
            time.sleep(0.05)
        said = (cluster.directory / "said").read_text()
    assert "another run is changing this cluster: `kubeproof up` of " in said
    assert "TASK [Gather facts about the host]" not in said
    assert "TASK [reset : Uninstall kubeproof from the host]" not in said
