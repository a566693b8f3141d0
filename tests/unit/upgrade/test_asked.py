"""What an operator asks for, as a goal."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from kubeproof.components import pins
from kubeproof.components.lock import Lock
from kubeproof.core.errors import KubeproofError
from kubeproof.core.versions import Version
from kubeproof.upgrade.asked import before, goal, texts
from kubeproof.upgrade.goal import Goal, Kind
from kubeproof.upgrade.record import Record

HOSTS = ["cp1", "cp2", "w1", "w2"]


def asked(state: Path, **given: Any) -> Goal:
    return goal(given, pins.load(), Lock(state), Record(state), HOSTS)


def recorded(state: Path, **versions: str) -> None:
    """A cluster that has these versions, and had others before."""
    lock = Lock(state)
    for older in (versions, dict.fromkeys(versions, "9.9.9")):
        for name, version in older.items():
            lock.record_component("amd64", name, {"version": version})
        lock.settle()
    lock.save()


def begin(state: Path, **given: Any) -> Record:
    """An upgrade of a cluster begins."""
    record, wanted = Record(state), asked(state, **given)
    record.begin(wanted, before(wanted, Lock(state)))
    return record


def fetched(state: Path, *, everywhere: bool, **versions: str) -> None:
    """``everywhere``: and a converge has brought it to all hosts."""
    lock = Lock(state)
    for name, version in versions.items():
        lock.record_component("amd64", name, {"version": version})
    if everywhere:
        lock.settle()
    lock.save()


def back(state: Path, **given: Any) -> dict[str, str]:
    return texts(asked(state, direction="back", **given).versions)


def test_without_anything_it_is_what_is_pinned(tmp_path: Path) -> None:
    pinned = pins.load()
    found = asked(tmp_path).versions
    assert texts(found)["kubernetes"] == pinned.components["kubernetes"].version
    assert texts(found)["coredns"] == pinned.images["coredns"].version
    assert "agnhost" not in found
    assert found.keys() == {"kubernetes", "etcd", "containerd", "runc", "cni-plugins", "coredns"}


@pytest.mark.parametrize(
    ("runtime", "wanted"),
    [
        ({"crio": "1.36.5", "runc": "1.5.2"}, {"crio", "runc"}),
        # It brings a runc of its own, of which no version is chosen.
        ({"docker": "29.8.2", "cri-dockerd": "0.4.10"}, {"docker", "cri-dockerd"}),
    ],
)
def test_a_cluster_with_another_runtime_is_asked_for_its_versions_alone(
    runtime: dict[str, str], wanted: set[str], tmp_path: Path
) -> None:
    recorded(tmp_path, kubernetes="1.36.3", **runtime)
    assert asked(tmp_path).versions.keys() == {"kubernetes", "etcd", "cni-plugins", "coredns", *wanted}


def test_versions_of_the_inventory_and_of_the_command(tmp_path: Path) -> None:
    found = asked(tmp_path, component_versions={"kubernetes": "1.35.4", "etcd": "3.6.16"}, to="v1.36.3").versions
    assert found["kubernetes"] == Version(1, 36, 3)
    assert found["etcd"] == Version(3, 6, 16)


def test_back_is_to_what_there_was_before(tmp_path: Path) -> None:
    recorded(tmp_path, kubernetes="1.36.3", etcd="3.6.16")
    found = asked(tmp_path, direction="back")
    assert found.direction == "back"
    assert (found.versions["kubernetes"], found.versions["etcd"]) == (Version(1, 36, 3), Version(3, 6, 16))


def test_back_from_an_upgrade_that_is_not_finished_is_to_what_is_current(tmp_path: Path) -> None:
    lock = Lock(tmp_path)
    lock.record_component("amd64", "kubernetes", {"version": "1.36.3"})
    lock.settle()
    lock.save()
    begin(tmp_path)
    assert asked(tmp_path, direction="back").versions["kubernetes"] == Version(1, 36, 3)


def test_a_way_back_that_was_begun_is_finished(tmp_path: Path) -> None:
    """Where an upgrade was left for it, what the lock calls previous is of an upgrade before that one."""
    recorded(tmp_path, kubernetes="1.35.4")
    lock = Lock(tmp_path)
    lock.record_component("amd64", "kubernetes", {"version": "1.36.3"})
    lock.settle()
    lock.save()
    begin(tmp_path)
    record = begin(tmp_path, direction="back")
    assert record.direction == "back"
    assert asked(tmp_path, direction="back").versions["kubernetes"] == Version(1, 36, 3)


def test_back_is_to_what_there_was_though_the_converge_at_the_end_has_been(tmp_path: Path) -> None:
    """By then the lock has the new versions, and the verification after it may have failed."""
    fetched(tmp_path, everywhere=True, kubernetes="1.36.3", etcd="3.6.16")
    begin(tmp_path)
    fetched(tmp_path, everywhere=True, kubernetes="1.37.2", etcd="3.7.3")
    for _ in range(2):
        found = back(tmp_path)
        assert (found["kubernetes"], found["etcd"]) == ("1.36.3", "3.6.16")
        begin(tmp_path, direction="back")


@pytest.mark.parametrize("finished", [True, False])
def test_a_part_of_the_way_back_leaves_the_rest_of_it(tmp_path: Path, *, finished: bool) -> None:
    fetched(tmp_path, everywhere=True, kubernetes="1.36.3", etcd="3.6.16")
    if not finished:
        begin(tmp_path)
    fetched(tmp_path, everywhere=finished, kubernetes="1.37.2", etcd="3.7.3")
    record = begin(tmp_path, direction="back", only=["etcd"])
    assert texts(record.unfinished) == {"etcd": "3.6.16"}, "and not what is on the way to newer versions"
    found = back(tmp_path)
    assert (found["kubernetes"], found["etcd"]) == ("1.36.3", "3.6.16")


def test_hosts_that_are_caught_up_with_go_back_to_what_there_was_before(tmp_path: Path) -> None:
    fetched(tmp_path, everywhere=True, kubernetes="1.36.3")
    new = texts(asked(tmp_path).versions)
    fetched(tmp_path, everywhere=True, **new)
    begin(tmp_path)
    assert back(tmp_path)["kubernetes"] == "1.36.3"


def test_a_record_of_an_older_kubeproof_does_not_say_what_was_before(tmp_path: Path) -> None:
    fetched(tmp_path, everywhere=True, kubernetes="1.36.3")
    record = Record(tmp_path)
    record.begin(asked(tmp_path), {})
    assert back(tmp_path)["kubernetes"] == "1.36.3"


def test_nothing_to_go_back_to(tmp_path: Path) -> None:
    with pytest.raises(KubeproofError, match="nothing to go back to"):
        asked(tmp_path, direction="back")


@pytest.mark.parametrize(
    ("pattern", "hosts"),
    [("", None), ("w*", {"w1", "w2"}), ("!w1", {"cp1", "cp2", "w2"}), ("w*, !w2", {"w1"}), ("cp1,w1", {"cp1", "w1"})],
)
def test_hosts(tmp_path: Path, pattern: str, hosts: set[str] | None) -> None:
    assert asked(tmp_path, hosts=pattern).hosts == hosts


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"hosts": "w3"}, "no host of the cluster is named w3"),
        ({"only": ["kubelet"]}, "limited to etcd, kubernetes, .*, not kubelet"),
        ({"until": "lunch"}, "not 'lunch'"),
        ({"until": "emulate"}, "an upgrade ends after one of .*, not 'emulate'"),
        ({"direction": "up"}, "forward or back, not 'up'"),
        ({"to": "1.12.0"}, "1.12.0"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path: Path, given: dict[str, Any], said: str) -> None:
    with pytest.raises(KubeproofError, match=said):
        asked(tmp_path, **given)


def test_a_step_of_the_way_back_alone(tmp_path: Path) -> None:
    recorded(tmp_path, kubernetes="1.36.3")
    assert asked(tmp_path, direction="back", until="etcd-downgrade").until is Kind.ETCD_DOWNGRADE
    with pytest.raises(KubeproofError, match=r"the way back ends after one of .*, not 'soak'"):
        asked(tmp_path, direction="back", until="soak")


def test_limits(tmp_path: Path) -> None:
    found = asked(tmp_path, only=["etcd"], until="etcd", soak=60, at_once="25%")
    assert found.only == {"etcd"}
    assert found.until is Kind.ETCD
    assert (found.soak, found.at_once) == (60.0, "25%")


class TestRecord:
    def test_is_there_until_the_upgrade_has_ended(self, tmp_path: Path) -> None:
        record = Record(tmp_path)
        assert (record.unfinished, record.direction) == ({}, "")
        begin(tmp_path, to="1.37.2")
        assert record.unfinished["kubernetes"] == Version(1, 37, 2)
        assert record.direction == "forward"
        assert 0 <= record.age < 60
        assert record.remove()
        assert not record.remove()
        assert record.unfinished == {}

    def test_begins_once(self, tmp_path: Path) -> None:
        noted = begin(tmp_path).path.read_text()
        record = begin(tmp_path, only=["etcd"])
        assert record.path.read_text() == noted, "a run of a part leaves the rest to be done"
        begin(tmp_path, to="1.36.3")
        assert record.path.read_text() != noted

    def test_the_way_back_is_another_upgrade_though_to_the_same_versions(self, tmp_path: Path) -> None:
        record = Record(tmp_path)
        forward = asked(tmp_path)
        record.begin(forward, {})
        record.begin(dataclasses.replace(forward, direction="back"), {})
        assert record.direction == "back"
