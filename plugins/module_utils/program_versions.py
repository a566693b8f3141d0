"""Versions of programs: of processes by their very executables, whatever lies on the disk by now, and of files.

A program is asked for its version once per executable; the answer is kept by inode. Standard library only; Python 3.8
and newer.
"""

from __future__ import annotations

import contextlib
import glob
import json
import os
import re
import stat
import subprocess
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Tuple

from ansible.module_utils import places
from ansible.module_utils.manifest import STATE_DIRECTORY
from ansible.module_utils.static_pod import MANIFESTS, StaticPod

# By the kernel's name of the process, which has fifteen characters.
PROGRAMS = {
    name[:15]: name
    for name in (
        "containerd", "crio", "etcd", "kube-apiserver", "kube-controller-manager", "kube-proxy", "kube-scheduler",
        "kubelet",
    )
}  # fmt: skip
# Docker's engine, of which the name is that of its unit; and the unit of what has a shorter name there.
PROGRAMS.update({"dockerd": "docker", "cri-dockerd": "cri-dockerd"})
UNITS = {"cri-dockerd": "cri-docker"}
# Of these the file counts: a process of it is started for each container.
FILES = ("runc",)
# The same of CNI plugins, which all are of one component. What each says, on its standard error, begins with this.
PLUGINS, PLUGINS_COMPONENT = ("bridge", "firewall", "host-local", "loopback", "portmap"), "cni-plugins"
PLUGINS_DIRECTORY = "/opt/cni/bin"
PLUGIN_SAYS = re.compile(r"CNI \S+ plugin v?(\d+\.\d+\.\d+[^\s,]*)")
SAYS = re.compile(r"(\d+\.\d+[^\s,]*)")
CACHE = "program-versions.json"
# A program that hangs is left out.
SECONDS = 5
# Where containerd keeps what it runs, by the container's ID; only root can write there.
TASKS = "/run/containerd/io.containerd.runtime.v2.task/k8s.io/%s/config.json"
IMAGE, NAMESPACE = "io.kubernetes.cri.image-name", "io.kubernetes.cri.sandbox-namespace"

Entry = Dict[str, Any]


class Executable(NamedTuple):
    """A file that can be asked, by a path that leads to it, and what tells it from others."""

    path: str
    key: str

    @classmethod
    def at(cls, path: str) -> Optional[Executable]:
        """What is at a path; None if it is nothing that root should run."""
        try:
            status = os.stat(path)
        except OSError:
            return None
        # As root runs it, nobody else may have written it.
        safe = status.st_uid in (0, os.geteuid()) and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
        if not stat.S_ISREG(status.st_mode) or not safe:
            return None
        parts = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        return cls(path, ":".join(map(str, parts)))


class Versions:
    """Versions of executables: those that are not known are asked all at once, while other things are looked at."""

    def __init__(self, state: str = STATE_DIRECTORY) -> None:
        self._path = os.path.join(state, CACHE)
        self._known = self._read()
        self._used: Dict[str, str] = {}
        self._asked: Dict[str, subprocess.Popen[bytes]] = {}
        self._says: Dict[str, re.Pattern[str]] = {}

    def ask(self, path: str, plugin: bool = False) -> str:
        """Begin to find out; returns by what the answer is found, empty if there is nothing to ask.

        ``plugin``: of CNI, which has no ``--version``, and says what it is wherever no command is given to it.
        """
        executable = Executable.at(path)
        if executable is None:
            return ""
        key = executable.key
        if key in self._known:
            self._used[key] = self._known[key]
        elif key not in self._asked:
            with contextlib.suppress(OSError):
                self._asked[key] = subprocess.Popen(
                    [path, "--version"],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT if plugin else subprocess.DEVNULL,
                )
                self._says[key] = PLUGIN_SAYS if plugin else SAYS
        return key

    def answer(self, key: str) -> str:
        """The version; empty for one that hangs, is broken, or says none."""
        if key in self._asked:
            version = _said(self._asked.pop(key), self._says[key])
            if version:
                self._used[key] = version
        return self._used.get(key, "")

    def keep(self) -> None:
        """Keep the answers for the next look, where there is a place of ours, and forget executables that are gone."""
        if self._used != self._known:
            # A host that is not ours has no such directory, and gets none.
            with contextlib.suppress(OSError):
                places.write(self._path, json.dumps(self._used).encode(), os.geteuid(), os.getegid(), 0o600)

    def _read(self) -> Dict[str, str]:
        try:
            with open(self._path, encoding="utf-8") as stream:
                found = json.load(stream)
        except (OSError, ValueError):
            return {}
        return {str(key): str(value) for key, value in found.items()} if isinstance(found, dict) else {}


def _said(running: subprocess.Popen[bytes], pattern: re.Pattern[str]) -> str:
    """The first version in what a program says."""
    try:
        text = running.communicate(timeout=SECONDS)[0].decode(errors="replace")
    except subprocess.TimeoutExpired:
        running.kill()
        running.communicate()
        return ""
    match = pattern.search(text)
    return match.group(1) if match else ""


def _oldest(versions: List[str]) -> str:
    """Of versions of one component's files the oldest; empty if any is not known."""
    return min(versions, key=lambda each: [int(part) for part in re.findall(r"\d+", each)[:3]]) if all(versions) else ""


class Look:
    """One look at the processes of this host, and at installed files."""

    def __init__(self, root: str = "", state: str = STATE_DIRECTORY, *, writes: bool = True) -> None:
        """``writes``: whether it may keep answers on the host, which check mode may not."""
        self._root = root
        self._writes = writes
        self._versions = Versions(root + state)
        self._processes: List[Tuple[Entry, str]] = []
        self._files: Dict[str, str] = {}

    def begin(self, files: Dict[str, str]) -> None:
        """Find processes of ours, and ask them, and ``files`` (paths by program), for their versions."""
        self._files = {name: self._versions.ask(self._root + path, name in PLUGINS) for name, path in files.items()}
        for pid, name in self._ours():
            entry, key = self._process(pid, name)
            self._processes.append((entry, key))

    def end(self) -> Tuple[List[Entry], Dict[str, str]]:
        """Processes with their versions, and versions of files by program; what did not say is left out.

        CNI plugins are one program. A turn that was killed may have switched some of them: the oldest counts.
        """
        files = {name: self._versions.answer(key) for name, key in self._files.items()}
        plugins = [files.pop(name) for name in PLUGINS if name in files]
        if plugins:
            files[PLUGINS_COMPONENT] = _oldest(plugins)
        processes = [
            {**entry, "version": entry["version"] or self._versions.answer(key)} for entry, key in self._processes
        ]
        if self._writes:
            self._versions.keep()
        return [each for each in processes if each["version"]], {name: each for name, each in files.items() if each}

    def _ours(self) -> Iterator[Tuple[int, str]]:
        """Processes by the names of components, in the control groups of their units or pods."""
        for path in glob.iglob(self._root + "/proc/[0-9]*/comm"):
            name = PROGRAMS.get(self._read(path).strip())
            if name is not None:
                yield int(path.split("/")[-2]), name

    def _process(self, pid: int, name: str) -> Tuple[Entry, str]:
        proc = "%s/proc/%d/" % (self._root, pid)
        group = self._read(proc + "cgroup")
        entry: Entry = {"program": name, "pid": pid, "version": "", "emulates": "", "age": self._age(proc)}
        emulates = re.search(r"\0--emulated-version(?:=|\0)(?:kube=)?v?(\d+\.\d+)", self._read(proc + "cmdline"))
        entry["emulates"] = emulates.group(1) if emulates else ""
        unit = re.escape(UNITS.get(name, name))
        if re.search(r"/%s\.service$" % unit, group, re.MULTILINE) and self._of_this_host(pid):
            entry["form"] = "service"
            return entry, self._versions.ask(proc + "exe")
        pod = StaticPod(name + ".service", self._root + MANIFESTS, self._root or "/").uid()
        if pod and "pod" + pod in group:
            entry["form"] = "static-pod"
            return entry, self._versions.ask(proc + "exe")
        entry["form"], entry["version"] = self._of_image(group)
        return entry, ""

    def _of_this_host(self, pid: int) -> bool:
        """Whether a process is in this host's namespace: what runs in containers may be hosts of their own."""
        try:
            own, its = (os.readlink("%s/proc/%s/ns/pid" % (self._root, each)) for each in ("self", pid))
        except OSError:
            return False
        return own == its

    def _of_image(self, group: str) -> Tuple[str, str]:
        """The version of a pod's image, of the cluster's own: a program in somebody's pod is nothing to be run here."""
        container = re.search(r"([0-9a-f]{64})(?:\.scope)?$", group, re.MULTILINE)
        if container is None:
            return "", ""
        try:
            document = json.loads(self._read(self._root + TASKS % container.group(1)))
            annotations = document["annotations"]
            ours = annotations[NAMESPACE] == "kube-system"
            version = re.search(r":v?(\d+\.\d+\.\d+[^@:/]*)(?:@|$)", annotations[IMAGE])
        except (ValueError, KeyError, TypeError):
            return "", ""
        return ("pod", version.group(1)) if ours and version else ("", "")

    def _age(self, proc: str) -> float:
        """Seconds since a process was started; 0 if that is unknown."""
        try:
            ticks = int(self._read(proc + "stat").rpartition(")")[2].split()[19])
            uptime = float(self._read(self._root + "/proc/uptime").split()[0])
        except (IndexError, ValueError):
            return 0.0
        return round(max(0.0, uptime - ticks / os.sysconf("SC_CLK_TCK")), 1)

    @staticmethod
    def _read(path: str) -> str:
        try:
            with open(path, encoding="utf-8", errors="replace") as stream:
                return stream.read()
        except OSError:
            return ""
