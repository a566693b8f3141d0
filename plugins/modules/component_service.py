#!/usr/bin/python
"""Run a component's systemd unit with what is on disk now, and wait until it is healthy.

Standard library only; Python 3.8 and newer.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import ssl
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from typing import Any, Dict, List, Optional

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: component_service
short_description: Start a unit, restart it only if what it reads has changed, wait until it is healthy
description:
  - Keeps, per unit, a digest of every input that the running process was started with, in
    C(/var/lib/kubeproof/units). A unit is restarted when an input differs from that, and never otherwise. So a run that
    was killed between writing a file and restarting is made good by the next one.
  - Fails with the unit's last log lines if it does not become healthy in time.
options:
  unit:
    description: The unit, with its suffix.
    type: str
    required: true
  inputs:
    description: Files and directories that the process reads at its start. The unit file is always one of them.
    type: list
    elements: path
    default: []
  reload_inputs:
    description: Files that a reload of the unit is enough for.
    type: list
    elements: path
    default: []
  health:
    description:
      - How to tell that the component works. Either C(url) (with C(ca), C(certificate), C(key), and C(expect), a text
        that the answer must contain), or C(command) (a list; exit code 0 is healthy). Without it an active unit is
        enough.
    type: dict
    default: {}
  timeout:
    description: How long to wait for health, in seconds.
    type: int
    default: 60
author: [The kubeproof authors]
"""

STATE_DIRECTORY = "/var/lib/kubeproof"
# Reading a binary of 100 MB each time is slow; it is replaced by rename, which gives it another inode and time.
LARGE = 1 << 20
LOG_LINES = 15
MANY_CRASHES = 5
POLL_SECONDS = 0.1
PROPERTIES = (
    "LoadState,ActiveState,SubState,UnitFileState,FragmentPath,NeedDaemonReload,InvocationID,MainPID,NRestarts,"
    "ActiveEnterTimestamp"
)


class ServiceError(Exception):
    """The unit does not do what it should; the message is for the operator."""


class Systemd:
    """The few calls to systemctl that are needed."""

    def __init__(self, unit: str) -> None:
        self.unit = unit

    def show(self) -> Dict[str, str]:
        """The unit's properties, by name."""
        output = self._run("show", self.unit, "--timestamp=us+utc", "--property=" + PROPERTIES)
        return dict(line.split("=", 1) for line in output.splitlines() if "=" in line)

    def call(self, *arguments: str) -> None:
        """Run systemctl for its effect."""
        self._run(*arguments)

    def log(self) -> str:
        """The unit's last lines."""
        command = ["journalctl", "--unit", self.unit, "--lines", str(LOG_LINES), "--no-pager", "--output", "cat"]
        return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False).stdout.decode(
            errors="replace"
        )

    @staticmethod
    def _run(*arguments: str) -> str:
        done = subprocess.run(["systemctl", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
        if done.returncode != 0:
            raise ServiceError("systemctl %s: %s" % (" ".join(arguments), done.stderr.decode(errors="replace").strip()))
        return done.stdout.decode(errors="replace")


def fingerprint(path: str) -> Any:
    """What a change of a file or directory shows in: content when small, inode and time when large."""
    if os.path.isdir(path):
        return {name: fingerprint(os.path.join(path, name)) for name in sorted(os.listdir(path))}
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return None
    if status.st_size > LARGE:
        return [status.st_size, status.st_mtime_ns, status.st_ino]
    with open(path, "rb") as stream:
        return hashlib.sha256(stream.read()).hexdigest()


def fingerprints(paths: List[str]) -> Dict[str, Any]:
    """Each path's ``fingerprint``."""
    return {path: fingerprint(path) for path in paths}


def changed_inputs(before: Dict[str, Any], now: Dict[str, Any]) -> List[str]:
    """The paths whose fingerprints differ."""
    return sorted(path for path in {*before, *now} if before.get(path) != now.get(path))


class Record:
    """What the running process of a unit was started with."""

    def __init__(self, unit: str, directory: str = STATE_DIRECTORY) -> None:
        self.path = os.path.join(directory, "units", unit + ".json")
        self.data: Dict[str, Any] = {}
        with contextlib.suppress(FileNotFoundError, ValueError), open(self.path, encoding="utf-8") as stream:
            self.data = json.load(stream)

    def save(self, data: Dict[str, Any]) -> None:
        """Replace the record, if it is another one."""
        if data == self.data:
            return
        os.makedirs(os.path.dirname(self.path), mode=0o755, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=os.path.dirname(self.path), delete=False) as stream:
            json.dump(data, stream)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(stream.name, self.path)
        self.data = data


def newest_change(paths: List[str]) -> float:
    """When the last of the files was put in place (epoch seconds); ctime moves on a rename, mtime does not."""
    newest = 0.0
    for path in paths:
        for parent, _, names in os.walk(path) if os.path.isdir(path) else [("", [], [path])]:
            for name in names:
                with contextlib.suppress(FileNotFoundError):
                    newest = max(newest, os.stat(os.path.join(parent, name)).st_ctime)
    return newest


def started_at(state: Dict[str, str]) -> float:
    """When the unit became active, epoch seconds; 0 if unknown."""
    from datetime import datetime, timezone

    text = state.get("ActiveEnterTimestamp", "")
    for pattern in ("%a %Y-%m-%d %H:%M:%S.%f UTC", "%a %Y-%m-%d %H:%M:%S UTC"):
        with contextlib.suppress(ValueError):
            return datetime.strptime(text, pattern).replace(tzinfo=timezone.utc).timestamp()
    return 0.0


def reason_to_restart(state: Dict[str, str], record: Dict[str, Any], inputs: Dict[str, Any]) -> str:
    """Why the process has to be started anew, in words; empty if it needn't."""
    if state["ActiveState"] not in ("active", "reloading"):
        return "it was %s" % state["ActiveState"]
    if "inputs" not in record:
        return "it was not started by kubeproof"
    different = changed_inputs(record["inputs"], inputs)
    if different:
        return "changed since its start: " + ", ".join(different)
    # Same files, but another process than the one we started (reboot, crash, a hand): right if it started after the
    # last file was put in place. A second of slack: timestamps of files are those of the kernel's coarse clock.
    if record.get("invocation") != state["InvocationID"] and newest_change(list(inputs)) > started_at(state) + 1:
        return "a file was changed after its start"
    return ""


class Health:
    """One question to the component, asked until it is answered well."""

    def __init__(self, spec: Dict[str, Any]) -> None:
        self.spec = spec
        self.problem = "not asked yet"

    def good(self) -> bool:
        """Ask once; what was answered stays in ``problem``."""
        if self.spec.get("url"):
            return self._url()
        if self.spec.get("command"):
            return self._command()
        return True

    def _url(self) -> bool:
        url = self.spec["url"]
        try:
            with urllib.request.urlopen(url, timeout=5, context=self._context(url)) as answer:  # noqa: S310 - the role's own URL
                body = answer.read(4096).decode(errors="replace")
        except urllib.error.HTTPError as error:
            self.problem = "%s answers %d: %s" % (url, error.code, error.read(1000).decode(errors="replace"))
            return False
        except (OSError, ValueError) as error:
            self.problem = "%s: %s" % (url, error)
            return False
        self.problem = "%s answers %r" % (url, body)
        return self.spec.get("expect", "") in body

    def _context(self, url: str) -> Optional[ssl.SSLContext]:
        if not url.startswith("https:"):
            return None
        context = ssl.create_default_context(cafile=self.spec.get("ca"))
        if self.spec.get("certificate"):
            context.load_cert_chain(self.spec["certificate"], self.spec["key"])
        return context

    def _command(self) -> bool:
        done = subprocess.run(self.spec["command"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        self.problem = "%s: %s" % (" ".join(self.spec["command"]), done.stdout.decode(errors="replace").strip())
        return done.returncode == 0


def wait_for_health(systemd: Systemd, health: Health, timeout: float, replaced: str) -> None:
    """Poll until healthy. A unit that has failed for good, or keeps crashing, is not waited for.

    ``replaced`` is the invocation that a restart is to end: while it is still there, its health says nothing.
    """
    deadline = time.monotonic() + timeout
    crashes: Optional[int] = None
    while True:
        state = systemd.show()
        ours = state["InvocationID"] != replaced
        if ours and crashes is None:
            crashes = int(state["NRestarts"])
        if ours and state["ActiveState"] == "active" and health.good():
            return
        if ours and state["ActiveState"] == "failed":
            problem = "has failed"
        elif crashes is not None and int(state["NRestarts"]) - crashes >= MANY_CRASHES:
            problem = "keeps crashing"
        elif time.monotonic() > deadline:
            problem = "is not healthy after %d s (%s, %s)" % (timeout, state["ActiveState"], health.problem)
        else:
            time.sleep(POLL_SECONDS)
            continue
        raise ServiceError("%s %s. Its last lines:\n%s" % (systemd.unit, problem, systemd.log()))


def require_remembered(unit: str) -> None:
    """Refuse a unit that is not in the manifest: a reset would leave it running."""
    path = os.path.join(STATE_DIRECTORY, "manifest.json")
    with open(path, encoding="utf-8") as stream:
        manifest = json.load(stream)
    if not any(entry["kind"] == "unit" and entry["name"] == unit for entry in manifest["entries"]):
        raise ServiceError("%s was not installed by install_component; a reset would leave it behind" % unit)


def converge(module: AnsibleModule) -> Dict[str, Any]:
    """Do what is needed, in the order in which systemd needs it; returns the module's result."""
    unit = module.params["unit"]
    systemd = Systemd(unit)
    state = systemd.show()
    record = Record(unit)
    inputs = fingerprints(["/etc/systemd/system/" + unit, *module.params["inputs"]])
    reloads = fingerprints(module.params["reload_inputs"])
    reason = reason_to_restart(state, record.data, inputs)
    reload_reason = ", ".join(changed_inputs(record.data.get("reload_inputs", {}), reloads))
    enable = state["UnitFileState"] not in ("enabled", "static")
    done: List[str] = []
    if enable:
        done.append("enabled")
    if reason:
        done.append("%s: %s" % ("restarted" if state["ActiveState"] == "active" else "started", reason))
    elif reload_reason:
        done.append("reloaded: " + reload_reason)
    result = {"changed": bool(done), "done": done, "unit": unit}
    if module.check_mode:
        return result
    require_remembered(unit)
    # systemd sees by itself that a file has changed, but not that a package's unit of this name has to yield to ours.
    if state["NeedDaemonReload"] == "yes" or state["FragmentPath"] not in ("", "/etc/systemd/system/" + unit):
        systemd.call("daemon-reload")
    if enable:
        # Without the reload that enable does by default: the start needs none, and it is slow.
        systemd.call("enable", "--no-reload", "--quiet", unit)
    if reason:
        if state["ActiveState"] == "failed":
            systemd.call("reset-failed", unit)
        systemd.call("restart", "--no-block", unit)
    elif reload_reason:
        systemd.call("reload", unit)
    started = time.monotonic()
    replaced = state["InvocationID"] if reason and state["InvocationID"] else "none"
    wait_for_health(systemd, Health(module.params["health"]), module.params["timeout"], replaced)
    result["waited"] = round(time.monotonic() - started, 2)
    record.save({"inputs": inputs, "reload_inputs": reloads, "invocation": systemd.show()["InvocationID"]})
    return result


def main() -> None:
    """Ansible's entry."""
    module = AnsibleModule(
        argument_spec={
            "unit": {"type": "str", "required": True},
            "inputs": {"type": "list", "elements": "path", "default": []},
            "reload_inputs": {"type": "list", "elements": "path", "default": []},
            "health": {"type": "dict", "default": {}},
            "timeout": {"type": "int", "default": 60},
        },
        supports_check_mode=True,
    )
    try:
        module.exit_json(**converge(module))
    except (ServiceError, OSError) as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
