"""Whose numbers are those of a component."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest

import component_processes


class Pod:
    """A static pod of which two processes run."""

    def __init__(self, unit: str) -> None:
        assert unit == "x.service"

    def text(self) -> str | None:
        return "{}"

    def uid(self) -> str:
        return "uid"

    def processes(self, uid: str) -> list[int]:
        assert uid == "uid"
        return [7, 8]


class NoPod(Pod):
    """None."""

    def text(self) -> str | None:
        return None


@pytest.mark.parametrize(("told", "expected"), [(b"42\n", [42]), (b"0\n", []), (b"\n", [])])
def test_a_unit_has_its_main_process(monkeypatch: pytest.MonkeyPatch, told: bytes, expected: list[int]) -> None:
    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[bytes]:
        assert command[:3] == ["systemctl", "show", "x.service"]
        return subprocess.CompletedProcess(command, 0, told)

    monkeypatch.setattr(component_processes, "StaticPod", NoPod)
    monkeypatch.setattr(subprocess, "run", run)
    assert component_processes.processes("x.service") == expected


def test_a_static_pod_has_those_of_its_control_group(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(component_processes, "StaticPod", Pod)
    assert component_processes.processes("x.service") == [7, 8]
