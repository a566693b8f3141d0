"""A component's unit: what runs, what it was started from, and whether it is well.

Standard library only; Python 3.8 and newer.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import json
import os
import ssl
import subprocess
import urllib.error
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Dict, Iterable, List, Optional, Sequence

from ansible.module_utils import places
from ansible.module_utils.commands import CommandFailed, run
from ansible.module_utils.direct import opener
from ansible.module_utils.static_pod import StaticPod

STATE_DIRECTORY = "/var/lib/kubeproof"
UNITS = "/etc/systemd/system/"
# Reading a binary of 100 MB each time is slow; it is replaced by rename, which gives it another inode and time.
LARGE = 1 << 20
LOG_LINES = 15
ENABLED = ("enabled", "static")
# In check mode, instead of the fingerprint of a file.
GONE = "gone"
LOOKS_AT_ONCE = 8
# A component that hangs answers no command either; a slow host takes its time for one.
COMMAND_SECONDS = 60
PROPERTIES = (
    "LoadState,ActiveState,SubState,UnitFileState,FragmentPath,NeedDaemonReload,InvocationID,MainPID,NRestarts,"
    "ActiveEnterTimestamp"
)


class Systemd:
    """The few calls to systemctl that are needed."""

    def __init__(self, unit: str) -> None:
        self.unit = unit

    def show(self) -> Dict[str, str]:
        """The unit's properties, by name."""
        output = run(["systemctl", "show", self.unit, "--timestamp=us+utc", "--property=" + PROPERTIES])
        return dict(line.split("=", 1) for line in output.splitlines() if "=" in line)

    @staticmethod
    def show_all(units: Sequence[str]) -> Dict[str, Dict[str, str]]:
        """The properties of several units, with one call."""
        output = run(["systemctl", "show", *units, "--timestamp=us+utc", "--property=" + PROPERTIES])
        blocks = [dict(line.split("=", 1) for line in block.splitlines() if "=" in line) for block in
                  output.strip().split("\n\n")]  # fmt: skip
        return dict(zip(units, blocks))

    def call(self, *arguments: str) -> None:
        """Run systemctl for its effect."""
        run(["systemctl", *arguments])

    def log(self) -> str:
        """The unit's last lines."""
        command = ["journalctl", "--unit", self.unit, "--lines", str(LOG_LINES), "--no-pager", "--output", "cat"]
        return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False).stdout.decode(
            errors="replace"
        )


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


def drop_ins(unit: str) -> List[str]:
    """What the host's operator has put next to a unit (systemd.unit(5)): each is an input of it like its own file."""
    return sorted(glob.glob(os.path.join(glob.escape(UNITS + unit) + ".d", "*.conf")))


def changed_inputs(before: Dict[str, Any], now: Dict[str, Any]) -> List[str]:
    """The paths whose fingerprints differ."""
    return sorted(path for path in {*before, *now} if before.get(path) != now.get(path))


class Record:
    """What the running process of a unit was started with."""

    def __init__(self, unit: str, directory: str = STATE_DIRECTORY) -> None:
        self.path = os.path.join(directory, "units", unit + ".json")
        self.data = self.at(self.path)

    @staticmethod
    def at(path: str) -> Dict[str, Any]:
        """A record's content; empty if there is none, or if it is damaged."""
        with contextlib.suppress(FileNotFoundError, ValueError), open(path, encoding="utf-8") as stream:
            document = json.load(stream)
            return document if isinstance(document, dict) else {}
        return {}

    def save(self, data: Dict[str, Any]) -> None:
        """Replace the record, if it is another one."""
        if data == self.data:
            return
        places.make_directories(os.path.dirname(self.path))
        places.write(self.path, json.dumps(data).encode(), os.geteuid(), os.getegid(), 0o600)
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

    # Without the day of the week, which Python reads in the host's language, and systemd writes in its own.
    text = state.get("ActiveEnterTimestamp", "").partition(" ")[2]
    for pattern in ("%Y-%m-%d %H:%M:%S.%f UTC", "%Y-%m-%d %H:%M:%S UTC"):
        with contextlib.suppress(ValueError):
            return datetime.strptime(text, pattern).replace(tzinfo=timezone.utc).timestamp()
    return 0.0


def below(path: str, files: Iterable[str]) -> bool:
    """Whether one of these files is this one, or in this directory."""
    return any(file == path or file.startswith(path + "/") for file in files)


def affected(inputs: Dict[str, Any], pending: Dict[str, Optional[str]]) -> Dict[str, Any]:
    """Inputs as they will be once files are changed: contents by path, as ``install/pending.py`` notes them."""
    return {path: _after(path, found, pending) for path, found in inputs.items()}


def _after(path: str, found: Any, pending: Dict[str, Optional[str]]) -> Any:
    if pending.get(path):
        return None if pending[path] == GONE else pending[path]
    inside: Dict[str, Optional[str]] = {
        file: content for file, content in pending.items() if content and file.startswith(path + "/")
    }
    if not inside:
        return found
    names = {*(found or {}), *(file[len(path) + 1 :].split("/")[0] for file in inside)}
    after = {name: _after(os.path.join(path, name), (found or {}).get(name), inside) for name in names}
    return {name: content for name, content in after.items() if content is not None}


def reason_to_restart(
    state: Dict[str, str], record: Dict[str, Any], inputs: Dict[str, Any], pending: Iterable[str] = ()
) -> str:
    """Why the process has to be started anew, in words; empty if it needn't."""
    if state["ActiveState"] not in ("active", "reloading"):
        return "it was %s" % state["ActiveState"]
    if "inputs" not in record:
        return "it was not started by kubeproof"
    different = changed_inputs(record["inputs"], inputs)
    if different:
        return "changed since its start: " + ", ".join(different)
    return reason_of_process(state, record, inputs, pending)


def reason_to_reload(
    state: Dict[str, str], record: Dict[str, Any], inputs: Dict[str, Any], pending: Iterable[str] = ()
) -> str:
    """Why a process that stays has to read its files anew, in words; empty if it needn't."""
    different = changed_inputs(record.get("reload_inputs", {}), inputs)
    return ", ".join(different) or reason_of_process(state, record, inputs, pending)


def reason_of_process(
    state: Dict[str, str], record: Dict[str, Any], inputs: Dict[str, Any], pending: Iterable[str]
) -> str:
    """Why a process may have read other files than those that are recorded, though they are there now."""
    # Same files, but another process than the one we started (reboot, crash, a hand): right if it started after the
    # last file was put in place. A second of slack: timestamps of files are those of the kernel's coarse clock.
    if record.get("invocation") != state["InvocationID"]:
        after = newest_change(list(inputs)) > started_at(state) + 1
        if after or any(below(path, pending) for path in inputs):
            return "a file was changed after its start"
    return ""


class Health:
    """One question to the component, asked until it is answered well."""

    def __init__(self, spec: Dict[str, Any]) -> None:
        self.spec = spec
        self.problem = "not asked yet"
        # HTTP's, of the last answer; 0 if there was none.
        self.code = 0
        self.body = ""

    def good(self) -> bool:
        """Ask once; what was answered stays in ``problem``."""
        if self.spec.get("url"):
            return self._url()
        if self.spec.get("command"):
            return self._command()
        return True

    def _url(self) -> bool:
        url = self.spec["url"]
        self.code, self.body = 0, ""
        try:
            with opener(self._context(url)).open(url, timeout=5) as answer:
                self.body = answer.read(LARGE).decode(errors="replace")
                self.code = answer.status
        except urllib.error.HTTPError as error:
            self.code = error.code
            self.problem = "%s answers %d: %s" % (url, error.code, error.read(1000).decode(errors="replace"))
            return False
        except (OSError, ValueError) as error:
            self.problem = "%s: %s" % (url, error)
            return False
        self.problem = "%s answers %r" % (url, self.body[:1000])
        return self.spec.get("expect", "") in self.body

    def _context(self, url: str) -> Optional[ssl.SSLContext]:
        if not url.startswith("https:"):
            return None
        context = ssl.create_default_context(cafile=self.spec.get("ca"))
        if self.spec.get("certificate"):
            context.load_cert_chain(self.spec["certificate"], self.spec["key"])
        return context

    def _command(self) -> bool:
        command = self.spec["command"]
        try:
            done = subprocess.run(
                command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=COMMAND_SECONDS, check=False
            )
        except subprocess.TimeoutExpired:
            self.problem = "%s: no answer within %d s" % (" ".join(command), COMMAND_SECONDS)
            return False
        self.problem = "%s: %s" % (" ".join(command), done.stdout.decode(errors="replace").strip())
        return done.returncode == 0


class Condition(Health):
    """A condition of an API object, which is good when it is true, and was said to be so after a moment."""

    def __init__(self, spec: Dict[str, Any], since: float = 0.0) -> None:
        """``spec`` has the name of the ``condition``; ``since``: epoch seconds; the API's are whole ones."""
        super().__init__(spec)
        self.since = int(since)

    def good(self) -> bool:
        """Ask once; what was answered stays in ``problem``."""
        return super().good() and self._true()

    def _true(self) -> bool:
        name = self.spec["condition"]
        try:
            listed = json.loads(self.body)["status"]["conditions"]
            found: Dict[str, Any] = next((each for each in listed if each["type"] == name), {})
            told = max(epoch(found.get(key) or "") for key in ("lastHeartbeatTime", "lastTransitionTime"))
        except (ValueError, LookupError, TypeError) as error:
            self.problem = "%s has no conditions that can be read: %s" % (self.spec["url"], error)
            return False
        if found.get("status") == "True" and told >= self.since:
            return True
        if told < self.since:
            self.problem = "%s has not been said since the restart" % name
        else:
            self.problem = "%s is %s: %s" % (name, found.get("status"), found.get("message"))
        return False


def epoch(text: str) -> float:
    """A time of the API (``2026-11-27T18:00:00Z``) in epoch seconds; 0 without one."""
    from datetime import datetime, timezone

    if not text:
        return 0.0
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc).timestamp()


def settled(directory: str = STATE_DIRECTORY) -> Dict[str, str]:
    """The units that need nothing, of those that an earlier run has left so: by unit, the digest of what it asked for.

    Each is asked for its health once. Whatever is not so well that this can be said is left out.
    """
    paths = sorted(glob.glob(os.path.join(directory, "units", "*.json")))
    records = {os.path.basename(path)[: -len(".json")]: Record.at(path) for path in paths}
    known = {unit: record for unit, record in records.items() if "digest" in record}
    if not known:
        return {}
    try:
        states = Systemd.show_all(list(known))
    except (OSError, CommandFailed):
        return {}
    with ThreadPoolExecutor(LOOKS_AT_ONCE) as pool:
        good = list(pool.map(lambda unit: needs_nothing(unit, known[unit], states.get(unit, {})), known))
    return {unit: str(known[unit]["digest"]) for unit, is_good in zip(known, good) if is_good}


def needs_nothing(unit: str, record: Dict[str, Any], state: Dict[str, str]) -> bool:
    """Whether a unit runs what is on disk, starts at boot, and is healthy."""
    with contextlib.suppress(OSError, ValueError, KeyError, CommandFailed):
        request = record["request"]
        if state["UnitFileState"] not in ENABLED or StaticPod(unit).text() is not None:
            return False
        inputs = fingerprints([UNITS + unit, *drop_ins(unit), *request["inputs"]])
        reloads = fingerprints(request["reload_inputs"])
        if reason_to_restart(state, record, inputs) or reason_to_reload(state, record, reloads):
            return False
        health, registers = request["health"], request["registers"]
        # What tells that it is healthy may be what it makes at its start, too.
        same = bool(registers.get("command")) and registers["command"] == health.get("command")
        return Health(health).good() and (same or Health(registers).good())
    return False
