"""What ``restore_from`` means, and which backup that is."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest
from tests.unit.restore import made

from kubeproof.core.errors import KubeproofError
from kubeproof.restore.source import Source, choose, kept

HOSTS = ["cp1", "cp2"]
NOW = datetime.datetime(2026, 11, 21, 20, 0, 3, tzinfo=datetime.UTC)


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
    assert choose(Source("latest"), found, NOW).backup.name == "20261121T120000Z-cp1"


def test_damaged_and_foreign_ones_are_never_latest() -> None:
    torn = {**listed("20261121T150000Z-cp1"), "files": {"snapshot.db": 0}}
    changed = listed("20261121T160000Z-cp1")
    changed["manifest"] = str(changed["manifest"]).replace('"keys": 300', '"keys": 301')
    foreign = listed("20261121T170000Z-cp1", authority="b" * 64)
    found = {"cp1": kept("cp1", [torn, changed, foreign], made.CA_DIGEST)}
    with pytest.raises(KubeproofError) as refused:
        choose(Source("latest"), found, NOW)
    assert "no etcd host has a good backup" in str(refused.value)
    assert "cp1:20261121T170000Z-cp1 (it is another cluster's (example))" in str(refused.value)
    assert "cp1:20261121T150000Z-cp1 (snapshot.db: missing, or not of the size" in str(refused.value)


def latest(*backups: dict[str, object]) -> tuple[str, list[str]]:
    """The name of what is chosen, and what is said of newer ones."""
    choice = choose(Source("latest"), {"cp1": kept("cp1", backups, made.CA_DIGEST)}, NOW)
    return choice.backup.name[9:13], list(choice.skipped)


GOOD = listed("20261121T100000Z-cp1")
FUTURE = listed("20261121T200600Z-cp1")
ABANDONED = listed("20261121T190000Z-cp1", trigger="restore", revision=1100)


def alone(**changes: object) -> dict[str, object]:
    return listed("20261121T180000Z-cp1", quorum=False, **changes)


def test_latest_is_of_the_past() -> None:
    why = "its time is in the future by the controller's clock, so that its age is not known"
    assert latest(GOOD, FUTURE) == ("1000", [f"cp1:20261121T200600Z-cp1: {why}"])
    ahead = listed("20261121T200400Z-cp1")
    assert latest(GOOD, ahead) == ("2004", [])


def test_latest_is_not_what_a_restore_was_to_replace() -> None:
    skipped = ["cp1:20261121T190000Z-cp1: a restore made it of the state that it was to replace"]
    assert latest(GOOD, ABANDONED) == ("1000", skipped)


@pytest.mark.parametrize("revision", [900, 1000])
def test_latest_has_quorum(revision: int) -> None:
    why = "made without quorum, and one with quorum has as many writes or more"
    assert latest(GOOD, alone(revision=revision)) == ("1000", [f"cp1:20261121T180000Z-cp1: {why}"])


def test_after_quorum_was_lost_for_good_what_is_left_has_the_most() -> None:
    assert latest(GOOD, alone(revision=1001)) == ("1800", [])


def test_what_is_doubtful_is_taken_where_nothing_else_is() -> None:
    assert latest(FUTURE) == ("2006", [])
    assert latest(ABANDONED) == ("1900", [])
    assert latest(alone()) == ("1800", [])
    chosen, skipped = latest(FUTURE, ABANDONED, alone())
    assert (chosen, [text[:24] for text in skipped]) == (
        "1800",
        ["cp1:20261121T200600Z-cp1", "cp1:20261121T190000Z-cp1"],
    )


def test_damaged_ones_that_are_newer_are_told() -> None:
    torn, older = ({**listed(f"20261121T{time}Z-cp1"), "files": {}} for time in ("150000", "090000"))
    assert latest(GOOD, torn, older) == (
        "1000",
        ["cp1:20261121T150000Z-cp1: snapshot.db: missing, or not of the size that the manifest says"],
    )


def test_a_directory_of_another_name_is_no_backup() -> None:
    """One that was copied aside would be newer than all others, by its name."""
    renamed = {**GOOD, "name": "spare"}
    assert latest(GOOD, renamed) == ("1000", ["cp1:spare: its manifest is that of 20261121T100000Z-cp1"])


def test_a_backup_that_is_not_there() -> None:
    found = {"cp1": kept("cp1", [listed("20261121T100000Z-cp1")], "")}
    with pytest.raises(KubeproofError, match=r"cp1 has no backup 20261121T110000Z-cp1\n.*cp1:20261121T100000Z-cp1"):
        choose(Source("host", "cp1", "20261121T110000Z-cp1"), found, NOW)


def test_a_chosen_backup_that_is_damaged() -> None:
    torn = {**listed("20261121T150000Z-cp1"), "files": {}}
    with pytest.raises(KubeproofError, match=r"cp1:20261121T150000Z-cp1 cannot be restored: snapshot\.db: missing"):
        choose(Source("host", "cp1", "20261121T150000Z-cp1"), {"cp1": kept("cp1", [torn], "")}, NOW)
