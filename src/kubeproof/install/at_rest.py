"""Whether anything is to be done on hosts at all, known before the first task of a role.

Not if everything on which the tasks of a run depend is what a run found that had nothing to do, and that had to ask no
host for it: code, settings, CAs, keys and versions on the controller, and on each host what it reports. Such a run
leaves out the plays in which tasks would find that out once more, one after the other and for each host.

All hosts or none: a host on which something is to be done may be what another one waits for. What cannot be known, or
is not known to be the same, counts as different, which costs time and nothing else. If only settings are different,
plays that none of them reaches (reach.py) are left out all the same.
"""

from __future__ import annotations

import datetime
import hashlib
import ipaddress
import json
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from kubeproof.core import files
from kubeproof.install.look import FACT, digest

# The tasks that are left out would renew certificates: they are due for weeks.
LONGEST = datetime.timedelta(days=1)
_SETTING = "setting "
# Of a report: what differs from one to the next though no task asks for it. Those of which parts matter come below.
_PASSING = frozenset(("asked", "clock", "etcd_disk", "ports", "work_seconds"))
# Of a running program: all but its process.
_OF_PROGRAMS = ("program", "version", "emulates", "form")
# Units of which tasks want to know whether they run.
MANAGERS = frozenset(("NetworkManager.service", "systemd-networkd.service"))
# Settings with which tasks ask hosts or the API, each time, what no report has, or depend on what is not known here. By
# name: what they are when there are no such tasks.
ASKED_EACH_TIME: Mapping[str, Collection[Any]] = {
    "cluster_control_plane_form": ("services",),
    # Templates of the user's own may depend on anything.
    "cluster_template_overrides": ("",),
    "kube_proxy_form": ("service",),
    "local_path_enabled": (False,),
    "local_volumes_directories": ([],),
}


class AtRest:
    """The record of what such a run found, on the controller, and what this run found, until it asks."""

    def __init__(self, directory: Path, run: str) -> None:
        """``run`` tells this run of the playbook from others."""
        self._record = directory / "at-rest.json"
        self._candidate = directory / "at-rest.candidate.json"
        self._run = run

    def differences(self, found: Mapping[str, str]) -> list[str]:
        """What is not as that run found it: names of ``found``, which has digests. Nothing if nothing is to be done."""
        record = _read(self._record)
        try:
            at, known = datetime.datetime.fromisoformat(record["at"]), dict(record["found"])
        except (KeyError, TypeError, ValueError):
            return ["no run was recorded that had nothing to do"]
        if not datetime.timedelta() <= datetime.datetime.now(tz=datetime.UTC) - at < LONGEST:
            return [f"the last run that asked hosts was at {at:%Y-%m-%d %H:%M} UTC"]
        return sorted(name for name in known.keys() | found.keys() if known.get(name) != found.get(name))

    def begin(self, found: Mapping[str, str], *, whole: bool = True) -> None:
        """Note what this run found, before its first task. Not ``whole``: it leaves out what an earlier one asked."""
        now = datetime.datetime.now(tz=datetime.UTC).isoformat(timespec="seconds")
        at = now if whole else _read(self._record)["at"]
        self._write(self._candidate, {"run": self._run, "at": at, "found": dict(found)})

    def asks(self) -> None:
        """Note that a task of this run had to ask its host, or to change it."""
        self._candidate.unlink(missing_ok=True)

    def keep(self) -> bool:
        """At the end of a whole run: record it if it had nothing to ask. Returns whether it was recorded."""
        candidate = _read(self._candidate)
        if candidate.get("run") != self._run:
            return False
        self._write(self._record, {name: candidate[name] for name in ("at", "found")})
        return True

    def _write(self, path: Path, document: Mapping[str, Any]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write(path, json.dumps(document, indent=1) + "\n")


def of_files(paths: Iterable[Path]) -> str:
    """A digest of the names and contents of files, and of all that are below directories; some may not be there.

    Not of what Python compiles. Raises OSError if one cannot be read.
    """
    known = hashlib.sha256()
    for path in paths:
        below = sorted(each for each in path.rglob("*") if each.is_file()) if path.is_dir() else [path]
        for each in below:
            if "__pycache__" not in each.parts and each.is_file():
                content = each.read_bytes()
                known.update(f"{each}\0{len(content)}\0".encode() + content)
    return known.hexdigest()


def of_settings(hosts: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Digests of the settings of hosts, each setting's of all of them."""
    names = sorted({name for values in hosts.values() for name in values})
    return {
        f"{_SETTING}{name}": digest([[host, values[name]] for host, values in hosts.items() if name in values])
        for name in names
    }


def only_settings(differences: Iterable[str]) -> list[str] | None:
    """The settings that are different; None if anything else is."""
    names = list(differences)
    return [name.removeprefix(_SETTING) for name in names] if all(name.startswith(_SETTING) for name in names) else None


def of_report(report: Mapping[str, Any]) -> str:
    """A digest of a host report without what changes by itself. Fields that nothing is said of here are part of it."""
    kept = {name: value for name, value in report.items() if name not in _PASSING}
    kept["memory"] = report["memory"]["total"]
    kept["disks"] = {
        path: {name: value for name, value in disk.items() if name not in ("free", "inodes_free")}
        for path, disk in report["disks"].items()
    }
    kept["interfaces"] = _links(report)
    kept["processes"] = sorted(MANAGERS & {process["unit"] for process in report["processes"]})
    running = sorted([each[name] for name in _OF_PROGRAMS] for each in report["installed"]["running"])
    kept["installed"] = {**report["installed"], "running": running}
    kept["etcd"] = {**report["etcd"], "says": _membership(report["etcd"]["says"])}
    # Answers to tasks are about certificates, and do not last; a task is settled or not.
    kept[FACT] = {"tasks": sorted(report[FACT]["tasks"]), "units": report[FACT]["units"]}
    return digest(kept)


def reportable(report: Mapping[str, Any], *, node: bool) -> bool:
    """Whether a report has all that tasks depend on: the API may not have answered, or the report not be trusted."""
    return FACT in report and (not node or report["node"] is not None)


def asks_each_time(values: Mapping[str, Any]) -> list[str]:
    """The settings of a host for which tasks ask each time. ``values``: those that are known, rendered."""
    return [name for name, none in ASKED_EACH_TIME.items() if name in values and values[name] not in none]


def _links(report: Mapping[str, Any]) -> dict[str, Any]:
    """What tasks may depend on of interfaces. Nothing of those that pods come and go with: they have no addresses."""
    routes = (report["default_route"], report["default_route_ipv6"])
    leading_out = {route["interface"] for route in routes if route}
    found = {}
    for name, interface in report["interfaces"].items():
        addresses = sorted(each for each in interface["addresses"] if not _made_by_the_kernel(each))
        if addresses or name in leading_out:
            found[name] = {"addresses": addresses, "mtu": interface["mtu"], "up": interface["up"]}
    return found


def _made_by_the_kernel(address: str) -> bool:
    parsed = ipaddress.ip_interface(address)
    return parsed.version == 6 and parsed.is_link_local


def _membership(says: Mapping[str, Any] | None) -> Any:
    """What etcd's members agree on, without how much they have written."""
    return says and {name: says[name] for name in ("cluster", "members", "alarms")}


def _read(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return found
