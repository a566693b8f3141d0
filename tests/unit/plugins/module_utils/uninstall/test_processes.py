"""Which processes are containers', and that nothing else dies."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from ansible.module_utils.commands import CommandFailed
from ansible.module_utils.uninstall import processes
from ansible.module_utils.uninstall.account import Account
from ansible.module_utils.uninstall.processes import Pods, Processes


class Host:
    """Directories that stand for /proc and /sys/fs/cgroup."""

    def __init__(self, root: Path, *hierarchies: str) -> None:
        self.proc, self.cgroups = root / "proc", root / "cgroup"
        self.hierarchies = [self.cgroups / name for name in hierarchies] or [self.cgroups]
        for hierarchy in (self.proc, *self.hierarchies):
            hierarchy.mkdir(parents=True, exist_ok=True)
        if not hierarchies:
            (self.cgroups / "cgroup.controllers").touch()

    def run(self, pid: int, parent: int, group: str = "", name: str = "x", state: str = "S") -> None:
        (self.proc / str(pid)).mkdir()
        (self.proc / str(pid) / "stat").write_text(f"{pid} ({name}) {state} {parent} 1 1")
        for hierarchy in self.hierarchies if group else []:
            directory = hierarchy / group.lstrip("/")
            directory.mkdir(parents=True, exist_ok=True)
            with (directory / "cgroup.procs").open("a") as stream:
                stream.write(f"{pid}\n")

    def look(self) -> Processes:
        return Processes(str(self.proc), str(self.cgroups))


CONTAINERD = "/system.slice/containerd.service"


@pytest.mark.parametrize("hierarchies", [(), ("systemd", "pids")], ids=["cgroup v2", "cgroup v1"])
def test_members_of_a_tree_of_groups(tmp_path: Path, hierarchies: tuple[str, ...]) -> None:
    host = Host(tmp_path, *hierarchies)
    host.run(200, 1, "/kubepods/burstable/pod1/container")
    host.run(201, 1, "/kubepods")
    host.run(300, 1, "/system.slice/ssh.service")
    assert host.look().members(["/kubepods", "/nonexistent"]) == {200, 201}


def test_containers_are_found_by_group_and_by_descent(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.run(100, 1, CONTAINERD, name="containerd-shim")
    host.run(101, 100, "/by-hand/1")
    host.run(102, 101, "/by-hand/1", name="odd) R 1 (name")
    host.run(103, 100, "/by-hand/1", state="Z")
    host.run(200, 1, "/kubepods/orphan", name="its shim died")
    host.run(300, 1, "/system.slice/ssh.service")
    found = host.look()
    assert found.descendants(found.members([CONTAINERD])) == {101, 102}
    assert found.members(processes.PODS) == {200}


def test_what_asks_is_never_found(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.run(90, 1, "/kubepods/agent", name="sshd in a pod")
    host.run(os.getpid(), 90, "/kubepods/agent")
    host.run(91, 1, "/kubepods/agent")
    assert host.look().members(["/kubepods"]) == {91}


def test_check_mode_counts_and_kills_nothing(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.run(100, 1, CONTAINERD)
    host.run(101, 100, "/kubepods/1")
    account = Account(check_mode=True)
    pods = Pods(account, host.look(), [CONTAINERD])
    pods.kill()
    pods.remove_cgroups()
    assert [change["path"] for change in account.changes] == ["processes of containers: 1", "cgroups of pods: 2"]
    assert (tmp_path / "cgroup/kubepods/1").is_dir()


def test_it_kills_until_nothing_is_left() -> None:
    children = [subprocess.Popen(["sleep", "60"]) for _ in range(3)]
    processes.kill(lambda: {child.pid for child in children if child.poll() is None})
    assert [child.returncode for child in children] == [-9, -9, -9]


def test_processes_that_do_not_die_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "PATIENCE", 0.0)
    monkeypatch.setattr("os.kill", lambda _pid, _signal: None)
    with pytest.raises(CommandFailed, match="do not die: 7 8"):
        processes.kill(lambda: {8, 7})


def test_groups_go_the_deepest_first(tmp_path: Path) -> None:
    host = Host(tmp_path, "systemd", "pids")
    for hierarchy in host.hierarchies:
        (hierarchy / "kubepods/burstable/pod1").mkdir(parents=True)
        (hierarchy / "user.slice").mkdir()
    account = Account()
    Pods(account, host.look(), []).remove_cgroups()
    assert account.changes == [{"path": "cgroups of pods: 6", "what": "removed"}]
    assert {path.name for path in (tmp_path / "cgroup").rglob("*")} == {"systemd", "pids", "user.slice"}
