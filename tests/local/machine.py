"""What local hosts must leave as they found it."""

from __future__ import annotations

import dataclasses
import difflib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kubeproof.core.process import attempt, run

# Lifetimes of addresses count down, and what an interface has sent counts up.
_VOLATILE = ("valid_life_time", "preferred_life_time", "expires")

_SETTINGS = r"^fs\.inotify\.|^net\.(bridge|ipv4\.ip_forward$|ipv[46]\.conf\.(all|default)\.)"


@dataclass(frozen=True)
class Machine:
    """The machine's networks, settings, cgroups, mounts and containers at one moment."""

    addresses: str
    routes: str
    rules: str
    namespaces: tuple[str, ...]
    firewall: str
    settings: str
    cgroups: frozenset[str]
    mounts: frozenset[str]
    containers: frozenset[str]
    volumes: frozenset[str]
    memory_of_kubeproof: frozenset[str]

    @classmethod
    def look(cls) -> Machine:
        """The machine as it is now."""
        return cls(
            addresses=_steady(["ip", "-json", "address"]),
            routes=_steady(["ip", "-json", "route", "show", "table", "all"]),
            rules=_steady(["ip", "-json", "rule"]),
            namespaces=tuple(sorted(run(["ip", "netns", "list"]).split("\n"))),
            firewall=run(["nft", "list", "ruleset"]),
            settings=attempt(["sysctl", "--all", "--pattern", _SETTINGS]).stdout,
            cgroups=_cgroups(),
            mounts=frozenset(_mounts()),
            containers=frozenset(run(["podman", "ps", "--all", "--quiet"]).split()),
            volumes=frozenset(run(["podman", "volume", "ls", "--quiet"]).split()),
            memory_of_kubeproof=frozenset(str(path) for path in Path("/run/kubeproof").rglob("*")),
        )

    def differences(self, earlier: Machine) -> str:
        """What is not as it was, line by line; nothing if all of it is."""
        lines: list[str] = []
        for field in dataclasses.fields(self):
            before, after = (_lines(getattr(each, field.name)) for each in (earlier, self))
            lines += difflib.unified_diff(
                before, after, f"{field.name} before", f"{field.name} after", lineterm="", n=1
            )
        return "\n".join(lines)

    @property
    def network_settings(self) -> list[str]:
        """Those of the settings that say where packets go."""
        return [line for line in self.settings.splitlines() if line.startswith("net.")]


def _lines(value: str | Iterable[str]) -> list[str]:
    return value.splitlines() if isinstance(value, str) else sorted(value)


def _steady(command: list[str]) -> str:
    """The output of an ``ip`` command without what changes by itself."""
    shown = [each for each in json.loads(run(command)) if each]
    return json.dumps(_without(shown, _VOLATILE), indent=1, sort_keys=True)


def _without(value: Any, keys: tuple[str, ...]) -> Any:
    if isinstance(value, dict):
        return {key: _without(each, keys) for key, each in value.items() if key not in keys}
    return [_without(each, keys) for each in value] if isinstance(value, list) else value


def _cgroups() -> frozenset[str]:
    """The top of systemd's hierarchy, or of the only one: where a host that escaped its own would show."""
    systemd = Path("/sys/fs/cgroup/systemd")
    root = systemd if systemd.is_dir() else Path("/sys/fs/cgroup")
    # podman's own parent of all containers stays when they are gone.
    return frozenset(path.name for path in root.iterdir() if path.is_dir() and path.name != "libpod_parent")


def _mounts() -> Iterator[str]:
    """Where something is mounted. Podman's store is left out: it is mounted on itself while in use, and let go late."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        place = line.split()[4]
        if not place.endswith("/containers/storage/overlay"):
            yield place
