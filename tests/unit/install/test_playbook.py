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
