"""A component as a static pod of this host: its manifest, and the processes that the kubelet runs for it.

Standard library only; Python 3.8 and newer.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import json
import os
import pwd
import socket
import subprocess
import time
from typing import Any, Dict, List, Optional

from ansible.module_utils import places
from ansible.module_utils.commands import run
from ansible.module_utils.manifest import Manifest

MANIFESTS = "/etc/kubernetes/manifests"
POLL_SECONDS = 0.1
# From the removal of a pod's control group to the moment when its kubelet takes another pod of the same name at once.
# One that comes before that waits for ten to fifteen seconds (pkg/kubelet/pod_workers.go, backOffPeriod).
AFTERWARDS_SECONDS = 0.5
LOG_LINES = 15
# How much longer a pod's end may take than it is waited for, before its successor is put in place by systemd.
NEXT_SECONDS = 30


class PodError(Exception):
    """The kubelet does not do what the manifest says; the message is for the operator."""


class StaticPod:
    """The static pod that stands for a unit. Directories can be others for tests."""

    def __init__(self, unit: str, manifests: str = MANIFESTS, root: str = "/") -> None:
        self.name = os.path.splitext(unit)[0]
        self.path = os.path.join(manifests, self.name + ".json")
        self.root = root

    def text(self) -> Optional[str]:
        """The manifest that is in place; None if there is none."""
        try:
            with open(self.path, encoding="utf-8") as stream:
                return stream.read()
        except FileNotFoundError:
            return None

    def uid(self) -> str:
        """The UID of the pod whose manifest is in place; empty if there is none."""
        with contextlib.suppress(ValueError, KeyError, TypeError):
            return str(json.loads(self.text() or "")["metadata"]["uid"])
        return ""

    def wanted(self, document: Dict[str, Any], digest: str, pretend: bool = False) -> str:
        """The manifest as it is to be: with the numbers of its user, and a UID that other inputs make another one.

        The kubelet replaces a pod whose UID is another one, and finds nothing to do while it is the same. ``pretend``
        (check mode): a user that is yet to be made counts as root.
        """
        document = json.loads(json.dumps(document))
        context = document["spec"]["securityContext"]
        context["runAsUser"], context["runAsGroup"] = self._numbers(context["runAsUser"], pretend)
        metadata = document["metadata"]
        metadata.setdefault("annotations", {})["kubeproof.io/inputs"] = digest
        content = socket.gethostname() + json.dumps(document, sort_keys=True)
        metadata["uid"] = hashlib.sha256(content.encode()).hexdigest()[:32]
        return json.dumps(document, indent=1) + "\n"

    @staticmethod
    def _numbers(user: str, pretend: bool) -> List[int]:
        try:
            entry = pwd.getpwnam(user)
        except KeyError:
            if pretend:
                return [0, 0]
            raise PodError("there is no user %s on this host" % user) from None
        return [entry.pw_uid, entry.pw_gid]

    def place(self, text: str) -> None:
        """Put the manifest where the kubelet finds it, remembered for a reset."""
        places.make_directories(os.path.dirname(self.path), 0o700)
        Manifest().add("file", self.path, backup=None)
        places.write(self.path, text.encode(), os.geteuid(), os.getegid(), 0o600)

    def replace(self, text: str, timeout: float) -> None:
        """Have the kubelet end the pod, and start another one.

        In between there is no manifest. Should this process end there, systemd puts the next one in place a little
        later, so that the component is not away until somebody comes.
        """
        self.disinherit()
        Manifest().add("file", self._next, backup=None)
        places.write(self._next, text.encode(), os.geteuid(), os.getegid(), 0o600)
        later = "--on-active=%d" % (timeout + NEXT_SECONDS)
        timer = ["systemd-run", "--quiet", "--collect", "--unit=" + self._timer, later]
        run([*timer, "/bin/mv", self._next, self.path])
        try:
            self._end(timeout)
        finally:
            # Whatever the kubelet is at: it must not be left without the manifest.
            self.place(text)
            self.disinherit()

    def withdraw(self, timeout: float) -> None:
        """Take the manifest away, and wait until the kubelet has ended the pod."""
        self.disinherit()
        self._end(timeout)

    def disinherit(self) -> None:
        """Nothing is put in place any more for a run that ended too early."""
        if os.path.exists(self._next):
            # It may have gone off.
            subprocess.run(
                ["systemctl", "--quiet", "stop", self._timer + ".timer"], stderr=subprocess.DEVNULL, check=False
            )
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._next)

    @property
    def _next(self) -> str:
        # The kubelet does not read what begins with a dot (pkg/kubelet/config/file.go).
        return os.path.join(os.path.dirname(self.path), ".%s.next" % self.name)

    @property
    def _timer(self) -> str:
        return "kubeproof-next-" + self.name

    def _end(self, timeout: float) -> None:
        uid = self.uid()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)
        deadline = time.monotonic() + timeout
        while uid and (self.processes(uid) or self._groups(uid)):
            if time.monotonic() > deadline:
                raise PodError(
                    "%s still runs as a static pod %d s after %s was removed: is kubelet.service of this host well?"
                    % (self.name, timeout, self.path)
                )
            time.sleep(POLL_SECONDS)
        time.sleep(AFTERWARDS_SECONDS)

    def processes(self, uid: str) -> List[int]:
        """The processes of a pod, but for the one that keeps its namespaces."""
        return [pid for pid in self._members(uid) if self._program(pid) != "pause"] if uid else []

    def log(self, uid: str) -> str:
        """The last lines of the pod, or else those in which its kubelet speaks of it."""
        pattern = "var/log/pods/kube-system_%s-*_%s/*/*.log" % (glob.escape(self.name), uid)
        files = sorted(glob.glob(os.path.join(self.root, pattern)), key=os.path.getmtime)
        if files:
            with open(files[-1], encoding="utf-8", errors="replace") as stream:
                return "".join(stream.readlines()[-LOG_LINES:])
        command = ["journalctl", "--unit=kubelet", "--no-pager", "--output=cat", "--lines=500"]
        said = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False).stdout
        lines = [line for line in said.decode(errors="replace").splitlines() if self.name in line]
        return "\n".join(lines[-LOG_LINES:])

    def _members(self, uid: str) -> List[int]:
        found = []
        proc = os.path.join(self.root, "proc")
        for name in os.listdir(proc):
            # It may end while it is looked at.
            with contextlib.suppress(OSError):
                if name.isdigit():
                    with open(os.path.join(proc, name, "cgroup"), encoding="utf-8") as stream:
                        if "pod" + uid in stream.read():
                            found.append(int(name))
        return found

    def _program(self, pid: int) -> str:
        with contextlib.suppress(OSError), open(
            os.path.join(self.root, "proc", str(pid), "comm"), encoding="utf-8"
        ) as stream:
            return stream.read().strip()
        return ""

    def _groups(self, uid: str) -> List[str]:
        """The pod's control groups: of either version, by either of the kubelet's drivers."""
        places = [top + pods for top in ("", "*/") for pods in ("kubepods*/", "kubepods*/*/")]
        root = os.path.join(self.root, "sys/fs/cgroup")
        return [path for place in places for path in glob.glob("%s/%s*pod%s*" % (root, place, uid))]


def static_pods(patterns: List[str], manifests: str = MANIFESTS) -> List[StaticPod]:
    """The static pods of this host that stand for units, which are given as systemctl's patterns."""
    stems = [os.path.splitext(pattern)[0] for pattern in patterns]
    paths = [path for stem in stems for path in sorted(glob.glob(os.path.join(manifests, stem + ".json")))]
    return [StaticPod(os.path.splitext(os.path.basename(path))[0] + ".service", manifests) for path in paths]
