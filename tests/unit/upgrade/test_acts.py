"""What a playbook is given of a plan."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import pytest
from tests.unit.upgrade.worlds import NEW, OLD, back, changed, goal, host, world
from tests.unit.upgrade.worlds import running as running_of

from kubeproof.core import paths
from kubeproof.core.errors import KubeproofError
from kubeproof.core.versions import Minor, Version
from kubeproof.upgrade import acts as module
from kubeproof.upgrade.acts import Act, acts, running
from kubeproof.upgrade.afterwards import after, settled
from kubeproof.upgrade.evidence import rehearsal_of
from kubeproof.upgrade.plan import plan
from kubeproof.upgrade.world import COMPONENTS, EtcdCluster, Running

NODE = ("containerd", "runc", "cni-plugins", "kubelet", "kube-proxy", "pause", "agnhost")
CONTROLLERS = ("kube-controller-manager", "kube-scheduler")


def made(*hosts: Any, **limits: Any) -> list[Act]:
    return acts(plan(world(*hosts), goal(rehearses=False, **limits)))


def short(found: list[Act]) -> list[tuple[str, str, tuple[str, ...]]]:
    return [(act.kind, act.emulates, act.programs) for act in found]


def test_an_upgrade_has_an_act_for_each_group_of_programs() -> None:
    assert short(made()) == [
        ("stage", "", ()),
        ("backup", "", ()),
        ("etcd", "", ("etcd",)),
        ("api-servers", "1.36", ("kube-apiserver",)),
        ("controllers", "1.36", CONTROLLERS),
        ("quick-verification", "", ()),
        ("api-servers", "", ("kube-apiserver",)),
        ("controllers", "", CONTROLLERS),
        ("nodes", "", NODE),
        ("dns", "", ("coredns",)),
    ]


def test_acts_are_called_what_the_plan_calls_its_steps() -> None:
    planned = plan(world(), goal(rehearses=False))
    lifted = "API servers, controllers as 1.37"
    titles = [act.title for act in acts(planned)]
    assert [each for each in titles if each not in ("API servers as 1.37", "controllers as 1.37")] == [
        step.title for step in planned.steps if step.title not in (lifted, "verification")
    ]
    assert titles.index("API servers as 1.37") + 1 == titles.index("controllers as 1.37")


def test_a_rehearsal_knows_whether_acts_before_it_change_anything() -> None:
    (forward,) = (act for act in acts(plan(world(), goal())) if act.kind == "rehearsal")
    assert forward.untouched
    way = acts(plan(world(versions=NEW), back()))
    # Once more as soon as API servers work as the old version, when DNS and nodes are back.
    assert [act.untouched for act in way if act.kind == "rehearsal"] == [True, False]


def test_the_leader_of_etcd_is_in_one_play_with_all_api_servers() -> None:
    (act,) = (act for act in made(host("e1"), host("e2"), host("e3"), host("cp1", etcd=False)) if act.kind == "etcd")
    assert act.hosts == ("e1", "e2", "e3", "cp1")
    assert act.serial == ()
    assert set(act.former) == {"e1", "e2", "e3"}, "an API server's host has no member to switch"


@pytest.mark.parametrize("direction", ["forward", "back"])
def test_controllers_begin_together_and_api_servers_one_after_the_other(direction: str) -> None:
    """Restarts of controllers are one at a time all the same; what is around them need not be."""
    planned = plan(world(), goal(rehearses=False))
    if direction == "back":
        planned = plan(world(versions=NEW), back(rehearses=False))
    found = [(act.kind, act.hosts, act.serial) for act in acts(planned)]
    hosts = ("cp1", "cp2", "cp3")
    assert [each for each in found if each[0] == "controllers"] == [("controllers", hosts, ())] * 2
    assert [each for each in found if each[0] == "api-servers"] == [("api-servers", hosts, (1, 1, 1))] * 2


def test_versions_are_those_of_the_act_and_of_what_runs() -> None:
    found = {act.kind: act for act in made()}
    assert found["etcd"].versions == {**OLD, "etcd": NEW["etcd"]}
    assert found["api-servers"].versions == {**OLD, "kubernetes": NEW["kubernetes"]}
    assert found["nodes"].versions == {**NEW, "etcd": OLD["etcd"], "coredns": OLD["coredns"]}
    assert found["stage"].versions == found["dns"].versions == NEW


def test_what_is_put_back_is_what_the_host_had() -> None:
    found = made(host("cp1"), host("cp2", {**OLD, "kubernetes": "1.37.2 as 1.36"}), host("w1"))
    emulating, lifted = (act for act in found if act.kind == "api-servers")
    assert emulating.former == {
        "cp1": {
            "kind": "api-servers",
            "versions": OLD,
            "programs": ["kube-apiserver"],
            "emulates": "",
            "what": "kube-apiserver 1.36.3",
            "turn": {"kube-apiserver": "1.36.3", "emulates": "", "to": {"kube-apiserver": "1.37.2 as 1.36"}},
            "mixed": False,
        }
    }
    assert lifted.hosts == ("cp1", "cp2")
    assert lifted.former["cp2"]["emulates"] == "1.36"
    assert lifted.former["cp2"]["versions"]["kubernetes"] == "1.37.2"


def test_a_kubelet_is_put_back_to_its_own_version() -> None:
    one = host("w1").with_runs({"kube-proxy": Running(Version.of("1.36.1"))})
    (act,) = (act for act in made(host("cp1"), host("w2"), one) if act.kind == "nodes" and "w1" in act.hosts)
    assert act.former["w1"]["versions"]["kubernetes"] == OLD["kubernetes"]


def test_what_is_put_back_is_what_there_is_right_before_the_turn() -> None:
    """Not what the run began with: next to what others are by then, that may be outside the policy."""
    old = {**OLD, "kubernetes": "1.35.4"}
    found = acts(plan(world(versions=old), goal({"kubernetes": "1.37.2"}, rehearses=False)))
    former = [
        (act.former["cp1"]["versions"]["kubernetes"], act.former["cp1"]["emulates"])
        for act in found
        if act.kind == "api-servers"
    ]
    assert former == [("1.35.4", ""), ("1.36.3", "1.35"), ("1.36.3", ""), ("1.37.2", "1.36")]
    assert all(each["mixed"] for act in found for each in act.former.values())
    emulating = [act for act in acts(plan(world(versions=NEW), back(rehearses=False))) if act.kind == "api-servers"]
    assert [act.former["cp1"]["emulates"] for act in emulating] == ["", "1.36"]


@pytest.mark.parametrize("direction", ["forward", "back"])
def test_whatever_fails_is_put_back_within_the_policy(direction: str) -> None:
    """Each turn of each act fails once, on the world that there is then."""
    old = {**OLD, "kubernetes": "1.35.4"}
    found = (
        plan(world(versions=old), goal(rehearses=False))
        if direction == "forward"
        else plan(world(versions=NEW), back(old, rehearses=False))
    )
    former = [(act.kind, each) for act in acts(found) for each in [act.former]]
    here = found.world
    for turn in found.turns:
        for name in turn.changes:
            mine = next(each[name] for kind, each in former if name in each and each[name]["turn"]["to"] == {
                program: str(to) for program, to in turn.changes[name].items()
            })  # fmt: skip
            emulates = f" as {mine['emulates']}" if mine["emulates"] else ""
            again = {
                program: running_of(mine["versions"][COMPONENTS[program]] + (emulates if "kube-" in program else ""))
                for program in turn.changes[name]
            }
            assert here.host(name).with_runs(again).runs == here.host(name).runs
        here = after(here, turn, found.goal)


def test_the_daemonset_of_kube_proxy_is_an_act_on_all_nodes() -> None:
    found = acts(plan(world(proxy_pods=True), goal(rehearses=False)))
    (act,) = (act for act in found if act.kind == "kube-proxy")
    assert (act.hosts, act.serial, act.confirmed) == (("cp1", "cp2", "cp3", "w1", "w2"), (), ())
    assert (act.programs, act.versions["kubernetes"]) == (("kube-proxy",), "1.37.2")
    assert act.former["cp1"]["versions"]["kubernetes"] == "1.36.3"


def test_dns_alone_is_fetched_since_nothing_was_staged() -> None:
    (dns,) = acts(plan(world(versions={**NEW, "coredns": OLD["coredns"]}), goal(rehearses=False)))
    assert (dns.kind, dns.mixed) == ("dns", True)
    assert [act.mixed for act in made() if act.kind == "dns"] == [False]


def test_a_downgrade_of_etcd_is_enabled_once() -> None:
    """etcd refuses a second one: the run that continues waits for the first."""
    found = plan(world(versions=NEW), back(rehearses=False, only=frozenset({"etcd"})))
    (fresh,) = (act for act in acts(found) if act.kind == "etcd-downgrade")
    killed = world(versions=NEW, etcd=EtcdCluster(Minor(3, 6), Minor(3, 6)))
    found = plan(killed, back(rehearses=False, only=frozenset({"etcd"})))
    (continued,) = (act for act in acts(found) if act.kind == "etcd-downgrade")
    assert (fresh.begun, continued.begun) == (False, True)


def test_a_turn_that_was_killed_before_its_programs_ran_is_put_back() -> None:
    """Confirmed, its files would be what the next turn begins with, and its host could only put back to these."""
    halfway = world().host("w1")
    halfway = dataclasses.replace(
        halfway, unconfirmed=frozenset({"kubelet"}), before={"kubelet": halfway.runs["kubelet"]}, arrived=False
    )
    found = acts(plan(world().replacing([halfway]), goal(rehearses=False)))
    assert (found[0].kind, found[0].undone) == ("settle", ("w1",))


@pytest.mark.parametrize("arrived", [True, False])
def test_what_follows_begins_with_what_a_settled_turn_leaves(arrived: bool) -> None:
    older, newer = world().host("w1").runs["kubelet"], world(versions=NEW).host("w1").runs["kubelet"]
    turned = dataclasses.replace(
        world().host("w1").with_runs({"kubelet": newer}),
        unconfirmed=frozenset({"kubelet"}),
        before={"kubelet": older},
        arrived=arrived,
    )
    found = settled(turned)
    assert found.runs["kubelet"] == (newer if arrived else older)
    assert found.arrived
    assert not found.unconfirmed


def test_nodes_go_in_their_batches() -> None:
    names = [f"w{number}" for number in range(1, 6)]
    found = made(host("cp1"), *map(host, names), at_once="50%")
    (act,) = (act for act in found if act.kind == "nodes")
    assert act.hosts == (*names, "cp1")
    assert act.serial == (1, 3, 1, 1)


def test_all_versions_on_the_way_are_staged_and_the_wanted_ones_last() -> None:
    old = {**OLD, "kubernetes": "1.35.4"}
    found = acts(plan(world(host("cp1", old), host("w1", old), versions=old), goal(rehearses=False)))
    assert [act.versions["kubernetes"] for act in found if act.kind == "stage"] == ["1.36.3", "1.37.2"]
    assert all(act.mixed for act in found if act.kind != "stage")
    assert not any(act.mixed for act in made())


def test_the_way_back_begins_with_what_nodes_run() -> None:
    found = acts(plan(world(versions=NEW), back(rehearses=False)))
    assert [(kind, emulates) for kind, emulates, _ in short(found)] == [
        ("stage", ""),
        ("backup", ""),
        ("dns", ""),
        ("nodes", ""),
        ("controllers", "1.36"),
        ("api-servers", "1.36"),
        ("backup", ""),
        ("controllers", ""),
        ("api-servers", ""),
        ("etcd-downgrade", ""),
        ("etcd", ""),
    ]
    dns = next(act for act in found if act.kind == "dns")
    assert dns.versions == {**NEW, "coredns": OLD["coredns"]}, "nodes still have what is new"


def test_a_playbook_has_a_play_for_each_act(monkeypatch: pytest.MonkeyPatch) -> None:
    text = (paths.PROJECT / "playbooks" / "upgrade.yml").read_text()
    assert [int(number) for number in re.findall(r"__upgrade_number: (\d+)", text)] == list(range(module.PLAYS))
    found = plan(world(), goal(rehearses=False))
    assert len(module.data(found)) == len(acts(found))
    monkeypatch.setattr(module, "PLAYS", len(acts(found)) - 1)
    with pytest.raises(KubeproofError, match="carries out 9"):
        module.data(found)


def test_a_part_leaves_the_rest_as_it_is() -> None:
    (nodes,) = (act for act in made(only=frozenset({"runtime"})) if act.kind == "nodes")
    assert nodes.programs == ("containerd", "runc")
    assert nodes.versions == {**OLD, "containerd": NEW["containerd"], "runc": NEW["runc"]}


def test_the_oldest_of_several_versions_counts() -> None:
    found = plan(world(host("cp1"), host("w1", NEW), host("w2")), goal(rehearses=False))
    assert running(found)["containerd"] == OLD["containerd"]
    assert Version.of(running(found)["coredns"]) == Version.of(OLD["coredns"])


def test_what_runs_where_nothing_can_be_reached_is_no_version_for_others() -> None:
    hosts = (host("cp1"), host("w1"), host("w2", {**OLD, "kubernetes": "1.36.0"}, reachable=False))
    found = acts(plan(world(*hosts), goal(rehearses=False, only=frozenset({"etcd"}))))
    assert {act.versions["kubernetes"] for act in found} == {OLD["kubernetes"]}
    gone = plan(world(host("e1"), host("w1", reachable=False)), goal(rehearses=False, only=frozenset({"etcd"})))
    assert "kubernetes" not in running(gone)
    assert running(gone, {"kubernetes": "1.36.3", "pause": "3.10"})["kubernetes"] == "1.36.3"
    assert {act.versions["kubernetes"] for act in acts(gone, {"kubernetes": "1.36.3"})} == {"1.36.3"}


def test_hosts_put_themselves_back_unless_they_are_confirmed() -> None:
    found = {act.kind: act for act in made()}
    assert found["api-servers"].confirmed == ("cp1", "cp2", "cp3")
    assert set(found["nodes"].confirmed) == {"cp1", "cp2", "cp3", "w1", "w2"}
    assert found["etcd"].confirmed == ("cp2", "cp3"), "after the last member etcd's cluster is of the new version"
    assert found["backup"].confirmed == found["stage"].confirmed == ()


def test_a_patch_of_etcd_can_be_put_back_on_all_members() -> None:
    older = {**NEW, "etcd": "3.7.1"}
    found = acts(plan(world(versions=older), goal(rehearses=False)))
    (act,) = (act for act in found if act.kind == "etcd")
    assert set(act.confirmed) == {"cp1", "cp2", "cp3"}


def test_a_turn_of_an_earlier_run_is_settled_first() -> None:
    halfway = changed(world(), "cp1", runs={"kube-apiserver": "1.37.2 as 1.36"})
    halfway = halfway.replacing(
        [
            dataclasses.replace(
                halfway.host("cp1"),
                unconfirmed=frozenset({"kube-apiserver"}),
                before={"kube-apiserver": running_of("1.36.3")},
            )
        ]
    )
    well, unwell = (acts(plan(changed(halfway, "cp1", ready=ready), goal(rehearses=False))) for ready in (True, False))
    assert (well[0].kind, well[0].hosts, well[0].undone) == ("settle", ("cp1",), ())
    assert (unwell[0].kind, unwell[0].hosts, unwell[0].undone) == ("settle", ("cp1",), ("cp1",))
    servers = [next(act for act in found if act.kind == "api-servers") for found in (well, unwell)]
    assert [act.hosts for act in servers] == [("cp2", "cp3"), ("cp1", "cp2", "cp3")]
    assert servers[1].former["cp1"]["versions"]["kubernetes"] == "1.36.3", "what it was put back to"


class TestRehearsals:
    """They are on a host that has both the backup and the programs, with what the upgrade ends with."""

    def test_one_host_rehearses_the_end(self) -> None:
        found = acts(plan(world(), goal()))
        assert [act.kind for act in found[:4]] == ["stage", "backup", "rehearsal", "etcd"]
        (act,) = (act for act in found if act.kind == "rehearsal")
        assert act.hosts == ("cp1",)
        assert act.version == NEW["kubernetes"]
        assert (act.versions["kubernetes"], act.versions["etcd"]) == (NEW["kubernetes"], NEW["etcd"])
        assert act.emulates == ""

    def test_the_backup_is_where_it_is_rehearsed(self) -> None:
        found = acts(plan(world(host("a1", etcd=True), host("cp1")), goal()))
        backup, rehearsal = (next(act for act in found if act.kind == kind) for kind in ("backup", "rehearsal"))
        assert backup.hosts == ("cp1", "a1")
        assert rehearsal.hosts == ("cp1",)
        assert backup.mark == goal().key

    def test_where_etcd_is_on_others_the_backup_is_brought(self) -> None:
        found = acts(plan(world(host("cp1", etcd=False), host("e1"), host("e2")), goal()))
        backup, rehearsal = (next(act for act in found if act.kind == kind) for kind in ("backup", "rehearsal"))
        assert backup.hosts == ("e1", "e2")
        assert (rehearsal.hosts, rehearsal.backup_host) == (("cp1",), "e1")
        (beside,) = (act for act in acts(plan(world(), goal())) if act.kind == "rehearsal")
        assert beside.backup_host == ""

    def test_what_was_rehearsed_lately_is_backed_up_alone(self) -> None:
        new = frozenset({Version.of(NEW["kubernetes"])})
        known = {rehearsal_of(world(), goal()): new}
        found = acts(plan(world(rehearsed=known), goal()))
        assert [act.kind for act in found[:3]] == ["stage", "backup", "etcd"]
        assert found[1].readable == (NEW["kubernetes"],)
        (first,) = (act for act in acts(plan(world(), goal())) if act.kind == "rehearsal")
        assert first.mark in known, "it is noted under what the next run asks for"

    def test_what_was_rehearsed_from_other_versions_is_rehearsed_again(self) -> None:
        known = {rehearsal_of(world(), goal()): frozenset({Version.of(NEW["kubernetes"])})}
        halfway = changed(world(rehearsed=known), "cp2", runs={"etcd": NEW["etcd"]})
        assert "rehearsal" in [act.kind for act in acts(plan(halfway, goal()))]
        back_known = {rehearsal_of(world(versions=NEW), back()): frozenset({Version.of(OLD["kubernetes"])})}
        found = acts(plan(world(versions=NEW, rehearsed=back_known), back()))
        assert len([act for act in found if act.kind == "rehearsal"]) == 1, "once API servers emulate, data is another"

    def test_back_the_present_etcd_has_the_data(self) -> None:
        found = [act for act in acts(plan(world(versions=NEW), back())) if act.kind == "rehearsal"]
        assert len(found) == 2, "of the data as it is, and as it is once API servers emulate"
        assert {(act.versions["kubernetes"], act.versions["etcd"]) for act in found} == {("1.36.3", "3.7.3")}

    def test_each_version_on_the_way_is_rehearsed_and_stages_nothing_more(self) -> None:
        old = {**OLD, "kubernetes": "1.35.4"}
        hosts = host("cp1", old), host("w1", old)
        now = world(*hosts, versions=old)
        found = acts(plan(now, goal()))
        assert [act.version for act in found if act.kind == "rehearsal"] == ["1.36.3", "1.37.2"]
        without = acts(plan(now, goal(rehearses=False)))
        assert [act.kind for act in found if act.kind != "rehearsal"] == [act.kind for act in without]
