"""Whether a reset takes voting members from an etcd cluster that stays."""

from __future__ import annotations

import pytest
from tests.unit.restore import made

from kubeproof.restore.resetting import decide

PORT = 2379


@pytest.mark.parametrize(
    ("hosts", "staying"), [(["cp3"], ["cp1", "cp2"]), (["cp2", "cp3"], ["cp1"]), (["w1", "cp3"], ["cp1", "cp2"])]
)
def test_voters_whose_cluster_stays_are_refused(hosts: list[str], staying: list[str]) -> None:
    looks = [made.look(host) if host != "w1" else made.look(host, there=False, active=False, live={}) for host in hosts]
    found = decide(looks, staying, PORT)
    voters = [host for host in hosts if host != "w1"]
    assert [refusal.partition(" ")[0] for refusal in found.refusals] == voters
    assert f"has one of 3 voting members of etcd, and {', '.join(staying)} would stay" in found.refusals[0]
    assert found.refusals[0].endswith(f"--key /etc/etcd/pki/operator.key member remove id-{voters[0]}")
    assert found.notes == []


def test_a_whole_cluster_may_go() -> None:
    assert decide([made.look(host) for host in ("cp1", "cp2", "cp3")], [], PORT) == decide([], [], PORT)


def test_others_that_are_no_members_any_more_need_nobody() -> None:
    alone = made.live("cp1", members="cp1")
    assert decide([made.look("cp1", live=alone)], ["cp2"], PORT).refusals == []


def test_a_member_that_was_removed_may_go() -> None:
    removed = made.look("cp3", live=made.live("cp3", members="cp1 cp2"))
    assert decide([removed], ["cp1", "cp2"], PORT).refusals == []


def test_a_member_that_does_not_respond_may_go_and_that_is_said() -> None:
    found = decide([made.look("cp3", live={}, active=False)], ["cp1", "cp2"], PORT)
    assert found.refusals == []
    assert found.notes[0].startswith("cp3: etcd has data and does not respond,")
    assert "member list on cp1" in found.notes[0]


def test_data_that_is_elsewhere_is_said() -> None:
    found = decide([made.look("cp3", live={}, there=False)], ["cp1", "cp2"], PORT)
    assert found.refusals == []
    assert "runs and has no data in etcd_data_directory" in found.notes[0]


def test_a_host_without_etcd_is_not_worth_a_word() -> None:
    found = decide([made.look("w1", live={}, there=False, active=False)], ["cp1"], PORT)
    assert (found.refusals, found.notes) == ([], [])


def test_a_learner_has_no_vote() -> None:
    found = decide([made.look("cp3", live=made.live("cp3", learners="cp3"))], ["cp1", "cp2"], PORT)
    assert found.refusals == []
    assert "is a learner, without a vote; cp1, cp2 will still list it" in found.notes[0]
