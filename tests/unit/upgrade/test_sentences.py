"""What an operator reads who is refused: what, where, and what to do, word for word."""

from __future__ import annotations

import dataclasses

import pytest
from tests.unit.upgrade.worlds import AVAILABLE, NEW, OLD, back, changed, goal, target, world

from kubeproof.core.versions import Minor
from kubeproof.upgrade.goal import Goal
from kubeproof.upgrade.plan import REFUSED, plan
from kubeproof.upgrade.world import KUBELET, Backup, EtcdCluster, World

AWAY = "and no other host of the control plane or etcd may stop meanwhile"


def without_members(*names: str) -> World:
    found = world()
    for name in names:
        member = found.host(name).member
        assert member is not None
        found = changed(found, name, member=dataclasses.replace(member, healthy=False))
    return found


CASES = {
    "skipped minor": (
        world(versions={**OLD, "kubernetes": "1.35.4"}),
        Goal(target({"kubernetes": "1.37.2"}, {**AVAILABLE, "kubernetes": ("1.35.4", "1.37.2")})),
        "settings",
        "kubernetes would skip 1.36, of which no version is available",
        (
            "Make one available: where components are built, a module (./kubeproof components add kubernetes "
            "1.36.PATCH); else any that the source has, in component_versions."
        ),
    ),
    "newer kubelet": (
        changed(world(), "w1", runs={KUBELET: "1.37.2"}),
        goal({"etcd": "3.7.3"}),
        "w1",
        "now: kubelet 1.37.2 is newer than kube-apiserver 1.36, the oldest that it may reach",
        "Bring kubelet to a version within https://kubernetes.io/releases/version-skew-policy/ first.",
    ),
    "downgrade": (
        world(versions=NEW),
        goal({"runc": "1.4.3"}),
        "settings",
        "runc would go from 1.5.2 to 1.4.3 on cp1, cp2, cp3, w1, w2, a downgrade",
        "To go back: ./kubeproof upgrade back.",
    ),
    "no way back": (
        world(versions={**OLD, "etcd": "3.5.27"}, backup=Backup("x", 7200.0)),
        Goal(target({"etcd": "3.4.9"}, {"etcd": ("3.4.9", "3.5.27")}), direction="back"),
        "settings",
        "etcd 3.5 can't go back to 3.4: its data can be migrated from 3.6 on",
        (
            "What is left is a restore (playbooks/restore.yml) of the backup of 2 hours ago: what was written since is "
            "lost."
        ),
    ),
    "lost majority": (
        without_members("cp2", "cp3"),
        goal(),
        "settings",
        "etcd has lost its quorum: 1 of 3 voting members are healthy, not cp2, cp3",
        "Repair members, or restore a backup (playbooks/restore.yml).",
    ),
    "a silent member": (
        without_members("cp2"),
        goal(),
        "cp2",
        f"its etcd member does not answer, or has no leader, {AWAY}",
        "Repair it first (kubectl describe node cp2; journalctl on it), or replace it; then run this again.",
    ),
    "a node that is not ready": (
        changed(world(), "cp2", ready=False),
        goal(),
        "cp2",
        f"its node is not ready, {AWAY}",
        "Repair it first (kubectl describe node cp2; journalctl on it), or replace it; then run this again.",
    ),
    "an unreachable host": (
        changed(world(), "cp2", reachable=False),
        goal(),
        "cp2",
        f"it can't be reached, {AWAY}",
        "Repair it, or replace it, first. A --limit that leaves it out leaves it unseen.",
    ),
    "an alarm": (
        world(etcd=EtcdCluster(Minor(3, 6), alarms=("memberID:8 alarm:NOSPACE",))),
        goal(),
        "settings",
        "etcd has an alarm: memberID:8 alarm:NOSPACE",
        (
            "Remove its cause (NOSPACE: free space, defragment members; CORRUPT: replace the member), then: "
            "etcdctl alarm disarm."
        ),
    ),
    "another operator": (
        world(operation="`cluster.yml` of ann on laptop, 2 minutes ago"),
        goal(),
        "settings",
        "another operation is in progress: `cluster.yml` of ann on laptop, 2 minutes ago",
        "Wait until it has ended, or end it and run this again.",
    ),
    "a node that cannot follow back": (
        changed(world(versions=NEW), "w2", reachable=False),
        back(),
        "w2",
        "this would lead to: kubelet 1.37.2 is newer than kube-apiserver 1.36, the oldest that it may reach",
        "Bring that host back, or let it have its turn; or remove it from the cluster.",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_refusal_says_what_where_and_what_to_do(case: str) -> None:
    now, wanted, host, problem, remediation = CASES[case]
    found = plan(now, wanted)
    assert found.exit_code == REFUSED
    said = [(each.host, each.problem, each.remediation) for each in found.findings if each.severity == "error"]
    assert (host, problem, remediation) in said
