"""Backups of etcd, looked at on its hosts, and what follows from what is there: pure functions of the surveys."""

from __future__ import annotations

import calendar
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kubeproof.verify.observe.hosts import Host, packed

CONFIGURATION = "/etc/kubeproof/backup.json"
LAST = "/kubeproof/backup/last"
"""Key in etcd: the record of the cluster's last good backup."""
SERVICE, TIMER, DRILL_TIMER = "etcd-backup.service", "etcd-backup.timer", "etcd-backup-drill.timer"
_PROGRAM = Path(__file__).parent / "host_survey.py"
# Clocks of hosts differ.
_SKEW_SECONDS = 300.0


@dataclass(frozen=True)
class Survey:
    """What is on one host."""

    host: str
    found: Mapping[str, Any]

    @property
    def settings(self) -> Mapping[str, Any]:
        """The program's configuration."""
        settings: Mapping[str, Any] = self.found["configuration"]
        return settings

    @property
    def newest(self) -> str:
        """The newest backup here; empty if there is none."""
        return self.found["newest"] or ""

    @property
    def proven(self) -> Mapping[str, Any]:
        """The record of the last proven restore here; empty if there is none."""
        return (self.found["records"] or {}).get("proven") or {}


def survey(host: Host, what: str = "read") -> Survey | None:
    """Look at a host; None if no backups are made there. ``history``: its records in place of its newest backup."""
    found = json.loads(host.run("python3 -c %s %s %s", packed(_PROGRAM), CONFIGURATION, what))
    return Survey(host.name, found) if found["configuration"] else None


def newest(surveys: Mapping[str, Survey]) -> Survey | None:
    """The host with the newest backup of all."""
    return max((each for each in surveys.values() if each.newest), key=lambda each: each.newest, default=None)


def timer_problems(surveys: Mapping[str, Survey]) -> Iterator[str]:
    """Timers that will not run."""
    for host, each in surveys.items():
        wanted = [TIMER, *([DRILL_TIMER] if each.settings.get("drill", {}).get("overdue") else [])]
        for unit in wanted:
            timer = each.found["timers"][unit]
            # The drill's is static: it comes and goes with the backup's.
            known = ("enabled", "static") if unit == DRILL_TIMER else ("enabled",)
            if timer["active"] != "active" or timer["enabled"] not in known:
                yield f"{unit} on {host} is {timer['active']}, {timer['enabled'] or 'not there'}: nothing comes of it"


def overdue(surveys: Mapping[str, Survey]) -> str:
    """Why there should be a younger backup; empty if the schedule allows it, or has had no time yet."""
    last = newest(surveys)
    allowed = max(each.settings["overdue"] for each in surveys.values())
    waiting = max(each.found["timers"][TIMER]["seconds"] for each in surveys.values())
    if last is None:
        if waiting > allowed:
            return f"there is no backup, though the timers have run for {waiting:.0f} s, and {allowed} s are the most"
        return ""
    seconds = age(last)
    if seconds < -_SKEW_SECONDS:
        return f"the newest backup, {last.newest} on {last.host}, is from the future by {-seconds:.0f} s"
    if seconds > allowed:
        return f"the newest backup, {last.newest} on {last.host}, is {seconds:.0f} s old; {allowed} s are the most"
    return ""


def unproven(surveys: Mapping[str, Survey]) -> str:
    """Why there should be a restore that was proven later; empty if the schedule of drills allows it."""
    limits = [each.settings.get("drill", {}).get("overdue") for each in surveys.values()]
    if not limits or not all(limits):
        return ""
    allowed = max(limits)
    ages = {each.host: each.found["now"] - _epoch(each.proven["at"]) for each in surveys.values() if each.proven}
    # One from the future was written while a clock was wrong, and says nothing.
    ages = {host: seconds for host, seconds in ages.items() if seconds >= -_SKEW_SECONDS}
    if ages:
        host, seconds = min(ages.items(), key=lambda item: item[1])
        proof = surveys[host].proven["name"]
        if seconds > allowed:
            return f"the last proven restore, of {proof} on {host}, is {seconds:.0f} s ago; {allowed} s are the most"
        return ""
    waiting = max(each.found["timers"][DRILL_TIMER]["seconds"] for each in surveys.values())
    if waiting > allowed:
        return f"no backup was ever restored as a drill, though the timers have run for {waiting:.0f} s"
    return ""


def damage(last: Survey) -> str:
    """What is wrong with the newest backup on a host; empty if it can be read, and is what its manifest says."""
    name, read = last.newest, last.found["read"]
    manifest = last.found["backups"][name]
    if not manifest:
        return f"{name} on {last.host} has no manifest.json that can be read"
    status = read["status"]
    if status is None:
        return f"etcdutl cannot read the snapshot of {name} on {last.host}: {read['refusal']}"
    wanted = {file: entry["sha256"] for file, entry in manifest["files"].items()}
    found = {file: digest for file, digest in read["files"].items() if file != "manifest.json"}
    if wanted != found:
        wrong = sorted(file for file in wanted.keys() | found.keys() if wanted.get(file) != found.get(file))
        return f"{name} on {last.host}: {', '.join(wrong)} is not what was written, by the SHA-256 in its manifest"
    figures = {"revision": "revision", "hash": "hash", "keys": "totalKey", "size": "totalSize"}
    for field, says in figures.items():
        if manifest[field] != status[says]:
            return f"{name} on {last.host}: its manifest has {field} {manifest[field]}, its snapshot {status[says]}"
    return ""


def lost(surveys: Mapping[str, Survey], record: Mapping[str, Any] | None) -> str:
    """Whether the backup that etcd has a record of is gone; empty if it is where it was made."""
    if record is None or record["host"] not in surveys:
        return ""
    there = surveys[record["host"]].found["backups"]
    if record["name"] in there:
        return ""
    left = ", ".join(there) or "none"
    return f"the last good backup, {record['name']}, is not on {record['host']} any more; there are: {left}"


def summary(last: Survey, surveys: Mapping[str, Survey]) -> str:
    """The last backup, and the last proven restore, in a line."""
    manifest = last.found["backups"][last.newest]
    proofs = sorted((each.proven["at"], each.proven["name"]) for each in surveys.values() if each.proven)
    proven = f"{proofs[-1][1]} proven restorable {proofs[-1][0]}" if proofs else "none proven restorable yet"
    keys = f"revision {manifest['revision']}, {manifest['keys']} keys, {manifest['size']} bytes"
    return f"last backup {last.newest}, {age(last):.0f} s old, {keys}; {proven}"


def age(last: Survey) -> float:
    """How old the newest backup on a host is by that host's clock, in seconds."""
    begun = calendar.timegm(time.strptime(last.newest[:16], "%Y%m%dT%H%M%SZ"))
    return float(last.found["now"] - begun)


def _epoch(text: str) -> float:
    return float(calendar.timegm(time.strptime(text, "%Y-%m-%dT%H:%M:%SZ")))
