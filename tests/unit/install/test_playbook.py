"""How playbooks are run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from kubeproof.install import playbook


def test_ansible_gets_blocking_streams(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def attend(_command: list[str], **_options: Any) -> int:
        seen.append(os.get_blocking(2))
        return 0

    monkeypatch.setattr(playbook, "attend", attend)
    os.set_blocking(2, False)
    try:
        playbook.run("verify", tmp_path / "hosts.yml", tmp_path / ".kubeproof")
    finally:
        os.set_blocking(2, True)
    assert seen == [True]


def test_what_only_looks_does_not_take_the_place_of_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def attend(_command: list[str], *, env: dict[str, str], **_options: Any) -> int:
        Path(env["KUBEPROOF_PROFILE"]).write_text("{}")
        return 0

    monkeypatch.setattr(playbook, "attend", attend)
    state = tmp_path / ".kubeproof"
    installed = playbook.run("cluster", tmp_path / "hosts.yml", state)
    (state / "reports" / "cluster-profile.json").write_text('{"installed": true}')
    for number in range(playbook._KEPT_LOGS):
        (state / "logs" / f"20200101T0000{number:02}Z-cluster-plan.log").touch()
    playbook.run("cluster", tmp_path / "hosts.yml", state, ["--check"])
    assert (state / "reports" / "cluster-profile.json").read_text() == '{"installed": true}'
    assert installed.log.exists()
    assert len(list((state / "logs").glob("*-plan.log"))) == playbook._KEPT_LOGS
