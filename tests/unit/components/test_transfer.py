"""Compressed copies for the way to hosts."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from kubeproof.components.cache import Blob, Cache, key_of
from kubeproof.components.transfer import compressed

CONTENT = b"compressible " * 10_000


@pytest.fixture
def blob(cache: Cache) -> Blob:
    with cache.work() as directory:
        (directory / "file").write_bytes(CONTENT)
        return cache.store(key_of("test"), {"file": directory / "file"}, {}).blobs["file"]


@pytest.mark.skipif(shutil.which("zstd") is None, reason="there is no zstd here")
def test_a_copy_is_made_once_and_unpacks_to_the_file(blob: Blob, cache: Cache) -> None:
    path = compressed(blob, cache)
    assert path is not None
    assert path.stat().st_size < len(CONTENT) / 10
    assert subprocess.run(["zstd", "-dcq", path], check=True, capture_output=True).stdout == CONTENT
    before = path.stat().st_mtime_ns
    assert compressed(blob, cache) == path
    assert path.stat().st_mtime_ns == before


def test_without_the_program_there_is_none(
    blob: Blob, cache: Cache, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert compressed(blob, cache) is None
