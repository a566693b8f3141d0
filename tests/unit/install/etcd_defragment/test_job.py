"""When a member is defragmented, when it waits, and when it is left alone."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from tests.unit.install.etcd_defragment.etcd import MEBIBYTE, QUOTA, FakeEtcd, FakeMember

from kubeproof.install.etcd_defragment import job
from kubeproof.install.etcd_defragment.cluster import Cluster, Member, Threshold, look
from kubeproof.install.etcd_defragment.errors import DefragmentError, EtcdError
from kubeproof.install.etcd_defragment.job import Done, Job, Settings
from kubeproof.install.etcd_defragment.lock import KEY

THRESHOLD = Threshold(50, 100 * MEBIBYTE)


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("POLL_SECONDS", "REST_SECONDS", "TRANSFER_SECONDS", "TRANSFER_POLL_SECONDS", "RECOVERY_SECONDS"):
        monkeypatch.setattr(job, name, 0.002)
    monkeypatch.setattr(job, "TRANSFER_SECONDS", 0.05)
    disk = SimpleNamespace(f_bavail=10 * QUOTA, f_frsize=1)
    monkeypatch.setattr(os, "statvfs", lambda _: disk)


def run(etcd: FakeEtcd, patience: float = 0.05, told: list[str] | None = None) -> Done:
    settings = Settings(etcd.me, etcd.url, Path("/var/lib/etcd"), THRESHOLD, timeout=600, patience=patience)
    return Job(settings, etcd, (told if told is not None else []).append).run()


def full(etcd: FakeEtcd) -> None:
    etcd.alarms.append((etcd.members["cp1"].id, "NOSPACE"))


def test_the_first_follower_is_defragmented_under_the_lock() -> None:
    etcd = FakeEtcd("cp2")
    held: list[str] = []
    etcd.meanwhile = lambda path: held.append(etcd.holder) if path.endswith("/defragment") else None
    done = run(etcd)
    assert done.text.startswith("734003200 bytes given back in ")
    assert (done.defragmented, done.before, done.after) == (True, 1000 * MEBIBYTE, 300 * MEBIBYTE)
    assert etcd.defragmented == ["cp2"]
    assert held == ["cp2"]
    assert (etcd.holder, etcd.leases) == ("", set())


def test_each_waits_for_those_before_it_and_the_leader_for_all() -> None:
    etcd, told = FakeEtcd("cp3"), list[str]()

    def others(path: str) -> None:
        """Those before it come to their end while it waits."""
        if len(etcd.asked) > 20:
            etcd.members["cp2"].size = 300 * MEBIBYTE
        if len(etcd.asked) > 40:
            etcd.members["cp1"].size = 300 * MEBIBYTE

    etcd.meanwhile = others
    run(etcd, patience=60, told=told)
    assert told[:2] == ["waiting: it is the turn of cp2", "waiting: it is the turn of cp1"]
    assert etcd.defragmented == ["cp3"]


def test_a_leader_is_the_last_one_whatever_its_id_is() -> None:
    etcd, told = FakeEtcd("cp2", leader="38712720341031407"), list[str]()
    full(etcd)
    with pytest.raises(DefragmentError, match="it is the turn of cp1"):
        run(etcd, told=told)


def test_a_leader_is_no_leader_any_more_when_it_is_defragmented() -> None:
    etcd, told = FakeEtcd("cp3"), list[str]()
    for name in ("cp1", "cp2"):
        etcd.members[name].size = 300 * MEBIBYTE
    # The one with most of the log.
    etcd.members["cp1"].log = etcd.members["cp1"].applied = 953
    leaders: list[str] = []
    etcd.meanwhile = lambda path: leaders.append(etcd.leader) if path.endswith("/defragment") else None
    run(etcd, told=told)
    assert leaders == [etcd.members["cp1"].id]
    assert told[0] == "leadership was transferred to cp1"


def test_a_leader_that_stays_one_is_not_defragmented() -> None:
    etcd = FakeEtcd("cp3", deaf=True)
    for name in ("cp1", "cp2"):
        etcd.members[name].size = 300 * MEBIBYTE
    with pytest.raises(DefragmentError, match="leadership was not transferred to cp2; a leader is not defragmented"):
        run(etcd)
    assert etcd.defragmented == []
    assert etcd.holder == ""


def test_a_single_member_has_nobody_to_lead_for_it() -> None:
    etcd = FakeEtcd("cp3")
    etcd.members = {"cp3": etcd.members["cp3"]}
    assert run(etcd).defragmented


@pytest.mark.parametrize(
    ("size", "in_use", "pays"),
    [
        (1000, 500, True),
        (1000, 501, False),
        # Share enough, and not worth a stall.
        (150, 51, False),
        (150, 50, True),
        # Near its quota of 8192, whatever the share; and just below that.
        (6600, 6400, True),
        (6600, 6501, False),
        (6500, 6300, False),
    ],
)
def test_it_has_to_pay(size: int, in_use: int, pays: bool) -> None:
    etcd = FakeEtcd("cp2")
    etcd.members["cp2"].size, etcd.members["cp2"].in_use = size * MEBIBYTE, in_use * MEBIBYTE
    done = run(etcd)
    assert done.defragmented is pays
    if not pays:
        assert done.text == f"nothing to do: {(size - in_use) * MEBIBYTE} of {size * MEBIBYTE} bytes are not in use"
        assert etcd.defragmented == []
        assert "/v3/lease/grant" not in etcd.asked


def test_nothing_to_do_needs_nobody_to_be_healthy() -> None:
    etcd = FakeEtcd("cp1")
    etcd.members["cp1"].size = 300 * MEBIBYTE
    etcd.members["cp2"].away = True
    assert not run(etcd).defragmented


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"away": True}, "cp3 is not healthy: refused"),
        ({"learner": True}, "cp3 is a learner, which is about to join"),
        ({"started": False}, "a member is not healthy: it was added and never started"),
    ],
)
def test_none_is_touched_unless_all_are_healthy_members(change: dict[str, bool], why: str) -> None:
    etcd, told = FakeEtcd("cp2"), list[str]()
    for name, value in change.items():
        setattr(etcd.members["cp3"], name, value)
    with pytest.raises(DefragmentError, match=f"not defragmented within 0 s: {why}"):
        run(etcd, told=told)
    assert told == [f"waiting: {why}"]
    assert etcd.defragmented == []


def test_what_becomes_healthy_in_time_was_waited_for() -> None:
    etcd = FakeEtcd("cp2")
    etcd.members["cp3"].away = True

    def back(_: str) -> None:
        etcd.members["cp3"].away = len(etcd.asked) < 30

    etcd.meanwhile = back
    assert run(etcd, patience=60).defragmented


def test_this_hosts_own_member_has_to_be_healthy_too() -> None:
    """One that does not say how large it is has not said that there is nothing to do."""
    etcd = FakeEtcd("cp2")
    etcd.members["cp2"].away = True
    with pytest.raises(DefragmentError, match=r"within 0 s: https://127.0.0.1:2379: refused"):
        run(etcd)
    etcd = FakeEtcd("cp2")
    etcd.health = lambda url: "stalls" if url == etcd.url else ""  # type: ignore[method-assign]
    with pytest.raises(DefragmentError, match="within 0 s: cp2 is not healthy: stalls"):
        run(etcd)


def test_without_a_leader_on_whom_all_agree_none_is_touched() -> None:
    etcd = FakeEtcd("cp2", leader="0")
    with pytest.raises(DefragmentError, match="members do not agree on their leader"):
        run(etcd)


def test_with_an_alarm_about_data_none_is_touched_and_nothing_is_waited_for() -> None:
    etcd = FakeEtcd("cp2", alarms=[("7383792418829112008", "CORRUPT")])
    with pytest.raises(DefragmentError, match="while etcd has the alarm CORRUPT of cp1"):
        run(etcd, patience=3600)
    assert etcd.defragmented == []


def test_a_lock_that_another_host_has_is_waited_for() -> None:
    etcd, told = FakeEtcd("cp2", holder="cp9"), list[str]()
    with pytest.raises(DefragmentError, match=f"cp9 has the lock {KEY}"):
        run(etcd, told=told)
    assert (etcd.defragmented, etcd.leases, etcd.holder) == ([], set(), "cp9")


@pytest.mark.parametrize("refuses", ["/v3/lease/grant", "/v3/kv/txn"])
def test_a_lock_that_etcd_does_not_give_is_waited_for_too(refuses: str) -> None:
    """An election is on its way, or the alarm has been raised since."""
    etcd, told = FakeEtcd("cp2"), list[str]()

    def refuse(path: str) -> None:
        if path == refuses and etcd.asked.count(path) < 2:
            etcd.asked.append(path)
            raise EtcdError("answers 503: etcdserver: leader changed")

    etcd.meanwhile = refuse
    assert run(etcd, patience=60, told=told).defragmented
    assert told[0] == "waiting: answers 503: etcdserver: leader changed"
    assert etcd.leases == set()


def test_what_was_done_until_the_lock_was_had_is_not_done_again() -> None:
    etcd = FakeEtcd("cp2")

    def done(path: str) -> None:
        if path == "/v3/kv/txn":
            etcd.members["cp2"].size = 300 * MEBIBYTE

    etcd.meanwhile = done
    assert not run(etcd).defragmented
    assert (etcd.defragmented, etcd.holder) == ([], "")


def test_whoever_gets_the_lock_looks_again() -> None:
    etcd = FakeEtcd("cp2")

    def stalled(path: str) -> None:
        etcd.members["cp1"].away = etcd.members["cp1"].away or path == "/v3/kv/txn"

    etcd.meanwhile = stalled
    with pytest.raises(DefragmentError, match="cp1 is not healthy"):
        run(etcd)
    assert etcd.defragmented == []
    assert etcd.holder == ""


def test_one_that_does_not_take_its_turn_holds_up_nobody_for_ever() -> None:
    etcd, told = FakeEtcd("cp1"), list[str]()
    assert run(etcd, told=told).defragmented
    assert told[0] == "waiting: it is the turn of cp2"
    assert etcd.defragmented == ["cp1"]


def test_without_writes_there_is_no_lock_and_the_order_is_kept() -> None:
    etcd = FakeEtcd("cp1")
    full(etcd)
    with pytest.raises(DefragmentError, match="it is the turn of cp2"):
        run(etcd)
    assert etcd.defragmented == []
    etcd.me = "cp2"
    assert run(etcd).defragmented
    assert "/v3/lease/grant" not in etcd.asked


def test_the_last_one_lets_etcd_take_writes_again() -> None:
    etcd = FakeEtcd("cp2")
    full(etcd)
    for name in ("cp2", "cp1"):
        etcd.me = name
        assert "NOSPACE" not in run(etcd).text
        assert etcd.alarms
    etcd.me = "cp3"
    assert run(etcd).text.endswith("; the alarm NOSPACE is disarmed, all members are well below their quota")
    assert etcd.alarms == []


@pytest.mark.parametrize("quota", [0, 310 * MEBIBYTE])
def test_the_alarm_stays_while_a_database_is_nearly_full(quota: int) -> None:
    etcd = FakeEtcd("cp2", quota=quota)
    full(etcd)
    for name in ("cp1", "cp3"):
        etcd.members[name].size = 300 * MEBIBYTE
    done = run(etcd)
    assert done.defragmented
    assert done.text.endswith("; the alarm NOSPACE stays, since not all members are well below their quota")
    assert etcd.alarms


def test_the_alarm_stays_if_nothing_was_given_back() -> None:
    etcd = FakeEtcd("cp2")
    full(etcd)
    etcd.members["cp2"].needed = 1000 * MEBIBYTE
    for name in ("cp1", "cp3"):
        etcd.members[name].size = 300 * MEBIBYTE
    run(etcd)
    assert etcd.alarms


def test_a_full_database_of_things_that_are_in_use_is_said() -> None:
    etcd = FakeEtcd("cp2")
    full(etcd)
    for member in etcd.members.values():
        member.size = member.in_use = QUOTA
    with pytest.raises(DefragmentError, match=r"NOSPACE\), and defragmenting does not help: 0 of 8589934592 bytes"):
        run(etcd)
    # Not while another one can be defragmented yet.
    etcd.members["cp1"].in_use = 0
    assert run(etcd).text.startswith("nothing to do")


@pytest.mark.parametrize(("free", "enough"), [(586, True), (585, False)])
def test_the_disk_needs_room_for_a_second_database(free: int, enough: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """300 MiB in use and a tenth, and 256 that stay free."""
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_bavail=free, f_frsize=MEBIBYTE))
    etcd = FakeEtcd("cp2")
    if enough:
        assert run(etcd).defragmented
        return
    with pytest.raises(
        DefragmentError, match="/var/lib/etcd has 613416960 bytes free, and defragmenting takes 614465536"
    ):
        run(etcd, patience=3600)
    assert etcd.defragmented == []


def test_a_disk_that_cannot_be_asked_has_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(_: str) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "statvfs", closed)
    with pytest.raises(DefragmentError, match="the free space of /var/lib/etcd is unknown"):
        run(FakeEtcd("cp2"))


def test_what_takes_too_long_keeps_the_lock_since_etcd_continues() -> None:
    etcd = FakeEtcd("cp2", slow=True)
    with pytest.raises(DefragmentError, match="not finished within 600 s"):
        run(etcd)
    assert etcd.holder == "cp2"
    assert etcd.leases


def test_members_that_do_not_recover_are_said() -> None:
    etcd = FakeEtcd("cp2")

    def dies(path: str) -> None:
        etcd.members["cp1"].away = bool(etcd.defragmented)

    etcd.meanwhile = dies
    with pytest.raises(DefragmentError, match="defragmented, but not all members are healthy"):
        run(etcd)


def test_a_cluster_is_read_from_its_members_answers() -> None:
    etcd = FakeEtcd("cp1", alarms=[("7383792418829112008", "NOSPACE")])
    found = look(etcd, etcd.url)
    assert isinstance(found, Cluster)
    assert found.me == "7383792418829112008"
    assert found.mine.url == etcd.url
    assert [each.name for each in found.others] == ["cp2", "cp3"]
    assert not found.leads
    assert [(alarm.member, alarm.kind) for alarm in found.full] == [("7383792418829112008", "NOSPACE")]
    assert found.alarm() == ""
    first = found.first(THRESHOLD)
    assert isinstance(first, Member)
    assert first.name == "cp2"


def test_answers_that_are_none_of_etcds_are_an_error() -> None:
    etcd = FakeEtcd("cp1")
    etcd.ask = lambda *_, **__: {"error": "?"}  # type: ignore[method-assign]
    with pytest.raises(EtcdError, match="what was not expected"):
        look(etcd, etcd.url)
    etcd = FakeEtcd("cp1")
    me = etcd.members.pop("cp1")
    etcd.members["cp4"] = FakeMember(me.id + "1", "cp4")
    etcd._member = lambda url: me if url == etcd.url else etcd.members["cp4"]  # type: ignore[method-assign]
    with pytest.raises(EtcdError, match="none of the cluster's any more"):
        look(etcd, etcd.url)
