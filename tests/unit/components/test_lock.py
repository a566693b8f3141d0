"""The inventory's lock."""

from __future__ import annotations

import json
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


def lock_of(directory: Path, **versions: str) -> Lock:
    """A lock whose current components have these versions."""
    lock = Lock(directory)
    fetched(lock, **versions)
    lock.settle()
    return lock


def fetched(lock: Lock, **versions: str) -> None:
    for name, version in versions.items():
        lock.record_component("amd64", name, {"version": version})


def versions(lock: Lock) -> list[dict[str, str]]:
    return [lock.versions("current"), lock.versions("target"), lock.versions("previous")]


def version(lock: Lock, name: str) -> str:
    """What the cluster is said to have of a component."""
    return str((lock.component("amd64", name) or {}).get("version"))


def test_what_a_first_installation_fetches_is_current_at_its_end(tmp_path: Path) -> None:
    lock = Lock(tmp_path)
    fetched(lock, etcd="3.6.16")
    lock.record_image("amd64", "pause", {"version": "3.10.1"})
    assert versions(lock) == [{}, {"etcd": "3.6.16", "pause": "3.10.1"}, {}]
    assert version(lock, "etcd") == "3.6.16"
    lock.settle()
    assert versions(lock) == [{"etcd": "3.6.16", "pause": "3.10.1"}, {}, {}]


def test_what_is_only_fetched_is_not_what_the_cluster_has(tmp_path: Path) -> None:
    lock = lock_of(tmp_path, etcd="3.6.16", runc="1.5.2")
    fetched(lock, etcd="3.7.3", runc="1.5.2")
    assert versions(lock) == [{"etcd": "3.6.16", "runc": "1.5.2"}, {"etcd": "3.7.3"}, {}]
    assert version(lock, "etcd") == "3.6.16"
    assert lock.component("amd64", "etcd", "3.7.3") == {"version": "3.7.3"}
    assert lock.component("amd64", "etcd", "3.7.4") is None
    # The inventory has the former version again.
    fetched(lock, etcd="3.6.16", runc="1.5.2")
    assert versions(lock) == [{"etcd": "3.6.16", "runc": "1.5.2"}, {}, {}]
    lock.settle()
    assert not lock.versions("previous")


def test_the_target_of_an_upgrade_that_is_taken_back_is_known_until_it_has_ended(tmp_path: Path) -> None:
    """Hosts have it: it is rehearsed with, and put back where a host fails on the way."""
    lock = lock_of(tmp_path, etcd="3.6.16", runc="1.5.2")
    fetched(lock, etcd="3.7.2")
    fetched(lock, etcd="3.7.3")
    fetched(lock, etcd="3.6.16")
    assert lock.save()
    again = Lock(tmp_path)
    assert versions(again) == [{"etcd": "3.6.16", "runc": "1.5.2"}, {}, {}]
    assert [entry["version"] for _, entry in again.superseded("components", "amd64")] == ["3.7.2", "3.7.3"]
    assert again.component("amd64", "etcd", "3.7.3") == {"version": "3.7.3"}
    assert version(again, "etcd") == "3.6.16"
    again.settle()
    assert again.component("amd64", "etcd", "3.7.3") is None


def test_after_a_way_back_there_is_nothing_before_it(tmp_path: Path) -> None:
    lock = lock_of(tmp_path, etcd="3.6.16", runc="1.5.2")
    fetched(lock, etcd="3.7.3")
    lock.settle()
    fetched(lock, etcd="3.6.16")
    # The converge at its end, and the end itself.
    lock.settle()
    lock.settle_back()
    assert lock.save()
    again = Lock(tmp_path)
    assert versions(again) == [{"etcd": "3.6.16", "runc": "1.5.2"}, {}, {"etcd": "3.6.16", "runc": "1.5.2"}]
    assert again.component("amd64", "etcd", "3.7.3") == {"version": "3.7.3"}, "hosts that were left behind have it"


def test_after_the_way_back_from_an_unfinished_upgrade_there_is_nothing_before_it(tmp_path: Path) -> None:
    lock = lock_of(tmp_path, etcd="3.5.27")
    fetched(lock, etcd="3.6.16")
    lock.settle()
    fetched(lock, etcd="3.7.3")
    fetched(lock, etcd="3.6.16")
    lock.settle_back()
    assert versions(lock) == [{"etcd": "3.6.16"}, {}, {"etcd": "3.6.16"}]
    assert lock.component("amd64", "etcd", "3.7.3") == {"version": "3.7.3"}


def test_a_change_of_versions_leaves_the_former_ones(tmp_path: Path) -> None:
    lock = lock_of(tmp_path, etcd="3.6.16", runc="1.5.2")
    fetched(lock, etcd="3.7.3")
    lock.settle()
    assert lock.save()
    again = Lock(tmp_path)
    assert versions(again) == [{"etcd": "3.7.3", "runc": "1.5.2"}, {}, {"etcd": "3.6.16", "runc": "1.5.2"}]
    assert again.component("amd64", "etcd", "3.6.16") == {"version": "3.6.16"}
    # A later run has nothing to change, nor forgets what was there before.
    fetched(again, etcd="3.7.3", runc="1.5.2")
    again.settle()
    assert not again.save()


def test_other_bytes_of_a_version_are_no_change_of_versions(tmp_path: Path) -> None:
    lock = lock_of(tmp_path, etcd="3.6.16")
    fetched(lock, etcd="3.7.3")
    lock.settle()
    built = {"version": "3.7.3", "source": "go"}
    lock.record_component("amd64", "etcd", built)
    assert lock.component("amd64", "etcd", "3.7.3") == built
    lock.settle()
    assert lock.component("amd64", "etcd") == built
    assert lock.versions("previous") == {"etcd": "3.6.16"}


def test_another_architecture_is_no_change_of_versions(tmp_path: Path) -> None:
    lock = lock_of(tmp_path, etcd="3.7.3")
    lock.record_component("arm64", "etcd", {"version": "3.7.3"})
    lock.settle()
    assert versions(lock) == [{"etcd": "3.7.3"}, {}, {}]
    assert lock.component("amd64", "etcd") == lock.component("arm64", "etcd")


def test_a_lock_of_one_generation_is_read(tmp_path: Path) -> None:
    pause = {"version": "3.10.2"}
    document = {"version": 1, "downloads": {}, "components": {}, "images": {"amd64": {"pause": pause}}}
    (tmp_path / NAME).write_text(json.dumps(document))
    lock = Lock(tmp_path)
    assert versions(lock) == [{"pause": "3.10.2"}, {}, {}]
    assert not lock.save(), "nothing changed"


def test_nothing_is_written_before_it_is_saved(tmp_path: Path) -> None:
    Lock(tmp_path).record_component("amd64", "etcd", {"version": "3.7.3"})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["", "{", "[]", '{"version": 1}', '{"version": 2}'])
def test_a_damaged_lock_is_not_taken_for_an_empty_one(tmp_path: Path, text: str) -> None:
    (tmp_path / NAME).write_text(text)
    with pytest.raises(LockError, match=r"components\.lock\.json is damaged.*\n.*restore it"):
        Lock(tmp_path)


def test_a_lock_of_another_version_is_not_read(tmp_path: Path) -> None:
    (tmp_path / NAME).write_text('{"version": 3}')
    with pytest.raises(LockError, match="is of version 3; this kubeproof reads 2"):
        Lock(tmp_path)


def test_what_others_have_written_meanwhile_stays(tmp_path: Path) -> None:
    """As a program for the controller, or another host's Python, is fetched while components are built."""
    lock_of(tmp_path, etcd="3.6.16").save()
    slow, quick = Lock(tmp_path), Lock(tmp_path)
    fetched(slow, etcd="3.7.3")
    quick.record_download("https://example.org/helm", "abc", "its checksums")
    fetched(quick, runc="1.5.2")
    assert quick.save()
    assert slow.save()
    again = Lock(tmp_path)
    assert again.download("https://example.org/helm") == {"sha256": "abc", "verified": "its checksums"}
    assert versions(again) == [{"etcd": "3.6.16"}, {"etcd": "3.7.3", "runc": "1.5.2"}, {}]
    assert version(slow, "runc") == "1.5.2"


def test_what_others_have_settled_meanwhile_is_followed(tmp_path: Path) -> None:
    lock = Lock(tmp_path)
    fetched(lock, etcd="3.6.16")
    lock.save()
    slow, quick = Lock(tmp_path), Lock(tmp_path)
    fetched(slow, etcd="3.7.3")
    quick.settle()
    quick.save()
    slow.save()
    assert versions(Lock(tmp_path)) == [{"etcd": "3.6.16"}, {"etcd": "3.7.3"}, {}]
