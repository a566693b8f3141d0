"""What ``kubeproof backup restore`` asks of the playbook."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kubeproof.cli import main


@pytest.mark.parametrize(("words", "resume"), [([], {}), (["--no-resume"], {"restore_resume": False})])
def test_settings(words: list[str], resume: dict[str, bool], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Any] = []

    def run(*arguments: Any) -> SimpleNamespace:
        given.extend(arguments)
        return SimpleNamespace(ok=True, left_behind=[])

    monkeypatch.setattr("kubeproof.install.playbook.run", run)
    (tmp_path / "hosts.yml").write_text("etcd: {hosts: {cp1: {ansible_host: 192.0.2.1}}}\n")
    arguments = main.parser().parse_args(["backup", "restore", "-i", str(tmp_path / "hosts.yml"), *words])
    assert arguments.run(arguments) == 0
    assert given[0] == "restore"
    assert json.loads(given[3][1]) == {"restore_from": "latest", "restore_confirmed": False, **resume}
