"""Disasters, each followed by what an operator would do. In this order, on one cluster; takes about 40 minutes.

pytest tests/disaster                               makes a cluster and removes it
pytest tests/disaster --directory DIR -k member     on the one in DIR, which stays
"""

from __future__ import annotations

import time

import pytest
from tests.disaster.lab import Lab, Uids
from tests.killed_run import kill_in

from kubeproof.core import waiting

pytestmark = [pytest.mark.local, pytest.mark.cluster]

CONTROL_PLANE = ("cp1", "cp2", "cp3")

# In whose middle a restore is killed, and how many seconds after their beginning.
POINTS = [
    ("Copy the snapshot to every member", 0.3),
    ("Stop the controller manager and the schedulers", 0.5),
    ("Stop the API server", 2.0),
    ("restore : Stop etcd", 0.5),
    ("Set the old data aside and restore the snapshot", 0.7),
    ("Set the old data aside and restore the snapshot", 1.5),
    ("etcd : Start etcd", 1.0),
    ("Start the API server", 3.0),
    ("Start the controller manager", 1.0),
]


def lost(before: Uids, after: Uids) -> Uids:
    """Objects that are gone, or are others under the same name."""
    return {name: uid for name, uid in before.items() if after.get(name) != uid}


def test_a_restore_that_is_killed_again_and_again_is_finished_by_the_next(lab: Lab) -> None:
    before, containers = lab.uids(), lab.containers()
    source = lab.backup("cp1")
    lab.kubectl("create", "configmap", "made-since")

    settings = {"restore_from": str(source), "restore_confirmed": True}
    for task, seconds in POINTS:
        kill_in(lab.path, "restore", task, seconds, **settings, restore_verify="none")
    lab.play("restore", **settings, restore_verify="quick")

    after = lab.uids()
    assert lost(before, after) == {}
    assert "v1 ConfigMap default/made-since" not in after
    assert lab.containers() == containers
    assert lab.play("cluster").count("changed") == 0


def test_a_copy_is_fetched_from_its_target_and_restored(lab: Lab) -> None:
    before, containers = lab.uids(), lab.containers()
    name = lab.backup("cp1").name
    lab.on("cp1", f"kubeproof-backup copy; rm -r /var/backups/etcd/{name}")
    lab.kubectl("create", "configmap", "made-since")

    lab.play("restore", restore_from=f"far/{name}", restore_confirmed=True, restore_verify="none")

    after = lab.uids()
    assert lost(before, after) == {}
    assert "v1 ConfigMap default/made-since" not in after
    assert lab.containers() == containers


def test_one_member_is_replaced_and_nothing_else_touched(lab: Lab) -> None:
    others = ("cp1", "cp3", "w1", "w2")
    before, processes = lab.uids(), lab.processes(others)
    on_its_host = lab.processes(["cp2"])["cp2"]
    lab.on("cp2", "systemctl stop etcd; rm -rf /var/lib/etcd/member/wal; systemctl start --no-block etcd")

    lab.play("replace-member", member="cp2")

    assert lab.processes(others) == processes
    assert lab.processes(["cp2"])["cp2"][1:] == on_its_host[1:]
    assert lost(before, lab.uids()) == {}
    assert lab.play("replace-member", member="cp2").count("changed") == 0
    assert lab.play("cluster").count("changed") == 0


def test_a_member_is_replaced_on_a_host_that_was_made_anew(lab: Lab) -> None:
    others = ("cp1", "cp3", "w1", "w2")
    before, processes, containers = lab.uids(), lab.processes(others), lab.containers()
    lab.lose(["cp2"], {})

    lab.play("replace-member", member="cp2")
    assert lab.processes(others) == processes
    lab.play("cluster")
    lab.admit()

    assert lab.processes(others) == processes
    assert lab.containers() == containers
    assert lost(before, lab.uids()) == {}
    lab.play("verify", verify_level="quick")
    assert lab.play("cluster").count("changed") == 0


def test_what_can_not_be_restored_is_refused_before_anything_is_stopped(lab: Lab) -> None:
    source, processes = lab.backup("cp1"), lab.processes(CONTROL_PLANE)
    content = bytearray((source / "snapshot.db").read_bytes())
    content[len(content) // 2] ^= 1
    (source / "snapshot.db").write_bytes(content)

    said = lab.refused("restore", restore_from=str(source), restore_confirmed=True)
    assert "cannot be restored: snapshot.db has changed" in said
    assert "there is no directory" in lab.refused("restore", restore_from=f"{source}-2", restore_confirmed=True)
    assert lab.processes(CONTROL_PLANE) == processes


def test_the_control_plane_is_lost_and_the_keys_with_it(lab: Lab) -> None:
    before, containers = lab.uids(), lab.containers()
    source = lab.backup("cp2")
    subnet = str(lab.inventory.hosts["cp1"].variables["ansible_host"]).rsplit(".", 1)[0]
    addresses = {"cp1": f"{subnet}.31", "cp2": f"{subnet}.32"}

    identity = lab.forget_keys()
    lab.lose(CONTROL_PLANE, addresses)
    began = time.monotonic()
    given = {"restore_from": str(source), "restore_identity": str(identity), "restore_confirmed": True}
    lab.play("restore", **given, restore_verify="none")
    print(f"recovered in {time.monotonic() - began:.0f} s from fresh hosts")

    assert lost(before, lab.uids()) == {}
    assert lab.containers() == containers
    lab.play("verify", verify_level="quick")
    assert lab.play("cluster").count("changed") == 0


def test_only_the_data_of_one_member_is_left(lab: Lab) -> None:
    before, containers = lab.uids(), lab.containers()
    for host in ("cp1", "cp3"):
        lab.on(host, "systemctl stop etcd kube-apiserver; rm -rf /var/lib/etcd/member")
    lab.on("cp2", "systemctl restart --no-block etcd")

    lab.play("restore", restore_from="member:cp2", restore_confirmed=True, restore_verify="quick")

    assert lost(before, lab.uids()) == {}
    assert lab.containers() == containers


def test_three_members_become_one_and_one_becomes_three(lab: Lab) -> None:
    before = lab.uids()
    source = lab.backup("cp1")
    lab.members(["cp1"])
    said = lab.refused("restore", restore_from=str(source), restore_confirmed=True)
    assert "runs as a member and is not an etcd host of the inventory" in said
    lab.members(list(CONTROL_PLANE))
    for host in ("cp2", "cp3"):
        lab.on(host, "systemctl disable --now kube-apiserver kube-controller-manager kube-scheduler etcd")
    lab.members(["cp1"])
    lab.play("restore", restore_from=f"cp1:{source.name}", restore_confirmed=True, restore_verify="none")
    assert lost(before, lab.uids()) == {}

    lab.members(list(CONTROL_PLANE))
    lab.backup("cp1")
    lab.play("restore", restore_from="latest", restore_confirmed=True, restore_verify="quick")
    assert lost(before, lab.uids()) == {}
    assert waiting.until(lambda: "NotReady" not in lab.kubectl("get", "nodes"), 60, pause=1)
