"""``kubeproof backup``: what hosts answer, as people read it."""

from __future__ import annotations

import json
from typing import Any

from rich.console import Console

from kubeproof.cli import backup
from kubeproof.core.process import Result

GOOD: dict[str, Any] = {
    "name": "20261121T180000Z-cp1",
    "bytes": 1_500_000,
    "problem": "",
    "proven": True,
    "manifest": {"revision": 700, "keys": 300, "quorum": True},
}
DAMAGED = {"name": "20261121T190000Z-cp2", "bytes": 900, "problem": "[it] was cut", "proven": False, "manifest": None}
ANSWERS = {
    "cp1": Result(0, json.dumps([GOOD, {**GOOD, "name": "20261120T180000Z-cp1", "proven": False}]), ""),
    "cp2": Result(0, json.dumps([DAMAGED]), ""),
    "cp3": Result(255, "", "no route to host"),
}


def test_all_hosts_backups_are_one_list_newest_first() -> None:
    found = backup.sort(backup.listed(ANSWERS))
    assert [each.name for each in found] == ["20261121T190000Z-cp2", "20261121T180000Z-cp1", "20261120T180000Z-cp1"]
    assert [each.host for each in found] == ["cp2", "cp1", "cp1"]


def test_the_table_says_what_is_wrong_and_what_is_proven() -> None:
    console = Console(width=120, record=True, file=open("/dev/null", "w"))  # noqa: PTH123, SIM115
    console.print(backup.table(backup.sort(backup.listed(ANSWERS))))
    lines = console.export_text().splitlines()
    assert lines[1].split() == ["2026-11-21", "19:00:00", "cp2", "900", "B", "[it]", "was", "cut"]
    assert lines[2].split() == ["2026-11-21", "18:00:00", "cp1", "700", "300", "1.4", "MiB", "yes"]
    assert "yes" not in lines[3]
