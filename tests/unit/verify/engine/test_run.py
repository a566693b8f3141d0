"""The command of a verification, which runs in another directory than whoever asks for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from kubeproof.verify.engine import run
from kubeproof.verify.engine.run import Options


def test_paths_are_those_of_the_directory_in_which_they_were_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    command = run.command((Path("hosts.yml"),), Options(kubeconfig="admin.conf", report="out/report.json"))
    assert f"--inventory={tmp_path}/hosts.yml" in command
    assert f"--kubeconfig={tmp_path}/admin.conf" in command
    assert f"--report={tmp_path}/out/report.json" in command


def test_what_is_not_given_is_not_passed_on() -> None:
    command = run.command((Path("hosts.yml"),), Options())
    assert not [word for word in command if word.startswith(("--kubeconfig", "--report"))]
