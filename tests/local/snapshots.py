"""Hosts before and after: everything about them that should not have changed, and what did."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from kubeproof.core import process
from kubeproof.settings.inventory import Host
from kubeproof.settings.remote import login

_SCRIPT = Path(__file__).with_name("host_snapshot.py")


@dataclass(frozen=True)
class Snapshot:
    """What a host is like: by section and name, as ``host_snapshot`` describes it."""

    sections: dict[str, dict[str, str]]

    @classmethod
    def take(cls, host: Host) -> Snapshot:
        """Look at a host."""
        reached = login(host)
        command = [*reached.ssh(), reached.rooted("python3 -")]
        return cls(json.loads(process.run(command, stdin=reached.stdin + _SCRIPT.read_bytes(), timeout=120)))

    def changes(self, after: Snapshot) -> list[str]:
        """What is different in a later one, a line each."""
        return [
            line
            for section, before in self.sections.items()
            for line in _changes(section, before, after.sections[section])
        ]


def differences(before: Mapping[str, Snapshot], after: Mapping[str, Snapshot]) -> list[str]:
    """What is different on which host."""
    return [f"{name}: {change}" for name in before for change in before[name].changes(after[name])]


def left_by_reset(before: Mapping[str, Snapshot], after: Mapping[str, Snapshot]) -> list[str]:
    """The same, but for backups, which a reset keeps: they are what brings a cluster back."""
    return [each for each in differences(before, after) if not re.search(r": /var/backups/etcd\b", each)]


def _changes(section: str, before: dict[str, str], after: dict[str, str]) -> list[str]:
    gone = [f"{section}: gone: {name} {before[name]}" for name in before.keys() - after.keys()]
    new = [f"{section}: new: {name} {after[name]}" for name in after.keys() - before.keys()]
    common = sorted(before.keys() & after.keys())
    other = [f"{section}: {name}: {before[name]} => {after[name]}" for name in common if before[name] != after[name]]
    return sorted(gone) + sorted(new) + other
