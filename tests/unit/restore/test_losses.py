"""What is said before anybody agrees."""

from __future__ import annotations

import datetime

import pytest
from tests.unit.restore import made

from kubeproof.restore.losses import LEAST_BUMP, Changes, bump, host_to_ask, summary

NOW = datetime.datetime(2026, 11, 21, 20, 0, 3, tzinfo=datetime.UTC)


def test_what_was_made_and_what_was_changed() -> None:
    keys = [
        {"key": "/registry/pods/default/new", "created": 1100},
        {"key": "/registry/pods/default/old", "created": 900},
        {"key": "/registry/apps.example.org/widgets/default/one", "created": 1101},
        {"key": "/registry/leases/kube-node-lease/w1", "created": 100},
        {"key": "/registry/events/default/event", "created": 1150},
        {"key": "compact_rev_key", "created": 2},
    ]
    assert Changes.of(keys, 1000) == Changes({"pods": 1, "widgets": 1}, 1)


def test_the_whole_of_it() -> None:
    looks = [made.look("cp1"), made.look("cp2"), made.look("cp3", live={})]
    text = summary(made.manifest(), looks, Changes({"pods": 3}, 4), where="cp1:NAME", now=NOW, kept="as /kept")
    assert "Restore of the cluster example on cp1, cp2, cp3" in text
    assert "cp1:NAME: 2026-11-21 17:45:03 UTC, 2 h 15 min ago; revision 1,000, 300 keys" in text
    assert "etcd responds on cp1, cp2 (with quorum), revision 1,200; etcd does not respond on cp3" in text
    assert (
        "3 objects that were created since will be deleted (pods 3), 4 that were changed since will be reverted" in text
    )


def test_nobody_answers() -> None:
    looks = [made.look("cp1", live={}), made.look("cp2", there=False, live={})]
    text = summary(made.manifest(quorum=False), looks, "etcd does not answer", where="x", now=NOW, kept="as /kept")
    assert "etcd does not respond on cp1, but has data there; no data on cp2" in text
    assert "which can't be counted: etcd does not answer" in text
    assert "taken from a member without quorum" in text


def test_what_kept_it_from_being_counted_is_told() -> None:
    text = summary(made.manifest(), [made.look("cp1")], "etcdctl did not end within 70 s", where="x", now=NOW, kept="x")
    assert "which can't be counted: etcdctl did not end within 70 s" in text


def test_a_member_without_quorum_is_not_asked_about_its_own_data() -> None:
    away, alone = made.look("cp1", live={}), made.look("cp2", live=made.live("cp2", leader=False))
    assert host_to_ask("host", [away, alone]) == "cp2"
    assert host_to_ask("member", [away, alone]) == ""
    # A cluster that works is backed up before one member's data replaces it.
    assert host_to_ask("member", [away, made.look("cp3")]) == "cp3"
    assert host_to_ask("directory", [away]) == ""


def test_revisions_are_raised_above_all_that_can_have_been_seen() -> None:
    assert bump(made.manifest(), [made.look("cp1", live={})]) == LEAST_BUMP
    # An earlier restore, or a backup, shows what a cluster that does not respond has had.
    silent, had = [made.look("cp1", live={})], 1000 + LEAST_BUMP
    assert bump(made.manifest(), silent, [900, had, 7]) == 2 * LEAST_BUMP
    ahead = made.live("cp1", revision=1000 + 3 * LEAST_BUMP)
    assert bump(made.manifest(), [made.look("cp1", live=ahead)]) > 3 * LEAST_BUMP


def test_backups_that_were_passed_over_are_told() -> None:
    skipped = [f"cp1:B{number}: damaged" for number in range(7)]
    text = summary(made.manifest(), [made.look("cp1")], "?", where="x", now=NOW, kept="x", skipped=skipped)
    assert "  skipped cp1:B0: damaged\n" in text
    assert "  skipped cp1:B4: damaged\n  skipped 2 more\n  now" in text


@pytest.mark.parametrize(("minutes", "told"), [(0, False), (10, True)])
def test_a_backup_from_the_future_is_told(minutes: int, *, told: bool) -> None:
    finished = f"{NOW + datetime.timedelta(minutes=minutes):%Y-%m-%dT%H:%M:%SZ}"
    text = summary(made.manifest(finished=finished), [made.look("cp1")], "?", where="x", now=NOW, kept="x")
    assert ("its time is in the future by this machine's clock" in text) == told


@pytest.mark.parametrize(("left_out", "told"), [(["w1", "w2"], True), ([], False)])
def test_nodes_that_the_run_leaves_out_are_named(left_out: list[str], *, told: bool) -> None:
    looks = [made.look("cp1")]
    text = summary(made.manifest(), looks, "?", where="x", now=NOW, kept="x", left_out=left_out)
    assert ("  absent  w1, w2, which this run leaves out:" in text) == told
    assert ("absent" in text) == told
