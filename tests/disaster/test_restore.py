"""Disasters, each followed by what an operator would do. In this order, on one cluster; takes about 40 minutes.

pytest tests/disaster                               makes a cluster and removes it
pytest tests/disaster --directory DIR -k member     on the one in DIR, which stays
"""

from __future__ import annotations

import time

import pytest
from tests.disaster.local_cluster import LocalCluster, Uids
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


def test_a_restore_that_is_killed_again_and_again_is_finished_by_the_next(cluster: LocalCluster) -> None:
    before, containers = cluster.uids(), cluster.containers()
    source = cluster.backup("cp1")
    cluster.kubectl("create", "configmap", "made-since")

    settings = {"restore_from": str(source), "restore_confirmed": True}
    for task, seconds in POINTS:
        kill_in(cluster.path, "restore", task, seconds, **settings, restore_verify="none")
    cluster.play("restore", **settings, restore_verify="quick")

    after = cluster.uids()
    assert lost(before, after) == {}
    assert "v1 ConfigMap default/made-since" not in after
    assert cluster.containers() == containers
    assert cluster.play("cluster").count("changed") == 0


def test_a_copy_is_fetched_from_its_target_and_restored(cluster: LocalCluster) -> None:
    before, containers = cluster.uids(), cluster.containers()
    name = cluster.backup("cp1").name
    cluster.on("cp1", f"kubeproof-backup copy; rm -r /var/backups/etcd/{name}")
    cluster.kubectl("create", "configmap", "made-since")

    cluster.play("restore", restore_from=f"far/{name}", restore_confirmed=True, restore_verify="none")

    after = cluster.uids()
    assert lost(before, after) == {}
    assert "v1 ConfigMap default/made-since" not in after
    assert cluster.containers() == containers


def test_one_member_is_replaced_and_nothing_else_touched(cluster: LocalCluster) -> None:
    others = ("cp1", "cp3", "w1", "w2")
    before, processes = cluster.uids(), cluster.processes(others)
    on_its_host = cluster.processes(["cp2"])["cp2"]
    cluster.on("cp2", "systemctl stop etcd; rm -rf /var/lib/etcd/member/wal; systemctl start --no-block etcd")

    cluster.play("replace-member", member="cp2")

    assert cluster.processes(others) == processes
    assert cluster.processes(["cp2"])["cp2"][1:] == on_its_host[1:]
    assert lost(before, cluster.uids()) == {}
    assert cluster.play("replace-member", member="cp2").count("changed") == 0
    assert cluster.play("cluster").count("changed") == 0


def test_a_member_is_replaced_on_a_host_that_was_made_anew(cluster: LocalCluster) -> None:
    others = ("cp1", "cp3", "w1", "w2")
    before, processes, containers = cluster.uids(), cluster.processes(others), cluster.containers()
    cluster.lose(["cp2"], {})

    cluster.play("replace-member", member="cp2")
    assert cluster.processes(others) == processes
    cluster.play("cluster")
    cluster.admit()

    assert cluster.processes(others) == processes
    assert cluster.containers() == containers
    assert lost(before, cluster.uids()) == {}
    cluster.play("verify", verify_level="quick")
    assert cluster.play("cluster").count("changed") == 0


def test_what_can_not_be_restored_is_refused_before_anything_is_stopped(cluster: LocalCluster) -> None:
    source, processes = cluster.backup("cp1"), cluster.processes(CONTROL_PLANE)
    content = bytearray((source / "snapshot.db").read_bytes())
    content[len(content) // 2] ^= 1
    (source / "snapshot.db").write_bytes(content)

    said = cluster.refused("restore", restore_from=str(source), restore_confirmed=True)
    assert "cannot be restored: snapshot.db has changed" in said
    assert "there is no directory" in cluster.refused("restore", restore_from=f"{source}-2", restore_confirmed=True)
    assert cluster.processes(CONTROL_PLANE) == processes


def test_the_control_plane_is_lost_and_the_keys_with_it(cluster: LocalCluster) -> None:
    before, containers = cluster.uids(), cluster.containers()
    source = cluster.backup("cp2")
    subnet = str(cluster.inventory.hosts["cp1"].variables["ansible_host"]).rsplit(".", 1)[0]
    addresses = {"cp1": f"{subnet}.31", "cp2": f"{subnet}.32"}

    identity = cluster.forget_keys()
    cluster.lose(CONTROL_PLANE, addresses)
    began = time.monotonic()
    given = {"restore_from": str(source), "restore_identity": str(identity), "restore_confirmed": True}
    cluster.play("restore", **given, restore_verify="none")
    print(f"recovered in {time.monotonic() - began:.0f} s from fresh hosts")

    assert lost(before, cluster.uids()) == {}
    assert cluster.containers() == containers
    cluster.play("verify", verify_level="quick")
    assert cluster.play("cluster").count("changed") == 0


def test_only_the_data_of_one_member_is_left(cluster: LocalCluster) -> None:
    before, containers = cluster.uids(), cluster.containers()
    for host in ("cp1", "cp3"):
        cluster.on(host, "systemctl stop etcd kube-apiserver; rm -rf /var/lib/etcd/member")
    cluster.on("cp2", "systemctl restart --no-block etcd")

    cluster.play("restore", restore_from="member:cp2", restore_confirmed=True, restore_verify="quick")

    assert lost(before, cluster.uids()) == {}
    assert cluster.containers() == containers


def test_three_members_become_one_and_one_becomes_three(cluster: LocalCluster) -> None:
    before = cluster.uids()
    source = cluster.backup("cp1")
    cluster.members(["cp1"])
    said = cluster.refused("restore", restore_from=str(source), restore_confirmed=True)
    assert "runs as a member and is not an etcd host of the inventory" in said
    cluster.members(list(CONTROL_PLANE))
    for host in ("cp2", "cp3"):
        cluster.on(host, "systemctl disable --now kube-apiserver kube-controller-manager kube-scheduler etcd")
    cluster.members(["cp1"])
    cluster.play("restore", restore_from=f"cp1:{source.name}", restore_confirmed=True, restore_verify="none")
    assert lost(before, cluster.uids()) == {}

    cluster.members(list(CONTROL_PLANE))
    cluster.backup("cp1")
    cluster.play("restore", restore_from="latest", restore_confirmed=True, restore_verify="quick")
    assert lost(before, cluster.uids()) == {}
    assert waiting.until(lambda: "NotReady" not in cluster.kubectl("get", "nodes"), 60, pause=1)
