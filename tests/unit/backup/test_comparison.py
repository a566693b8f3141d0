"""What two versions have read of the same data."""

from __future__ import annotations

from typing import Any

from kubeproof.backup.agent.comparison import Listing, read_again, read_by_target

PODS = {"default/a": "1", "default/b": "2"}


def listing(**more: Any) -> Listing:
    return Listing(**{"objects": {"pods": dict(PODS), "nodes": {"/n": "3"}}, **more})


def target(after: Listing, *, before: Listing | None = None, unserved: bool = True) -> list[tuple[str, str, str]]:
    found = list(read_by_target(before or listing(), after, unserved=unserved))
    assert {each.phase for each in found} <= {"read"}
    return [(each.resource, each.name, each.problem) for each in found]


def test_the_same_is_no_problem() -> None:
    assert target(listing()) == []
    assert list(read_again(listing(), listing())) == []
    assert (listing().count, listing().kinds) == (3, 2)


def test_what_is_missing_or_another_object() -> None:
    after = listing(objects={"pods": {"default/a": "9"}, "nodes": {"/n": "3"}})
    assert target(after) == [
        ("pods", "default/a", "its UID is 9, not 1"),
        ("pods", "default/b", "it is not listed"),
    ]


def test_what_is_broken_is_reported_once() -> None:
    after = listing(objects={"pods": {"default/a": "1"}, "nodes": {"/n": "3"}}, broken={"pods": {"default/b": "why"}})
    assert target(after) == [("pods", "default/b", "why")]


def test_a_list_that_fails_as_a_whole_is_one_problem() -> None:
    after = listing(objects={"pods": {}, "nodes": {"/n": "3"}}, broken={"pods": {"": "500"}})
    assert target(after) == [("pods", "", "500")]


def test_what_neither_reads_is_a_problem_too() -> None:
    broken = {"pods": {"default/c": "why"}}
    assert target(listing(broken=broken), before=listing(broken=broken)) == [
        ("pods", "default/c", "neither version reads it: why")
    ]
    assert list(read_again(listing(broken=broken), listing(broken=broken))) == []


def test_a_resource_that_is_not_served() -> None:
    after = listing(objects={"nodes": {"/n": "3"}})
    assert [each[:2] for each in target(after)] == [("pods", "default/a"), ("pods", "default/b")]
    assert target(after, unserved=False) == []
    assert target(after, before=listing(objects={"pods": {}, "nodes": {"/n": "3"}})) == []


def test_what_cannot_be_read_here_is_left_out() -> None:
    skipped = {"pods": "a webhook converts it"}
    after = listing(objects={"nodes": {"/n": "3"}}, skipped=skipped)
    assert target(after, before=listing(skipped=skipped)) == []


def test_what_the_present_version_does_not_read_again() -> None:
    again = listing(objects={"pods": {"default/a": "1"}}, broken={"pods": {"default/b": "why"}})
    assert [(each.phase, each.resource, each.name) for each in read_again(listing(), again)] == [
        ("back", "nodes", "/n"),
        ("back", "pods", "default/b"),
    ]


def test_what_api_servers_remove_by_themselves_is_no_loss() -> None:
    before = listing(objects={"events": {"default/e": "1"}, "leases.coordination.k8s.io": {"kube-system/l": "2"}})
    again = listing(objects={"events": {}, "leases.coordination.k8s.io": {}})
    assert list(read_again(before, again)) == []
