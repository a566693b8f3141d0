"""What several hosts do at a target that they share. Real targets are in tests/backup."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.unit.backup import made
from tests.unit.restore import made as backups_made

from kubeproof.backup.agent import backups, check, manifest, targets
from kubeproof.backup.agent.configuration import Configuration
from kubeproof.backup.agent.errors import BackupError
from kubeproof.backup.agent.records import Records, timestamp
from kubeproof.backup.agent.target import Deadline, Found, Target
from kubeproof.backup.agent.targets import Outcome

HOUR, DAY = 3600.0, 86400.0
HOSTS = ("cp1", "cp2")


class Place(Target):
    """A target in memory."""

    def __init__(self) -> None:
        super().__init__("test", Deadline(60))
        self.copies: dict[str, Found] = {}
        self.begun: list[str] = []

    def open(self) -> None:
        pass

    def listing(self) -> list[Found]:
        return list(self.copies.values())

    def unfinished(self) -> list[str]:
        return list(self.begun)

    def discard(self, name: str) -> None:
        self.begun.remove(name)

    def put(self, path: Path) -> None:
        self.copies[path.name] = Found(path.name, 100, manifest.read(path))

    def get(self, name: str, into: Path) -> None:
        raise NotImplementedError

    def remove(self, name: str) -> None:
        del self.copies[name]


@pytest.fixture(autouse=True)
def _without_etcdutl(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "check", lambda *_: None)


@pytest.fixture
def hosts(tmp_path: Path) -> dict[str, Configuration]:
    """Hosts of one cluster, each of which keeps one backup and what it has proven."""
    first = made.configuration(tmp_path)
    found = {}
    for host in (*HOSTS, "cp3"):
        for name in ("backups", "state"):
            (tmp_path / host / name).mkdir(parents=True)
        here = tmp_path / host
        found[host] = replace(first, host=host, hosts=HOSTS, directory=here / "backups", state=here / "state")
    return found


def backup(configuration: Configuration, ago: float, *, proven: bool = False) -> str:
    name = backups.name(time.time() - ago, configuration.host)
    backups_made.backup(configuration.directory, name=name, authority=configuration.etcd.ca_digest)
    if proven:
        with Records(configuration.state).changing() as status:
            status["proven"] = {"name": name}
    return name


def copy(configuration: Configuration, place: Place, **seen: str) -> Outcome:
    outcome = Outcome(unfinished=seen)
    targets.bring(configuration, place, outcome)
    return outcome


def test_no_host_removes_what_another_one_has_proven(hosts: dict[str, Configuration]) -> None:
    place, kept = Place(), set()
    for number, host in enumerate(HOSTS):
        kept.add(backup(hosts[host], 5 * DAY + number * HOUR, proven=True))
    newest = backup(hosts["cp2"], HOUR)
    for host in HOSTS:
        copy(hosts[host], place)
    for host in HOSTS * 2:
        outcome = copy(hosts[host], place)
        assert (outcome.sent, outcome.removed) == ([], [])
    assert set(place.copies) == {*kept, newest}


def test_each_removes_its_own_that_need_not_be_kept(hosts: dict[str, Configuration]) -> None:
    place = Place()
    for host in HOSTS:
        backup(hosts[host], DAY)
        copy(hosts[host], place)
    newest = backup(hosts["cp1"], HOUR)
    copy(hosts["cp1"], place)
    copy(hosts["cp2"], place)
    assert set(place.copies) == {newest}


@pytest.mark.parametrize(("known", "left"), [(HOSTS, False), ((), True), ((*HOSTS, "cp3"), True)])
def test_those_of_hosts_that_are_gone_are_anybodys_to_remove(
    hosts: dict[str, Configuration], known: tuple[str, ...], *, left: bool
) -> None:
    place = Place()
    old = backup(hosts["cp3"], 5 * DAY, proven=True)
    copy(hosts["cp3"], place)
    newest = backup(hosts["cp1"], HOUR)
    copy(replace(hosts["cp1"], hosts=known), place)
    assert set(place.copies) == {newest, *([old] if left else [])}


def test_what_is_being_brought_is_judged_by_how_long_it_has_been_seen(hosts: dict[str, Configuration]) -> None:
    place, old = Place(), backups.name(time.time() - 30 * DAY, "cp2")
    place.begun = [old, backups.name(time.time() - HOUR, "cp1"), "notes"]
    first = copy(hosts["cp1"], place)
    # The other host's is old, and its copy is not. What is this host's own nobody is at work on.
    assert place.begun == [old, "notes"]
    assert list(first.unfinished) == [old]
    # A clock that was wrong then says nothing.
    ahead = copy(hosts["cp1"], place, **{old: timestamp(time.time() + 30 * DAY)})
    assert ahead.unfinished[old] <= timestamp(time.time())
    since = timestamp(time.time() - 6 * DAY)
    assert copy(hosts["cp1"], place, **{old: since}).unfinished == {old: since}
    assert copy(hosts["cp1"], place, **{old: timestamp(time.time() - 8 * DAY)}).unfinished == {}
    assert place.begun == ["notes"]


def test_when_it_was_seen_is_remembered(hosts: dict[str, Configuration], tmp_path: Path) -> None:
    old = backups.name(time.time() - 30 * DAY, "cp2")
    path = tmp_path / "elsewhere"
    settings: dict[str, Any] = {"name": "disk", "type": "directory", "path": str(path), "mount": False, "timeout": 60}
    configuration = replace(hosts["cp1"], targets=[settings])
    (path / "test" / f"{backups.PARTIAL}{old}").mkdir(parents=True)
    targets.copy(configuration)
    seen = Records(configuration.state).status()["targets"]["disk"]["unfinished"]
    assert list(seen) == [old]
    with Records(configuration.state).changing() as status:
        status["targets"]["disk"]["unfinished"][old] = since = timestamp(time.time() - 6 * DAY)
    path.rename(tmp_path / "away")
    with pytest.raises(BackupError, match=r"disk: .* is not a directory"):
        targets.copy(configuration)
    (tmp_path / "away").rename(path)
    targets.copy(configuration)
    assert Records(configuration.state).status()["targets"]["disk"]["unfinished"] == {old: since}
