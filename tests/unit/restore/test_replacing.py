"""Whether a member may be replaced, and what that takes."""

from __future__ import annotations

import pytest
from tests.unit.restore import made

from kubeproof.core.errors import KubeproofError
from kubeproof.restore.checking import Look
from kubeproof.restore.replacing import plan


def test_a_dead_member() -> None:
    looks = [made.look("cp1"), made.look("cp2", live={}), made.look("cp3")]
    found = plan("cp2", looks)
    assert (found.through, found.replace, found.promote) == ("cp1", True, True)
    assert found.endpoints == ["https://cp1:2379", "https://cp3:2379"]


def test_a_member_that_is_well_is_left_alone_unless_told() -> None:
    looks = [made.look(host) for host in ("cp1", "cp2", "cp3")]
    assert not plan("cp2", looks).needed
    assert plan("cp2", looks, healthy_too=True).replace


def test_one_that_joined_and_was_not_promoted_yet() -> None:
    looks = [made.look(host, live=made.live(host, learners="cp2")) for host in ("cp1", "cp2", "cp3")]
    found = plan("cp2", looks)
    assert (found.replace, found.promote) == (False, True)


def test_a_member_of_another_cluster_is_not_well() -> None:
    looks = [made.look("cp1"), made.look("cp2", live=made.live("cp2", cluster_id="ff")), made.look("cp3")]
    assert plan("cp2", looks).replace


def test_one_that_was_taken_out_is_not_well() -> None:
    others = {host: made.live(host, members="cp1 cp3") for host in ("cp1", "cp3")}
    looks = [made.look("cp1", live=others["cp1"]), made.look("cp2"), made.look("cp3", live=others["cp3"])]
    assert plan("cp2", looks).replace


def test_one_without_a_leader_is_not_well() -> None:
    looks = [made.look("cp1"), made.look("cp2", live=made.live("cp2", leader=False)), made.look("cp3")]
    assert plan("cp2", looks).replace


def test_the_others_have_to_be_a_majority() -> None:
    looks = [made.look("cp1"), made.look("cp2", live={}), made.look("cp3", live={})]
    with pytest.raises(KubeproofError, match=r"1 of 3 members respond besides it \(cp1\), and removing it needs 2"):
        plan("cp2", looks)
    lonely = [made.look(host, live=made.live(host, leader=False)) for host in ("cp1", "cp2", "cp3")]
    with pytest.raises(KubeproofError, match=r"(?s)no other etcd host has quorum.*playbooks/restore\.yml"):
        plan("cp2", lonely)


def test_a_single_member_is_not_replaced_but_restored() -> None:
    with pytest.raises(KubeproofError, match="no cluster to join"):
        plan("cp1", [made.look("cp1", live=made.live("cp1", members="cp1"))])


def test_a_host_that_is_none() -> None:
    with pytest.raises(KubeproofError, match="'w1' is not an etcd host"):
        plan("w1", [made.look("cp1")])


def test_a_host_that_is_left_out_counts_as_one_that_does_not_respond() -> None:
    looks = [made.look("cp1"), made.look("cp2", live={}), Look.unseen("cp3")]
    with pytest.raises(KubeproofError, match=r"(?s)1 of 3 members .* This run leaves out cp3, which may respond"):
        plan("cp2", looks)
    five = [
        made.look("cp1", live=made.live("cp1", members="cp1 cp2 cp3 cp4 cp5")),
        made.look("cp2", live={}),
        *(made.look(host) for host in ("cp3", "cp4")),
        Look.unseen("cp5"),
    ]
    assert plan("cp2", five).endpoints == ["https://cp1:2379", "https://cp3:2379", "https://cp4:2379"]


def test_the_member_itself_must_not_be_left_out() -> None:
    with pytest.raises(KubeproofError, match="cp2 is not replaced: this run leaves it out"):
        plan("cp2", [made.look("cp1"), Look.unseen("cp2"), made.look("cp3")])
