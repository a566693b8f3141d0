"""The order of an upgrade, from tables of what runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import pytest
from tests.unit.upgrade.worlds import AVAILABLE, NEW, OLD, back, changed, goal, host, running, target, world

from kubeproof.core.versions import Minor, Version
from kubeproof.upgrade.afterwards import after
from kubeproof.upgrade.evidence import complete, rehearsal_of
from kubeproof.upgrade.goal import Goal, Kind
from kubeproof.upgrade.plan import NOTHING, REFUSED, WORK, Plan, begun, plan
from kubeproof.upgrade.world import (
    APISERVER,
    CONTAINERD,
    CONTROLLER_MANAGER,
    ETCD,
    KUBE_PROXY,
    KUBELET,
    SCHEDULER,
    UPGRADE,
    Backup,
    EtcdCluster,
)


def order(found: Plan) -> list[str]:
    """Kinds, each with its hosts where it has some."""
    return [f"{step.kind}: {' '.join('+'.join(batch) for batch in step.batches)}".rstrip(": ") for step in found.steps]


def problems(found: Plan, severity: str = "error") -> list[tuple[str, str]]:
    return [(each.id, each.host) for each in found.findings if each.severity == severity]


WHOLE = [
    "stage: cp1+cp2+cp3+w1+w2",
    "backup",
    "rehearsal",
    "etcd: cp2 cp3 cp1",
    "api-servers: cp1 cp2 cp3",
    "controllers: cp1 cp2 cp3",
    "quick-verification",
    "lift: cp1 cp2 cp3 cp1 cp2 cp3",
    "nodes: w1 w2 cp1 cp2 cp3",
    "dns",
    "verification",
]


def test_the_whole_of_it() -> None:
    found = plan(world(), goal())
    assert order(found) == WHOLE
    assert found.findings == ()
    assert found.exit_code == WORK
    assert complete(found.end, goal().versions)


def test_api_servers_emulate_until_all_controllers_are_new() -> None:
    found = {step.kind: step for step in plan(world(), goal()).steps}
    assert found[Kind.API_SERVERS].moves == (f"{APISERVER} 1.37.2 as 1.36",)
    assert found[Kind.API_SERVERS].back == "any time until step 8"
    assert found[Kind.CONTROLLERS].restarts == (CONTROLLER_MANAGER, SCHEDULER)
    assert found[Kind.LIFT].moves == tuple(f"{name} 1.37.2" for name in (APISERVER, CONTROLLER_MANAGER, SCHEDULER))
    assert found[Kind.ETCD].back == "old binary until cp1, then a downgrade"


def test_nothing_to_do() -> None:
    found = plan(world(versions=NEW), goal())
    assert (found.steps, found.exit_code) == ((), NOTHING)


def test_a_plan_is_the_same_from_each_of_its_moments() -> None:
    """What is left of the plan after some of its turns is the plan that is made then."""
    whole = plan(world(), goal())
    here = begun(whole.world, whole.goal)
    for number, turn in enumerate(whole.turns):
        rest = [each for each in plan(here, whole.goal).turns if each.kind is not Kind.QUICK]
        assert rest == [each for each in whole.turns[number:] if each.kind is not Kind.QUICK]
        here = after(here, turn, whole.goal)
    assert plan(here, whole.goal).exit_code == NOTHING


class TestPodsOfNodes:
    TAINT = frozenset({"node-role.kubernetes.io/control-plane=:NoSchedule"})

    @staticmethod
    def drained(found: Plan) -> list[str]:
        return [name for step in found.steps for name in step.drained]

    def test_stay_where_there_is_no_other_node(self) -> None:
        found = plan(world(host("cp1")), goal())
        (step,) = (each for each in found.steps if each.kind is Kind.NODES)
        assert (step.hosts, step.drained) == (["cp1"], ())
        assert step.reason == "not drained: pods have nowhere to go"
        assert complete(found.end, goal().versions)

    def test_stay_where_others_keep_them_away(self) -> None:
        first = host("cp1", taints=self.TAINT)
        assert self.drained(plan(world(first, host("w1")), goal())) == ["cp1"]
        assert self.drained(plan(world(first, host("w1"), host("w2", cordoned="operator")), goal())) == ["w2", "cp1"]
        assert self.drained(plan(world(first, host("w1"), host("w2", ready=False, reachable=False)), goal())) == ["cp1"]

    def test_go_where_the_same_are_kept_away(self) -> None:
        hosts = (host(name, taints=self.TAINT) for name in ("cp1", "cp2", "cp3"))
        assert self.drained(plan(world(*hosts), goal())) == ["cp1", "cp2", "cp3"]

    def test_go_to_nodes_that_an_upgrade_has_left_cordoned(self) -> None:
        before = changed(world(), "w2", cordoned=UPGRADE)
        hosts = [host("cp1", taints=self.TAINT), *(before.host(name) for name in ("w1", "w2"))]
        found = plan(world(*hosts), goal())
        assert [turn.hosts for turn in found.turns if turn.kind is Kind.NODES] == [("w2",), ("w1",), ("cp1",)]

    def test_do_not_go_to_nodes_of_the_same_turn(self) -> None:
        hosts = [host("cp1", taints=self.TAINT), *(host(f"w{number}") for number in (1, 2, 3))]
        assert self.drained(plan(world(*hosts), goal(at_once=2))) == ["w1", "w2", "w3", "cp1"]
        hosts[1] = host("w1", NEW, cordoned="operator")
        assert self.drained(plan(world(*hosts), goal(at_once=2))) == ["cp1"]


class TestMinorVersions:
    def test_two_are_two_passes_of_the_control_plane_and_one_of_the_nodes(self) -> None:
        found = plan(world(versions={**OLD, "kubernetes": "1.35.4"}), goal({"kubernetes": "1.37.2"}))
        assert order(found) == [
            "stage: cp1+cp2+cp3+w1+w2",
            "backup",
            "rehearsal",
            "rehearsal",
            *WHOLE[4:8],
            *WHOLE[4:8],
            "nodes: w1 w2 cp1 cp2 cp3",
            "verification",
        ]
        staged = found.end.host("cp1").staged
        assert {str(version) for name, version in staged if name == "kubernetes"} == {"1.36.3", "1.37.2"}
        assert {str(version) for _, version in found.end.host("w1").staged} == {"1.37.2"}

    def test_nodes_that_would_be_left_too_far_behind_come_between(self) -> None:
        before = changed(world(versions={**OLD, "kubernetes": "1.35.4"}), "w1", runs={KUBELET: "1.33.9"})
        found = plan(before, goal({"kubernetes": "1.37.2"}))
        assert [each for each in order(found) if "nodes" in each] == ["nodes: w1", "nodes: w1 w2 cp1 cp2 cp3"]
        stop = next(turn for turn in found.turns if turn.kind is Kind.NODES)
        assert stop.changes == {"w1": {KUBELET: running("1.36.3")}}
        assert stop.drained == {"w1"}
        assert {str(version) for _, version in found.end.host("w1").staged} == {"1.36.3", "1.37.2"}

    def test_one_that_is_not_available_is_not_skipped(self) -> None:
        wanted = Goal(target({"kubernetes": "1.37.2"}, {"kubernetes": ("1.35.4", "1.37.2")}))
        found = plan(world(versions={**OLD, "kubernetes": "1.35.4"}), wanted)
        assert problems(found) == [("version-skip", "settings")]
        assert found.findings[0].problem == "kubernetes would skip 1.36, of which no version is available"
        assert found.exit_code == REFUSED

    def test_etcd_takes_the_patch_that_the_next_one_needs(self) -> None:
        found = plan(world(versions={**OLD, "etcd": "3.6.5"}), goal(only=frozenset({"etcd"})))
        assert [step.title for step in found.steps if step.kind is Kind.ETCD] == ["etcd 3.6.16", "etcd 3.7.3"]

    def test_etcd_skips_none(self) -> None:
        wanted = Goal(target({"etcd": "3.9.1"}, {"etcd": ("3.7.3", "3.8.2", "3.9.1")}))
        found = plan(world(versions={**OLD, "etcd": "3.7.3"}), wanted)
        assert [step.title for step in found.steps if step.kind is Kind.ETCD] == ["etcd 3.8.2", "etcd 3.9.1"]
        wanted = Goal(target({"etcd": "3.7.3"}, {"etcd": ("3.7.3", "3.8.2", "3.9.1")}), direction="back")
        found = plan(world(versions={**OLD, "etcd": "3.9.1"}), wanted)
        assert order(found)[2:-1] == [
            "etcd-downgrade",
            "etcd: cp2 cp3 cp1",
            "etcd-downgrade",
            "etcd: cp2 cp3 cp1",
        ]

    def test_etcd_lacks_the_patch_that_the_next_one_needs(self) -> None:
        wanted = Goal(target({"etcd": "3.7.3"}, {"etcd": ("3.6.5", "3.7.3")}))
        found = plan(world(versions={**OLD, "etcd": "3.6.5"}), wanted)
        assert problems(found) == [("version-skip", "settings")]
        assert "needs all members at 3.6.11" in found.findings[0].problem


class TestPatches:
    def test_of_kubernetes_need_neither_emulation_nor_drains(self) -> None:
        found = plan(world(), goal({"kubernetes": "1.36.9"}))
        assert order(found) == [
            *WHOLE[:3],
            "api-servers: cp1 cp2 cp3",
            "controllers: cp1 cp2 cp3",
            "nodes: w1 w2 cp1 cp2 cp3",
            "verification",
        ]
        assert not any(turn.drained for turn in found.turns)
        assert {step.back for step in found.steps if step.restarts} == {"any time"}

    def test_of_containerd_restart_nothing_else(self) -> None:
        found = plan(world(), goal({"containerd": "2.3.9"}))
        assert order(found) == ["stage: cp1+cp2+cp3+w1+w2", "nodes: w1 w2 cp1 cp2 cp3", "verification"]
        assert found.steps[1].restarts == (CONTAINERD,)
        assert found.steps[1].drained == ()

    def test_of_containerd_that_are_minor_versions_drain(self) -> None:
        found = plan(world(), goal({"containerd": "2.4.2"}))
        assert found.steps[1].drained == ("w1", "w2", "cp1", "cp2", "cp3")


class TestLimits:
    @pytest.mark.parametrize(
        ("only", "expected"),
        [
            ("etcd", ["backup", "etcd", "verification"]),
            ("runtime", ["nodes", "verification"]),
            ("network", ["nodes", "verification"]),
            ("dns", ["dns", "verification"]),
        ],
    )
    def test_only(self, only: str, expected: Sequence[str]) -> None:
        found = plan(world(), goal(only=frozenset({only})))
        assert [step.kind for step in found.steps if step.kind is not Kind.STAGE] == expected

    def test_hosts_that_are_left_out_are_left_behind(self) -> None:
        found = plan(world(), goal(hosts=frozenset({"cp1", "cp2", "cp3", "w2"})))
        assert "nodes: w2 cp1 cp2 cp3" in order(found)
        assert found.end.host("w1") == world().host("w1")
        assert found.end.unfinished

    def test_dns_is_of_a_run_that_leaves_out_no_node(self) -> None:
        why = "DNS is of the whole cluster, and --hosts leaves out "
        found = plan(world(), goal(hosts=frozenset({"cp1", "cp2", "cp3", "w2"})))
        assert order(found)[-1] == "verification"
        assert (found.end.dns, found.notes) == (world().dns, (f"{why}w1",))
        found = plan(
            world(versions=NEW), back({"runc": OLD["runc"], "coredns": OLD["coredns"]}, hosts=frozenset({"w1"}))
        )
        assert order(found) == ["stage: w1", "nodes: w1", "verification"]
        assert found.notes == (f"{why}cp1, cp2, cp3, w2",)
        everyone = frozenset({"cp1", "cp2", "cp3", "w1", "w2"})
        assert order(plan(world(), goal(hosts=everyone))) == WHOLE

    def test_hosts_of_the_control_plane_that_are_left_out_keep_the_rest_waiting(self) -> None:
        found = plan(world(), goal(hosts=frozenset({"cp1", "cp2", "w1"})))
        assert order(found)[-1] == "etcd: cp2"
        assert found.notes == ("etcd of cp3, which --hosts leaves out, come first",)

    def test_the_leader_waits_for_followers_that_are_left_out(self) -> None:
        found = plan(world(), goal(hosts=frozenset({"cp1"})))
        assert order(found)[-1] == "rehearsal"

    @pytest.mark.parametrize("host", ["w1", "cp1"])
    def test_a_run_of_hosts_whose_turn_has_not_come_is_refused(self, host: str) -> None:
        found = plan(world(), goal(hosts=frozenset({host})))
        assert found.exit_code == REFUSED
        (finding,) = found.findings
        assert finding.id == "hosts-too-early"
        assert finding.problem.startswith("nothing can be done in this run: etcd of cp")

    def test_a_plan_without_a_rehearsal_says_that_there_was_one(self) -> None:
        known = {rehearsal_of(world(), goal()): frozenset({Version.of(NEW["kubernetes"])})}
        titles = [step.title for step in plan(world(rehearsed=known), goal()).steps]
        assert titles[:2] == ["stage all versions", "backup, verified; was rehearsed within the hour"]
        assert plan(world(), goal()).steps[1].title == "backup, verified"

    def test_a_rehearsal_alone_is_not_refused_for_its_hosts(self) -> None:
        found = plan(world(), goal(hosts=frozenset({"w1"}), until=Kind.REHEARSAL))
        assert found.exit_code == WORK

    @pytest.mark.parametrize(("until", "last"), [("etcd", 3), ("controllers", 5), ("lift", 7), ("nodes", 8)])
    def test_until(self, until: str, last: int) -> None:
        found = plan(world(), goal(until=Kind(until)))
        assert order(found) == WHOLE[: last + 1]
        assert found.notes == (f"this run ends after {until}",)

    def test_until_ends_with_the_first_pass_that_has_the_step(self) -> None:
        found = plan(world(versions={**OLD, "kubernetes": "1.35.4"}), goal(until=Kind.LIFT))
        assert found.end.host("cp1").runs[APISERVER] == running("1.36.3")

    @pytest.mark.parametrize(
        ("at_once", "expected"), [(1, "w1 w2 w3 w4 w5"), (2, "w1 w2+w3 w4+w5"), ("50%", "w1 w2+w3+w4 w5")]
    )
    def test_workers_follow_a_canary_in_batches(self, at_once: int | str, expected: str) -> None:
        before = world(host("cp1"), *(host(f"w{number}") for number in range(1, 6)))
        found = plan(before, goal({"runc": "1.5.2"}, at_once=at_once))
        assert f"nodes: {expected} cp1" in order(found)

    def test_a_soak_is_what_is_left_of_it(self) -> None:
        before = world(versions={**OLD, "kubernetes": "1.37.2 as 1.36"})
        for name, age in (("cp1", 100.0), ("cp2", 70.0), ("cp3", 20.0)):
            one = before.host(name)
            server = dataclasses.replace(one.runs[APISERVER], age=age)
            before = before.replacing([one.with_runs({APISERVER: server})])
        found = plan(before, goal({"kubernetes": "1.37.2"}, soak=60))
        assert [turn.seconds for turn in found.turns if turn.kind is Kind.SOAK] == [40.0]


class TestDaemonSet:
    """kube-proxy as pods: of all nodes at once, and never newer than an API server."""

    def test_it_follows_all_nodes(self) -> None:
        found = plan(world(proxy_pods=True), goal())
        at = WHOLE.index("dns")
        assert order(found) == [*WHOLE[:at], "kube-proxy", *WHOLE[at:]]
        assert not any(KUBE_PROXY in each for turn in found.turns if turn.kind is Kind.NODES
                       for each in turn.changes.values())  # fmt: skip
        assert complete(found.end, goal().versions)

    def test_back_it_is_old_before_any_api_server_is(self) -> None:
        found = plan(world(versions=NEW, proxy_pods=True), back())
        assert order(found).index("kube-proxy") < order(found).index("api-servers: cp1 cp2 cp3")
        assert problems(found) == []
        assert complete(found.end, back().versions)

    def test_a_run_that_was_killed_before_it_does_not_have_nodes_once_more(self) -> None:
        before = world(versions=NEW, proxy_pods=True)
        for name in ("cp1", "cp2", "cp3", "w1", "w2"):
            before = changed(before, name, runs={KUBE_PROXY: "1.36.3"})
        assert order(plan(before, goal())) == ["stage: cp1+cp2+cp3+w1+w2", "kube-proxy", "verification"]

    def test_hosts_that_are_left_out_keep_it_waiting(self) -> None:
        found = plan(world(proxy_pods=True), goal(hosts=frozenset({"cp1", "cp2", "cp3", "w2"})))
        assert found.notes == ("kube-proxy's DaemonSet is of all nodes, and --hosts leaves out w1",)

    def test_one_that_would_be_left_too_far_behind_comes_between(self) -> None:
        before = world(versions={**OLD, "kubernetes": "1.35.4"}, proxy_pods=True)
        for name in ("cp1", "cp2", "cp3", "w1", "w2"):
            before = changed(before, name, runs={KUBE_PROXY: "1.33.9"})
        found = plan(before, goal({"kubernetes": "1.37.2"}))
        assert [str(turn.version) for turn in found.turns if turn.kind is Kind.KUBE_PROXY] == ["1.36.3", "1.37.2"]
        assert problems(found) == []


class TestWhatIsFoundHalfDone:
    def test_a_turn_that_was_not_confirmed_comes_first(self) -> None:
        before = changed(world(), "cp2", unconfirmed=frozenset({ETCD}), ready=False)
        found = plan(before, goal())
        assert order(found)[0] == "settle: cp2"
        assert problems(found) == []

    def test_a_node_that_was_left_cordoned_is_uncordoned(self) -> None:
        before = changed(world(versions=NEW), "w2", cordoned=UPGRADE)
        found = plan(before, goal())
        assert order(found) == ["nodes: w2", "verification"]
        assert found.end.host("w2").cordoned == ""

    def test_a_node_that_an_operator_has_cordoned_stays_so(self) -> None:
        found = plan(changed(world(), "w2", cordoned="operator"), goal())
        assert found.end.host("w2").cordoned == "operator"

    def test_what_was_killed_before_its_verification_is_verified(self) -> None:
        found = plan(world(versions=NEW, unfinished=goal().versions), goal())
        assert order(found) == ["verification"]

    @pytest.mark.parametrize("cordoned", ["", UPGRADE])
    def test_it_is_verified_though_a_worker_is_left_behind(self, cordoned: str) -> None:
        left = changed(world(versions=NEW, unfinished=goal().versions), "w2", reachable=False, cordoned=cordoned)
        left = changed(left, "w2", runs={KUBELET: OLD["kubernetes"]})
        found = plan(left, goal())
        assert order(found) == ["verification"]
        assert not found.end.unfinished
        assert order(plan(left, goal(only=frozenset({"kubernetes"})))) == [], "a part leaves the rest to be done"

    def test_a_backup_of_an_earlier_upgrade_is_none_of_this_one(self) -> None:
        old = Backup(goal().key, 7200.0, {Version.of("1.37.2"): True})
        assert "backup" in order(plan(world(backup=old, unfinished=goal().versions, began=60.0), goal()))
        assert "backup" not in order(plan(world(backup=old, unfinished=goal().versions, began=7300.0), goal()))

    def test_a_downgrade_of_etcd_is_cancelled(self) -> None:
        before = world(versions={**OLD, "etcd": "3.7.3"}, etcd=EtcdCluster(Minor(3, 6), Minor(3, 6)))
        before = changed(before, "cp2", runs={ETCD: "3.6.16"})
        found = plan(before, goal(only=frozenset({"etcd"})))
        assert order(found) == ["stage: cp2", "backup", "etcd-cancel", "etcd: cp2", "verification"]
        assert found.end.etcd == EtcdCluster(Minor(3, 7))


class TestBack:
    def test_after_all_of_it(self) -> None:
        found = plan(world(versions=NEW), back())
        assert order(found) == [
            "stage: cp1+cp2+cp3+w1+w2",
            "backup",
            "rehearsal",
            "dns",
            "nodes: w1 w2 cp1 cp2 cp3",
            "emulate: cp1 cp2 cp3 cp1 cp2 cp3",
            "backup",
            "rehearsal",
            "controllers: cp1 cp2 cp3",
            "api-servers: cp1 cp2 cp3",
            "etcd-downgrade",
            "etcd: cp2 cp3 cp1",
            "verification",
        ]
        assert problems(found) == []
        assert complete(found.end, back().versions)
        assert found.end.etcd == EtcdCluster(Minor(3, 6))

    def test_while_api_servers_emulate_and_one_member_is_old(self) -> None:
        before = world(versions={**OLD, "kubernetes": "1.37.2 as 1.36"})
        for name in ("w1", "w2", "cp1", "cp2", "cp3"):
            before = changed(before, name, runs={KUBELET: "1.36.3", KUBE_PROXY: "1.36.3"})
        before = changed(before, "cp2", runs={ETCD: "3.7.3"})
        found = plan(before, back())
        assert [each for each in order(found) if ":" in each] == [
            "stage: cp1+cp2+cp3",
            "controllers: cp1 cp2 cp3",
            "api-servers: cp1 cp2 cp3",
            "etcd: cp2",
        ]

    def test_etcd_waits_until_all_data_is_old(self) -> None:
        before = world(versions=NEW, etcd=EtcdCluster(Minor(3, 6), Minor(3, 6)))
        found = plan(before, back(only=frozenset({"etcd"})))
        assert order(found)[2:] == ["etcd-downgrade", "etcd: cp2 cp3 cp1", "verification"]

    def test_a_rehearsal_that_failed_is_the_end_of_it(self) -> None:
        failed = Backup(back().key, 60.0, {Version.of("1.36.3"): False})
        found = plan(world(versions=NEW, backup=failed, unfinished=back().versions, began=90.0), back())
        assert problems(found) == [("rehearsal", "settings")]
        assert "backup of 60 seconds ago" in found.findings[0].remediation
        assert [turn.kind for turn in found.turns] == [Kind.STAGE]

    def test_a_node_that_can_not_follow_is_in_the_way(self) -> None:
        found = plan(changed(world(versions=NEW), "w2", reachable=False), back())
        assert ("version-skew", "w2") in problems(found)
        assert not any(APISERVER in changes for turn in found.turns for changes in turn.changes.values())

    def test_no_further_than_emulation_goes(self) -> None:
        old = {"kubernetes": "1.30.9"}
        wanted = Goal(target(old, {**AVAILABLE, "kubernetes": ("1.30.9", "1.31.9")}), direction="back")
        found = plan(world(versions={**OLD, "kubernetes": "1.31.9"}), wanted)
        assert problems(found) == [("no-way-back", "settings")]

    def test_no_further_than_data_of_etcd_is_migrated(self) -> None:
        wanted = Goal(target({"etcd": "3.4.9"}, {"etcd": ("3.4.9", "3.5.27")}), direction="back")
        found = plan(world(versions={**OLD, "etcd": "3.5.27"}), wanted)
        assert problems(found) == [("no-way-back", "settings")]
        assert "a restore (playbooks/restore.yml)" in found.findings[0].remediation


class TestRefusals:
    def test_another_operation(self) -> None:
        found = plan(world(operation="`cluster.yml` of ann on laptop"), goal())
        assert problems(found) == [("operation", "settings")]

    def test_a_downgrade_forward(self) -> None:
        found = plan(world(versions=NEW), goal({"runc": "1.4.3"}))
        assert problems(found) == [("version-step", "settings")]
        assert "runc would go from 1.5.2 to 1.4.3 on cp1, cp2, cp3, w1, w2, a downgrade" in found.findings[0].problem

    def test_a_downgrade_is_told_once(self) -> None:
        found = plan(world(versions=NEW), goal({"kubernetes": "1.36.3"}))
        assert problems(found) == [("version-step", "settings")], "not what it would lead to on each host besides"
        assert "to 1.36.3 on cp1, cp2, cp3, w1, w2, a downgrade" in found.findings[0].problem

    def test_lost_quorum(self) -> None:
        before = world()
        for name in ("cp2", "cp3"):
            member = before.host(name).member
            assert member is not None
            before = changed(before, name, member=dataclasses.replace(member, healthy=False))
        found = problems(plan(before, goal()))
        assert ("etcd-quorum", "settings") in found
        assert ("host-unhealthy", "cp2") in found

    def test_an_unhealthy_member(self) -> None:
        assert problems(plan(changed(world(), "cp2", ready=False), goal())) == [("host-unhealthy", "cp2")]

    def test_an_unreachable_host_of_the_control_plane(self) -> None:
        assert problems(plan(changed(world(), "cp2", reachable=False), goal())) == [("host-unreachable", "cp2")]

    def test_an_unreachable_worker_is_left_behind(self) -> None:
        found = plan(changed(world(), "w1", reachable=False), goal())
        assert problems(found) == []
        assert problems(found, "warning") == [("left-behind", "w1")]
        assert "nodes: w2 cp1 cp2 cp3" in order(found)

    def test_a_worker_that_is_not_ready(self) -> None:
        before = changed(world(), "w1", ready=False)
        assert problems(plan(before, goal())) == [("host-unhealthy", "w1")]
        assert problems(plan(before, goal(hosts=frozenset({"cp1", "cp2", "cp3", "w2"})))) == []

    def test_an_alarm_and_a_learner(self) -> None:
        before = world(etcd=EtcdCluster(Minor(3, 6), alarms=("NOSPACE of cp1",)))
        member = before.host("cp3").member
        assert member is not None
        before = changed(before, "cp3", member=dataclasses.replace(member, learner=True))
        assert problems(plan(before, goal())) == [("etcd-alarm", "settings"), ("etcd-learner", "cp3")]

    def test_a_newer_kubelet_is_refused_unless_the_upgrade_ends_it(self) -> None:
        before = changed(world(), "w1", runs={KUBELET: "1.37.2"})
        assert problems(plan(before, goal()), "warning") == [("version-skew", "w1")]
        assert problems(plan(before, goal({"etcd": "3.7.3"}))) == [("version-skew", "w1")]

    def test_an_unfinished_upgrade_to_another_version(self) -> None:
        found = plan(world(unfinished={"kubernetes": Version.of("1.36.9")}), goal())
        assert problems(found, "warning") == [("unfinished", "settings")]
