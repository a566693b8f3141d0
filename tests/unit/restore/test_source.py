"""What ``restore_from`` means, and which backup that is."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.restore import made

from kubeproof.core.errors import KubeproofError
from kubeproof.restore.source import Source, choose, kept

HOSTS = ["cp1", "cp2"]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("latest", Source("latest")),
        (" latest\n", Source("latest")),
        ("cp2:20261121T174502Z-cp2", Source("host", "cp2", "20261121T174502Z-cp2")),
        ("member:cp1", Source("member", "cp1")),
        ("offsite/20261121T174502Z-cp2", Source("target", "offsite", "20261121T174502Z-cp2")),
    ],
)
def test_forms(text: str, wanted: Source) -> None:
    assert Source.parse(text, HOSTS) == wanted


def test_a_directory(tmp_path: Path) -> None:
    assert Source.parse(str(tmp_path), HOSTS) == Source("directory", name=tmp_path.name, path=str(tmp_path))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "restore_from is not set"),
        ("yesterday", "'yesterday' is not valid"),
        ("cp9:20261121T174502Z-cp9", "'cp9', which is not an etcd host of the inventory"),
        ("member:w1", "'w1', which is not an etcd host"),
        ("cp1:newest", "'newest' in 'cp1:newest' is not the name of a backup"),
        ("/no/such/directory", "there is no directory /no/such/directory on the controller"),
    ],
)
def test_what_means_nothing(text: str, said: str) -> None:
    with pytest.raises(KubeproofError) as refused:
        Source.parse(text, HOSTS)
    assert said in str(refused.value)


def listed(name: str, **changes: object) -> dict[str, object]:
    """A backup as a host lists it."""
    manifest = made.manifest(name=name, **changes)
    return {"name": name, "manifest": manifest.render().decode(), "files": {"snapshot.db": 1}}


def test_latest_is_the_newest_good_one_on_any_host() -> None:
    found = {
        "cp1": kept("cp1", [listed("20261121T100000Z-cp1"), listed("20261121T120000Z-cp1")], made.CA_DIGEST),
        "cp2": kept("cp2", [listed("20261121T110000Z-cp2"), listed("20261121T130000Z-cp2", authority="b" * 64)],
                    made.CA_DIGEST),
    }  # fmt: skip
    assert choose(Source("latest"), found).name == "20261121T120000Z-cp1"


def test_damaged_and_foreign_ones_are_never_latest() -> None:
    torn = {**listed("20261121T150000Z-cp1"), "files": {"snapshot.db": 0}}
    changed = listed("20261121T160000Z-cp1")
    changed["manifest"] = str(changed["manifest"]).replace('"keys": 300', '"keys": 301')
    foreign = listed("20261121T170000Z-cp1", authority="b" * 64)
    found = {"cp1": kept("cp1", [torn, changed, foreign], made.CA_DIGEST)}
    with pytest.raises(KubeproofError) as refused:
        choose(Source("latest"), found)
    assert "no etcd host has a good backup" in str(refused.value)
    assert "cp1:20261121T170000Z-cp1 (it is another cluster's (example))" in str(refused.value)
    assert "cp1:20261121T150000Z-cp1 (snapshot.db: missing, or not of the size" in str(refused.value)


def test_a_backup_that_is_not_there() -> None:
    found = {"cp1": kept("cp1", [listed("20261121T100000Z-cp1")], "")}
    with pytest.raises(KubeproofError, match=r"cp1 has no backup 20261121T110000Z-cp1\n.*cp1:20261121T100000Z-cp1"):
        choose(Source("host", "cp1", "20261121T110000Z-cp1"), found)


def test_a_chosen_backup_that_is_damaged() -> None:
    torn = {**listed("20261121T150000Z-cp1"), "files": {}}
    with pytest.raises(KubeproofError, match=r"cp1:20261121T150000Z-cp1 cannot be restored: snapshot\.db: missing"):
        choose(Source("host", "cp1", "20261121T150000Z-cp1"), {"cp1": kept("cp1", [torn], "")})
