"""Checks of groups."""

from __future__ import annotations

import pytest

from kubeproof.preflight.topology import check_even, check_groups


def members(number: int) -> list[str]:
    return [f"e{index}" for index in range(number)]


def found(**groups: list[str]) -> list[tuple[str, str, str]]:
    return [(finding.id, finding.subject, finding.severity) for finding in check_groups(groups)]


@pytest.mark.parametrize("number", [1, 3, 5, 7])
def test_odd_numbers_of_members(number: int) -> None:
    assert found(etcd=members(number), control_plane=["c"], workers=["w"]) == []


@pytest.mark.parametrize("number", [2, 4, 6])
def test_even_numbers_of_members(number: int) -> None:
    (finding,) = check_groups({"etcd": members(number), "control_plane": ["c"], "workers": ["w"]})
    assert (finding.id, finding.severity) == ("etcd-members", "error")
    assert f"a quorum of {number // 2 + 1}: no more fault tolerant than {number - 1}" in finding.problem


def test_a_restore_takes_the_members_that_there_are() -> None:
    """Of three hosts one may be gone, and the restore is for exactly that."""
    groups = {"etcd": members(2), "control_plane": ["c"], "workers": ["w"]}
    (finding,) = check_groups(groups, "restore")
    assert (finding.id, finding.severity) == ("etcd-members", "warning")
    assert [finding.severity for finding in check_groups(groups, "replace-member")] == ["error"]


def test_on_an_installed_cluster_the_number_is_judged_with_the_hosts() -> None:
    groups = {"etcd": members(2), "control_plane": ["c"], "workers": ["w"]}
    assert list(check_groups(groups, installed=True)) == []
    assert [finding.severity for finding in check_even(groups)] == ["error"]
    assert list(check_even({**groups, "etcd": members(3)})) == []


def test_many_members() -> None:
    assert found(etcd=members(9), control_plane=["c"], workers=["w"]) == [("etcd-members", "", "warning")]
    assert found(etcd=members(8), control_plane=["c"], workers=["w"]) == [
        ("etcd-members", "", "error"),
        ("etcd-members", "", "warning"),
    ]


def test_empty_groups() -> None:
    assert found() == [
        ("empty-group", "etcd", "error"),
        ("empty-group", "control_plane", "error"),
        ("empty-group", "workers", "warning"),
    ]


def test_a_misspelt_group_is_guessed() -> None:
    groups = {"all": ["c", "w"], "ungrouped": [], "etcd": ["c"], "control-plane": ["c"], "worker": ["w"]}
    remediations = [finding.remediation for finding in check_groups(groups)]
    assert remediations == [
        "Should the group `control-plane` be `control_plane`?",
        "Should the group `worker` be `workers`?",
    ]


def test_an_empty_group_is_no_guess() -> None:
    (finding,) = check_groups({"etcd": ["c"], "control_plane": ["c"], "worker": []})
    assert finding.remediation == "Put hosts into the group `workers`."


def test_an_unlike_group_is_not() -> None:
    (finding,) = check_groups({"etcd": ["c"], "control_plane": ["c"], "databases": ["d"]})
    assert finding.remediation == "Put hosts into the group `workers`."
