"""Files copied through the streams of commands, with commands of this machine."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from kubeproof.install import slices

CONTENT = bytes(range(256)) * 20


def shell(command: str, data: bytes | None = None) -> str:
    return subprocess.run(["sh", "-c", command], input=data, check=True, capture_output=True).stdout.decode()


@pytest.fixture(params=[1024, 5120], ids=["several slices", "one slice, to the byte"])
def source(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of 5120 bytes, and slices of some size."""
    monkeypatch.setattr(slices, "_BLOCK", request.param)
    monkeypatch.setattr(slices, "_SLICE_BLOCKS", 1)
    made = tmp_path / "a file"
    made.write_bytes(CONTENT)
    return made


def test_a_file_is_pulled(source: Path, tmp_path: Path) -> None:
    slices.pull(shell, str(source), tmp_path / "pulled")
    assert (tmp_path / "pulled").read_bytes() == CONTENT
    assert (tmp_path / "pulled").stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a file", "pulled"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become somebody")
def test_a_file_is_pushed(source: Path, tmp_path: Path) -> None:
    slices.push(shell, source, str(tmp_path / "pushed"), "root")
    assert (tmp_path / "pushed").read_bytes() == CONTENT
    assert (tmp_path / "pushed").stat().st_mode & 0o777 == 0o600
