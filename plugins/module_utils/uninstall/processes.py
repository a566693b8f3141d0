"""Processes of pods and of stopped units, found by control group and descent, and their control groups."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from typing import Callable, Dict, Iterable, List, Set

from ansible.module_utils.commands import CommandFailed
from ansible.module_utils.uninstall.account import Account, run

# Where kubelet has the pods (by cgroup driver cgroupfs or systemd), and containerd what `ctr` ran manually.
# A slice is systemd's, which has to stop it, together with everything below it.
SLICE = "kubepods.slice"
PODS = ("/kubepods", "/" + SLICE, "/k8s.io")
PATIENCE = 15.0
POLL_SECONDS = 0.05


class Processes:
    """The host's processes. What asks, and all that it descends from, is never among those that are found."""

    def __init__(self, proc: str = "/proc", cgroups: str = "/sys/fs/cgroup") -> None:
        self.proc = proc
        self.cgroups = cgroups

    def hierarchies(self) -> List[str]:
        """Roots of cgroup trees: one with version 2, one per controller with version 1."""
        if os.path.exists(os.path.join(self.cgroups, "cgroup.controllers")):
            return [self.cgroups]
        with os.scandir(self.cgroups) as entries:
            return sorted(entry.path for entry in entries if entry.is_dir(follow_symlinks=False))

    def groups(self, paths: Iterable[str]) -> List[str]:
        """Directories of these cgroups and all below, in every hierarchy, the deepest first."""
        roots = [root + path for root in self.hierarchies() for path in paths]
        return [directory for root in roots for directory, _, _ in os.walk(root, topdown=False)]

    def members(self, paths: Iterable[str]) -> Set[int]:
        """Processes in these cgroups and all below."""
        found: Set[int] = set()
        for directory in self.groups(paths):
            # Gone meanwhile; or of a kind (threaded) whose processes are listed further up.
            with contextlib.suppress(OSError), open(directory + "/cgroup.procs", encoding="ascii") as stream:
                found.update(int(line) for line in stream)
        return found - self._ancestors()

    def descendants(self, parents: Set[int]) -> Set[int]:
        """What these processes started, and what that started, as long as it lives."""
        tree = self._tree()
        children: Dict[int, List[int]] = {}
        for pid, parent in tree.items():
            children.setdefault(parent, []).append(pid)
        found: Set[int] = set()
        frontier = list(parents)
        while frontier:
            new = [child for child in children.get(frontier.pop(), []) if child not in found]
            found.update(new)
            frontier += new
        return found - parents - self._ancestors()

    def _tree(self) -> Dict[int, int]:
        """Parent of each process that is not dead."""
        found = {}
        for name in os.listdir(self.proc):
            if not name.isdigit():
                continue
            with contextlib.suppress(OSError), open(os.path.join(self.proc, name, "stat"), encoding="utf-8") as stream:
                # The name, in parentheses, may have anything in it.
                state, parent = stream.read().rsplit(")", 1)[1].split()[:2]
                if state not in "ZX":
                    found[int(name)] = int(parent)
        return found

    def _ancestors(self) -> Set[int]:
        tree = self._tree()
        pid, found = os.getpid(), {1}
        while pid and pid not in found:
            found.add(pid)
            pid = tree.get(pid, 0)
        return found


class Pods:
    """Everything that our containerd runs."""

    def __init__(self, account: Account, processes: Processes, unit_cgroups: List[str]) -> None:
        self.account = account
        self.processes = processes
        self.unit_cgroups = unit_cgroups

    def kill(self) -> None:
        """Kill containers first: while their shims live, what a dying container leaves becomes its shim's child."""
        contained, left = self._contained(), self._left()
        if contained:
            what = "processes of containers: %d" % len(contained)
            self.account.undo(what, "killed", lambda: kill(self._contained))
        if left and not self.account.check_mode:
            what = "processes that outlived their units: %d" % len(left)
            self.account.undo(what, "killed", lambda: kill(self._left))

    def _left(self) -> Set[int]:
        return self.processes.members(self.unit_cgroups)

    def _contained(self) -> Set[int]:
        return self.processes.members(PODS) | self.processes.descendants(self._left())

    def remove_cgroups(self) -> None:
        """Remove the pods' cgroups, which nobody else does once kubelet is gone."""
        directories = self.processes.groups(PODS)

        def remove() -> None:
            if any(directory.endswith("/" + SLICE) for directory in directories):
                run(["systemctl", "stop", SLICE])
            remove_groups(directories)

        if directories:
            self.account.undo("cgroups of pods: %d" % len(directories), "removed", remove)


def kill(find: Callable[[], Set[int]]) -> None:
    """Kill until nothing is found any more."""
    deadline = time.monotonic() + PATIENCE
    while True:
        found = find()
        if not found:
            return
        if time.monotonic() > deadline:
            raise CommandFailed("these processes do not die: %s" % " ".join(map(str, sorted(found))))
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(POLL_SECONDS)


def remove_groups(directories: List[str]) -> None:
    """Remove cgroups, given the deepest first. One is busy until the kernel is done with the last of its processes."""
    deadline = time.monotonic() + PATIENCE
    for directory in directories:
        while True:
            try:
                os.rmdir(directory)
            except FileNotFoundError:
                pass
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(POLL_SECONDS)
                continue
            break
