"""The inventory's lock."""

from __future__ import annotations

from pathlib import Path

import pytest

from kubeproof.components.lock import NAME, Lock, LockError


def test_what_is_saved_is_read_again(tmp_path: Path) -> None:
    lock = Lock(tmp_path / "state")
    lock.record_download("https://example.org/x", "abc", "https://example.org/x.sha256")
    lock.record_component("amd64", "etcd", {"version": "3.7.3"})
    lock.record_image("amd64", "pause", {"version": "3.10.2"})
    assert lock.save()
    again = Lock(tmp_path / "state")
    assert again.download("https://example.org/x") == {"sha256": "abc", "verified": "https://example.org/x.sha256"}
    assert again.component("amd64", "etcd") == {"version": "3.7.3"}
    assert again.image("amd64", "pause") == {"version": "3.10.2"}
    assert again.component("arm64", "etcd") is None
    assert not again.save(), "nothing changed"


def test_nothing_is_written_before_it_is_saved(tmp_path: Path) -> None:
    Lock(tmp_path).record_component("amd64", "etcd", {"version": "3.7.3"})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["", "{", "[]", '{"version": 1}'])
def test_a_damaged_lock_is_not_taken_for_an_empty_one(tmp_path: Path, text: str) -> None:
    (tmp_path / NAME).write_text(text)
    with pytest.raises(LockError, match=r"components\.lock\.json is damaged.*\n.*restore it"):
        Lock(tmp_path)


def test_a_lock_of_another_version_is_not_read(tmp_path: Path) -> None:
    (tmp_path / NAME).write_text('{"version": 2}')
    with pytest.raises(LockError, match="is of version 2; this kubeproof reads 1"):
        Lock(tmp_path)
