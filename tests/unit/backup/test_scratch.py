"""What a drill asks etcdutl, and where it cannot."""

from __future__ import annotations

from pathlib import Path

import pytest

from kubeproof.backup.agent import programs, scratch


@pytest.mark.parametrize(("version", "found"), [("3.6.16", None), ("3.7.0", 42), ("3.10.1", 42), ("4.0.0", 42)])
def test_keys_have_no_hash_where_etcdutl_panics(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, found: int | None
) -> None:
    monkeypatch.setattr(programs, "version", lambda _: version)
    monkeypatch.setattr(programs, "run", lambda *_: '{"hash": 42}')
    snapshot = tmp_path / "of a backup"
    snapshot.write_bytes(b"keys")
    assert scratch.content_hash("etcdutl", snapshot, tmp_path, 7, 1) == found
    assert list(tmp_path.iterdir()) == [snapshot]
